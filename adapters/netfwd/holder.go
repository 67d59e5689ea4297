package netfwd

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
	"unicode"

	"arcbox/domain"
)

// boundSocket is a line of /proc/net/tcp and the like (proc_net_tcp, kernel
// Documentation/networking/proc_net_tcp.rst).
type boundSocket struct {
	local, remote netip.AddrPort
	listens       bool // a TCP listener, or a UDP socket without a peer
	uid           int
	inode         uint64 // 0 when no process has it any more
}

const tcpListen = "0A" // TCP_LISTEN

// parseSockets reads such a table. Lines that make no sense are left out.
func parseSockets(table string) []boundSocket {
	var out []boundSocket
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 10 {
			continue
		}
		local, ok := parseProcAddress(f[1])
		remote, ok2 := parseProcAddress(f[2])
		uid, err := strconv.Atoi(f[7])
		inode, err2 := strconv.ParseUint(f[9], 10, 64)
		if !ok || !ok2 || err != nil || err2 != nil {
			continue
		}
		out = append(out, boundSocket{
			local: local, remote: remote, uid: uid, inode: inode,
			listens: f[3] == tcpListen || remote.Port() == 0,
		})
	}
	return out
}

// parseProcAddress reads "0100007F:1F90": 32-bit words in the order of a
// little-endian machine, which every host of ArcBox is, then the port.
func parseProcAddress(s string) (netip.AddrPort, bool) {
	ip, portHex, ok := strings.Cut(s, ":")
	if !ok {
		return netip.AddrPort{}, false
	}
	port, err := strconv.ParseUint(portHex, 16, 16)
	b, err2 := hex.DecodeString(ip)
	if err != nil || err2 != nil || len(b) != 4 && len(b) != 16 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(b); i += 4 {
		b[i], b[i+1], b[i+2], b[i+3] = b[i+3], b[i+2], b[i+1], b[i]
	}
	a, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a, uint16(port)), true
}

// inTheWay picks the socket that keeps a new one from host: one that listens
// before a connection that only has the port as its own end. A socket on [::]
// may have IPv4 too; the tables do not say, so it comes last.
func inTheWay(sockets []boundSocket, host netip.AddrPort) (boundSocket, bool) {
	best, rank := boundSocket{}, 0
	for _, s := range sockets {
		if s.local.Port() != host.Port() {
			continue
		}
		a, want := s.local.Addr(), host.Addr().WithZone("")
		var r int
		switch {
		case a.Is4In6() && want.Is4() && (a.Unmap() == want || want.IsUnspecified() || a.Unmap().IsUnspecified()),
			a.Is4() == want.Is4() && (a == want || a.IsUnspecified() || want.IsUnspecified()):
			r = 2
		case want.Is4() && a == netip.IPv6Unspecified():
			r = 1
		default:
			continue
		}
		if s.listens {
			r += 2
		}
		if s.inode != 0 {
			r += 4
		}
		if r > rank {
			best, rank = s, r
		}
	}
	return best, rank > 0
}

// describe names the holder s; process is "nginx (pid 12)" or "", user the
// name of its owner or "".
func (s boundSocket) describe(process, user string) string {
	who := process
	switch {
	case who != "":
	case s.inode == 0:
		who = "a connection that has just ended"
	case user != "":
		who = "a process of user " + user + " (uid " + strconv.Itoa(s.uid) + ")"
	default:
		who = "a process of uid " + strconv.Itoa(s.uid)
	}
	if !s.listens && s.inode != 0 {
		who += " for its connection to " + s.remote.String()
	}
	return who
}

// socketTables are the tables of the kernel that a holder of host is in.
func socketTables(p domain.Protocol, host netip.Addr) []string {
	if host.Is4() {
		return []string{string(p), string(p) + "6"}
	}
	return []string{string(p) + "6"}
}

// printable makes a process' name fit for a line of text: it may have chosen
// any bytes.
func printable(s string) string {
	const longest = 64 // bytes
	s = strings.Map(func(r rune) rune {
		if r == '\uFFFD' || !unicode.IsPrint(r) { // marks that turn the text's direction are not printable either
			return '?'
		}
		return r
	}, strings.ToValidUTF8(strings.TrimSpace(s), "?"))
	return strings.ToValidUTF8(s[:min(len(s), longest)], "")
}
