package install

import (
	"slices"
	"strconv"
	"strings"
)

// setting returns the values of key in a section of INI files that are read one
// after the other, as systemd does: a list grows with each line, and an empty
// value empties it.
func setting(files []string, section, key string) string {
	var values []string
	for _, text := range files {
		var in string
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			if line == "" || line[0] == '#' || line[0] == ';' {
				continue
			}
			if line[0] == '[' {
				in = strings.Trim(line, "[]")
				continue
			}
			k, v, ok := strings.Cut(line, "=")
			if !ok || in != section || strings.TrimSpace(k) != key {
				continue
			}
			if v = strings.TrimSpace(v); v == "" {
				values = nil
			} else {
				values = append(values, v)
			}
		}
	}
	return strings.Join(values, " ")
}

// namesServer reports whether a resolv.conf has one of the servers, or any at
// all when none is given.
func namesServer(resolvConf string, servers ...string) bool {
	for line := range strings.Lines(resolvConf) {
		f := strings.Fields(line)
		if len(f) >= 2 && f[0] == "nameserver" && (len(servers) == 0 || slices.Contains(servers, f[1])) {
			return true
		}
	}
	return false
}

// hostsSources are the sources of host names in an nsswitch.conf.
func hostsSources(nsswitch string) []string {
	for line := range strings.Lines(nsswitch) {
		line, _, _ = strings.Cut(line, "#")
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "hosts:"); ok {
			return strings.Fields(rest)
		}
	}
	return nil
}

// systemdVersion reads the first line of systemctl --version; 0 is unknown.
func systemdVersion(text string) int {
	f := strings.Fields(text)
	if len(f) < 2 || f[0] != "systemd" {
		return 0
	}
	digits := f[1]
	if i := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		digits = digits[:i]
	}
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return n
}
