package tunnel

import (
	"errors"

	"golang.org/x/sys/unix"
)

// temporary reports whether an accept that failed with err is worth repeating.
func temporary(err error) bool {
	for _, e := range []error{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.ECONNABORTED, unix.EINTR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// absent reports whether nobody listens on a socket at the moment.
func absent(err error) bool {
	return errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT)
}
