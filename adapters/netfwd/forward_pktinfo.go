package netfwd

import (
	"encoding/binary"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// controlSpace has room for the control message of either family.
const controlSpace = 128

// wantLocalAddress makes the kernel say, with each datagram, which address of
// the host it came to (ip(7) IP_PKTINFO, RFC 3542 section 6.1).
func wantLocalAddress(raw syscall.RawConn, family netip.Addr) error {
	level, option := unix.IPPROTO_IP, unix.IP_PKTINFO
	if family.Is6() {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO
	}
	var err error
	if rawErr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, 1) }); rawErr != nil {
		return rawErr
	}
	return os.NewSyscallError("setsockopt", err)
}

// localOf returns the address of the host that a datagram came to; of one to a
// broadcast address, the interface's own. It is the zero Addr when oob does not say.
func localOf(oob []byte) netip.Addr {
	for len(oob) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= 12:
			return netip.AddrFrom4([4]byte(data[4:8])) // in_pktinfo: ifindex, spec_dst, addr
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= 20:
			a := netip.AddrFrom16([16]byte(data[:16])) // in6_pktinfo: addr, ifindex
			if a.IsLinkLocalUnicast() {
				a = a.WithZone(strconv.Itoa(int(binary.NativeEndian.Uint32(data[16:]))))
			}
			return a
		}
		oob = rest
	}
	return netip.Addr{}
}

// sourceControl makes the control message that sends a datagram from
// key.local; nil leaves the choice to the kernel.
func sourceControl(key udpKey) []byte {
	a := key.local
	switch {
	case !a.IsValid() || a.IsUnspecified() || a.IsMulticast():
		return nil
	case a.Is4():
		return (&ipv4.ControlMessage{Src: a.AsSlice()}).Marshal()
	}
	// A link-local address means nothing without its interface.
	index, _ := strconv.Atoi(a.Zone())
	return (&ipv6.ControlMessage{Src: a.AsSlice(), IfIndex: index}).Marshal()
}

// peerOf translates the sender of a datagram.
func peerOf(s unix.Sockaddr) netip.AddrPort {
	switch s := s.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(s.Addr), uint16(s.Port))
	case *unix.SockaddrInet6:
		a := netip.AddrFrom16(s.Addr)
		if s.ZoneId != 0 {
			a = a.WithZone(strconv.FormatUint(uint64(s.ZoneId), 10))
		}
		return netip.AddrPortFrom(a, uint16(s.Port))
	}
	return netip.AddrPort{}
}
