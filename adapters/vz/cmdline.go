package vz

import "strings"

// hvcConsole is the guest's only console: the framework has no other serial
// port than a virtio console.
const hvcConsole = "console=hvc0"

// consoleOnHVC returns a kernel command line whose serial console is the
// framework's. Consoles on serial lines that the machine does not have give way to it,
// in their place, since the last console is the one that /dev/console is; early
// consoles on them are dropped. Quoted values may hold spaces.
func consoleOnHVC(cmdline string) string {
	var out []string
	placed := false
	for _, token := range tokens(cmdline) {
		key, value, _ := strings.Cut(token, "=")
		serial := strings.HasPrefix(value, "tty") && !isVirtualTerminal(value)
		switch {
		case token == hvcConsole || key == "console" && serial:
			if placed {
				continue
			}
			placed = true
			token = hvcConsole
		case key == "earlyprintk" || key == "earlycon":
			continue
		}
		out = append(out, token)
	}
	if !placed {
		out = append([]string{hvcConsole}, out...)
	}
	return strings.Join(out, " ")
}

// isVirtualTerminal tells tty1 from ttyS0 and ttyAMA0.
func isVirtualTerminal(name string) bool {
	n := strings.TrimPrefix(name, "tty")
	return n == "" || n[0] >= '0' && n[0] <= '9'
}

// tokens splits where the kernel does: at white space outside double quotes
// (next_arg in lib/cmdline.c).
func tokens(s string) []string {
	quoted := false
	return strings.FieldsFunc(s, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && (r == ' ' || r == '\t' || r == '\n')
	})
}
