//go:build linux

// Package boot does what process 1 of the guest owes to the rest of it: file
// systems, kernel settings, the network, and the end.
package boot

import (
	"strings"
)

// Mount is one line of /proc/self/mountinfo, as far as it is needed.
type Mount struct {
	Target string
	FSType string
	Source string
}

// ParseMountinfo reads /proc/self/mountinfo, in the order of mounting. Lines
// that it does not understand are left out. Format: proc_pid_mountinfo(5).
func ParseMountinfo(text string) []Mount {
	var out []Mount
	for line := range strings.Lines(text) {
		head, tail, ok := strings.Cut(line, " - ")
		if !ok {
			continue
		}
		h, t := strings.Fields(head), strings.Fields(tail)
		if len(h) < 5 || len(t) < 2 {
			continue
		}
		out = append(out, Mount{Target: unescape(h[4]), FSType: t[0], Source: unescape(t[1])})
	}
	return out
}

// unescape undoes the \ooo of white space and backslashes.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && octal(s[i+1]) && octal(s[i+2]) && octal(s[i+3]) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func octal(c byte) bool { return c >= '0' && c <= '7' }

func mounted(mounts []Mount, target string) bool {
	for _, m := range mounts {
		if m.Target == target {
			return true
		}
	}
	return false
}

// under returns the mounts at or below any of the directories, the newest
// first, which is the order in which they can be unmounted.
func under(mounts []Mount, dirs ...string) []Mount {
	var out []Mount
	for i := len(mounts) - 1; i >= 0; i-- {
		for _, d := range dirs {
			if mounts[i].Target == d || strings.HasPrefix(mounts[i].Target, d+"/") {
				out = append(out, mounts[i])
				break
			}
		}
	}
	return out
}
