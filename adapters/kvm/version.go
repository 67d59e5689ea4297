package kvm

import (
	"fmt"
	"regexp"
	"strconv"

	"arcbox/domain"
)

// version is QEMU's, major, minor and micro.
type version [3]int

// oldest is the version that everything here was written for and tried with.
var oldest = version{7, 2, 0}

func (v version) String() string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }

func (v version) less(w version) bool {
	for i := range v {
		if v[i] != w[i] {
			return v[i] < w[i]
		}
	}
	return false
}

var versionLine = regexp.MustCompile(`(?m)^QEMU emulator version (\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?`)

// parseVersion reads what "qemu-system-... -version" prints.
func parseVersion(text string) (version, error) {
	m := versionLine.FindStringSubmatch(text)
	if m == nil {
		return version{}, fmt.Errorf("no QEMU version in %.80q: %w", text, domain.ErrCorrupt)
	}
	var v version
	for i := range v {
		v[i], _ = strconv.Atoi(m[i+1]) // at most four digits; the last may be missing
	}
	return v, nil
}
