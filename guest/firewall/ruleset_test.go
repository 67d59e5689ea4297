package firewall

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRuleset(t *testing.T) {
	got := Ruleset("eth0", []netip.Prefix{netip.MustParsePrefix("10.0.2.2/24"), netip.MustParsePrefix("fd0a:bc::2/64")})
	require.Equal(t, `table inet arcbox {}
delete table inet arcbox
table inet arcbox {
	chain from-host {
		type filter hook prerouting priority raw - 10; policy accept;
		iifname != "eth0" return
		ip saddr 10.0.2.0/24 ip saddr != 10.0.2.2 meta mark set meta mark or 0x8000000
		ip6 saddr fd0a:bc::/64 ip6 saddr != fd0a:bc::2 meta mark set meta mark or 0x8000000
	}
}
`, got)
}

func TestAcceptMark(t *testing.T) {
	require.Equal(t, "0x8000000/0x8000000", AcceptMark())
}
