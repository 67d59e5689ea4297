package configure

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// zone is the file of local time.
type zone struct {
	path string
	now  []byte
}

// set makes it the host's; no content is UTC, which is what a guest without the
// file has.
func (z *zone) set(content []byte) (changed bool, err error) {
	if bytes.Equal(content, z.now) {
		return false, nil
	}
	if len(content) == 0 {
		err = os.Remove(z.path)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	} else {
		err = replace(z.path, content)
	}
	if err != nil {
		return false, fmt.Errorf("set the time zone: %w", err)
	}
	z.now = bytes.Clone(content)
	return true, nil
}
