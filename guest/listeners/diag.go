//go:build linux

package listeners

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"arcbox/domain"
)

// The kernel's interface for socket diagnostics (linux/inet_diag.h,
// linux/sock_diag.h).
const (
	sockDiagByFamily = 20
	sizeofRequest    = 56 // struct inet_diag_req_v2
	sizeofAnswer     = 72 // struct inet_diag_msg
	attrV6Only       = 11 // INET_DIAG_SKV6ONLY
	attrCgroup       = 21 // INET_DIAG_CGROUP_ID

	stateClose  = 7 // of a UDP socket that is bound and not connected
	stateListen = 10
)

// socket is one that waits for clients.
type socket struct {
	protocol domain.Protocol
	addr     netip.AddrPort
	dual     bool   // on ::, and takes IPv4 too
	cgroup   uint64 // of the process that made it
}

// diag asks the kernel for the sockets of the network namespace that the
// process was in when it was opened. One goroutine uses it.
type diag struct {
	fd  int
	seq uint32
	buf []byte
}

// answerLimit bounds the wait for the kernel, which answers at once.
const answerLimit = 5 * time.Second

func openDiag() (*diag, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return nil, fmt.Errorf("open the kernel's socket diagnostics: %w", err)
	}
	limit := unix.NsecToTimeval(answerLimit.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("open the kernel's socket diagnostics: %w", err)
	}
	return &diag{fd: fd, buf: make([]byte, 64<<10)}, nil
}

func (d *diag) close() { _ = unix.Close(d.fd) }

// waiting returns all sockets that wait for clients.
func (d *diag) waiting() ([]socket, error) {
	var all []socket
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		for _, p := range []domain.Protocol{domain.TCP, domain.UDP} {
			var err error
			if all, err = d.dump(all, family, p); err != nil {
				return nil, fmt.Errorf("list the guest's %s sockets: %w", p, err)
			}
		}
	}
	return all, nil
}

func (d *diag) dump(all []socket, family uint8, p domain.Protocol) ([]socket, error) {
	d.seq++
	err := unix.Sendto(d.fd, request(family, p, d.seq), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	if err != nil {
		return nil, err
	}
	for {
		n, _, err := unix.Recvfrom(d.fd, d.buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var end bool
		if all, end, err = parse(all, d.buf[:n], p, d.seq); err != nil || end {
			return all, err
		}
	}
}

func request(family uint8, p domain.Protocol, seq uint32) []byte {
	b := make([]byte, unix.SizeofNlMsghdr+sizeofRequest)
	binary.NativeEndian.PutUint32(b[0:], uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	binary.NativeEndian.PutUint32(b[8:], seq)
	protocol, state := uint8(unix.IPPROTO_TCP), stateListen
	if p == domain.UDP {
		protocol, state = unix.IPPROTO_UDP, stateClose
	}
	r := b[unix.SizeofNlMsghdr:]
	r[0], r[1] = family, protocol
	binary.NativeEndian.PutUint32(r[4:], 1<<state)
	return b
}

var errShort = errors.New("the kernel's answer is cut short")

// parse adds the sockets of one datagram that answers request seq; end says
// that it was the last one.
func parse(all []socket, b []byte, p domain.Protocol, seq uint32) (_ []socket, end bool, _ error) {
	for len(b) > 0 {
		if len(b) < unix.SizeofNlMsghdr {
			return all, false, errShort
		}
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return all, false, errShort
		}
		kind, of := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint32(b[8:])
		body := b[unix.SizeofNlMsghdr:size]
		b = b[min(align(size), len(b)):]
		if of != seq {
			continue // of a dump that was given up
		}
		switch kind {
		case unix.NLMSG_DONE:
			return all, true, nil
		case unix.NLMSG_ERROR:
			if len(body) < 4 {
				return all, false, errShort
			}
			return all, false, unix.Errno(-int32(binary.NativeEndian.Uint32(body)))
		case sockDiagByFamily:
			if s, ok := parseSocket(body, p); ok {
				all = append(all, s)
			}
		}
	}
	return all, false, nil
}

// parseSocket reads one struct inet_diag_msg and its attributes; false for one
// that is not bound to a port.
func parseSocket(b []byte, p domain.Protocol) (socket, bool) {
	if len(b) < sizeofAnswer {
		return socket{}, false
	}
	s := socket{protocol: p}
	var a netip.Addr
	switch b[0] {
	case unix.AF_INET:
		a = netip.AddrFrom4([4]byte(b[8:12]))
	case unix.AF_INET6:
		a = netip.AddrFrom16([16]byte(b[8:24]))
		s.dual = a.IsUnspecified()
	default:
		return socket{}, false
	}
	s.addr = netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(b[4:]))
	for b = b[sizeofAnswer:]; len(b) >= unix.SizeofRtAttr; {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			break
		}
		value := b[unix.SizeofRtAttr:size]
		switch kind := binary.NativeEndian.Uint16(b[2:]); {
		case kind == attrV6Only && len(value) >= 1:
			s.dual = s.dual && value[0] == 0
		case kind == attrCgroup && len(value) >= 8:
			s.cgroup = binary.NativeEndian.Uint64(value)
		}
		b = b[min(align(size), len(b)):]
	}
	return s, s.addr.Port() != 0
}

// align is the length of something with its padding, in netlink messages.
func align(n int) int { return (n + 3) &^ 3 }
