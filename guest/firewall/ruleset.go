// Package firewall opens containers to the host, and to nobody else.
//
// dockerd's rules let only published ports of a container through from outside
// its network. They also let through what carries a mark of our choice, the
// value of "bridge-accept-fwmark" in daemon.json (moby: daemon/libnetwork/
// drivers/bridge/internal/nftabler, ALLOW FW MARK). The table that this package
// makes marks what comes in over the uplink from the host's own side of it, where
// nobody but the host can be: so the host reaches every port and protocol of
// containers on docker0 and every other bridge network. Internal networks stay
// closed, and containers reach each other's networks no more than before.
package firewall

import (
	"fmt"
	"net/netip"
	"strings"
)

// mark is one bit, so that it lives beside marks of others: kube-proxy uses
// 0xc000, Calico 0xffff0000 by default but not on docker's bridges, Tailscale
// 0xff0000.
const mark = 0x8000000

// Table is the name of the table, of family inet.
const Table = "arcbox"

// AcceptMark is the value of dockerd's "bridge-accept-fwmark": mark/mask.
func AcceptMark() string { return fmt.Sprintf("%#x/%#x", mark, mark) }

// Ruleset returns the input of nft that replaces the table. hosts are the
// networks between host and guest, with the guest's own address in each, as the
// interface uplink has them.
func Ruleset(uplink string, hosts []netip.Prefix) string {
	var b strings.Builder
	// The first line makes the second one right when there is no table yet.
	fmt.Fprintf(&b, "table inet %[1]s {}\ndelete table inet %[1]s\ntable inet %[1]s {\n", Table)
	// Before dockerd's chains, of which the first is at priority raw.
	fmt.Fprintf(&b, "\tchain from-host {\n\t\ttype filter hook prerouting priority raw - 10; policy accept;\n")
	fmt.Fprintf(&b, "\t\tiifname != %q return\n", uplink)
	for _, p := range hosts {
		family := "ip"
		if p.Addr().Is6() {
			family = "ip6"
		}
		fmt.Fprintf(&b, "\t\t%[1]s saddr %[2]s %[1]s saddr != %[3]s meta mark set meta mark or %#[4]x\n", family, p.Masked(), p.Addr(), mark)
	}
	b.WriteString("\t}\n}\n")
	return b.String()
}
