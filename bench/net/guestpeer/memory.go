//go:build linux

package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// usage is what the processes of one name need together.
type usage struct {
	Processes int `json:"processes"`
	// PSS is the memory that is theirs, with their share of what others map as
	// well; RSS counts shared pages once a process. Both in KiB.
	PSS int `json:"pss_kib"`
	RSS int `json:"rss_kib"`
}

// memory writes the usage of all processes called name as JSON. In a container
// that takes the guest's process namespace (--pid host --privileged).
func memory(w io.Writer, name string) error {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	var u usage
	for _, dir := range dirs {
		comm, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil || strings.TrimSpace(string(comm)) != name {
			continue // gone, or another one
		}
		text, err := os.ReadFile(filepath.Join(dir, "smaps_rollup"))
		if err != nil {
			continue
		}
		u.Processes++
		for line := range strings.Lines(string(text)) {
			key, value, _ := strings.Cut(line, ":")
			n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")))
			switch {
			case err != nil:
			case key == "Pss":
				u.PSS += n
			case key == "Rss":
				u.RSS += n
			}
		}
	}
	return json.NewEncoder(w).Encode(u)
}
