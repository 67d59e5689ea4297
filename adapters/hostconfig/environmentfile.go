package hostconfig

import "strings"

// maxEnvironment bounds what is read of an environment file, bytes.
const maxEnvironment = 1 << 20

// parseEnvironment reads the format of /etc/environment as pam_env does: a
// "NAME=value" per line, perhaps after "export", perhaps in quotes; "#" begins a
// comment anywhere. Of two lines with one name the last counts.
func parseEnvironment(text string) map[string]string {
	env := map[string]string{}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "export"); ok && strings.TrimLeft(rest, " \t") != rest {
			line = strings.TrimSpace(rest)
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok || name == "" || strings.ContainsAny(name, " \t\"'") {
			continue
		}
		// Not too clever, like pam_env: the quotes need not match.
		if value != "" && strings.ContainsRune(`"'`, rune(value[0])) {
			value = value[1:]
			if n := len(value); n > 0 && strings.ContainsRune(`"'`, rune(value[n-1])) {
				value = value[:n-1]
			}
		}
		env[name] = value
	}
	return env
}
