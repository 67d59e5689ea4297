package share

import (
	"strconv"
	"strings"
)

// maxName is the longest name of a file on Linux, in bytes.
const maxName = 255

// plainName says whether a name from the guest is one entry of a directory.
func plainName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00")
}

// shareIndex reads the name of a share in the device's root.
func shareIndex(name string, shares int) (int, bool) {
	i, err := strconv.Atoi(name)
	return i, err == nil && i >= 0 && i < shares && strconv.Itoa(i) == name
}
