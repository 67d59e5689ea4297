package dns

import (
	"net/netip"
	"strings"
)

// hostsTable is the content of a hosts(5) file: lower-case name to addresses.
type hostsTable map[string][]netip.Addr

func parseHosts(text string) hostsTable {
	t := make(hostsTable)
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		a, err := netip.ParseAddr(f[0])
		if err != nil || a.Zone() != "" { // a zone cannot be said in an answer
			continue
		}
		for _, name := range f[1:] {
			name = canonical(name)
			t[name] = append(t[name], a.Unmap())
		}
	}
	return t
}

// canonical is the form in which names are compared.
func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
