package tun

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"arcbox/adapters/netfwd/usernet"
)

// node is the device node that tun interfaces are opened through (kernel:
// Documentation/networking/tuntap.rst).
const node = "/dev/net/tun"

// batchPackets bounds the packets of one ReadPackets.
const batchPackets = 64

// packets is an attached tun device; it implements usernet.PacketDevice.
type packets struct {
	file *os.File
	raw  syscall.RawConn
	room int // the largest packet, bytes

	// What the two calls work on: a closure of its own for each would be an
	// allocation for each packet.
	read, write func(fd uintptr) bool
	in          struct {
		buf      []byte
		headroom int
		ends     []int
		err      error
	}
	out struct {
		b   []byte
		err error
	}
}

var _ usernet.PacketDevice = (*packets)(nil)

// attach opens the persistent device name, whose packets have at most mtu
// bytes. The error wraps unix.EBUSY when another process has it, unix.EPERM when
// it is another user's.
func attach(node, name string, mtu int) (*packets, error) {
	fd, err := openQueue(node, name, unix.IFF_TUN|unix.IFF_NO_PI)
	if err != nil {
		return nil, err
	}
	// Only now: the runtime's poller does not take a descriptor without a device.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	p := &packets{file: os.NewFile(uintptr(fd), name), room: mtu}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		p.file.Close()
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	p.read, p.write = p.readAll, p.writeOne
	return p, nil
}

// openQueue opens node and binds it to the device name.
func openQueue(node, name string, flags uint16) (int, error) {
	fd, err := unix.Open(node, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: node, Err: err}
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(flags)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("attach to %s: %w", name, os.NewSyscallError("ioctl TUNSETIFF", err))
	}
	return fd, nil
}

// ReadPackets implements usernet.PacketDevice.
func (p *packets) ReadPackets(buf []byte, headroom int, ends []int) ([]int, error) {
	p.in.buf, p.in.headroom, p.in.ends, p.in.err = buf, headroom, ends, nil
	err := p.raw.Read(p.read)
	if err == nil {
		err = p.in.err
	}
	ends = p.in.ends
	p.in.buf, p.in.ends = nil, nil
	return ends, err
}

func (p *packets) readAll(fd uintptr) bool {
	in := &p.in
	at := 0
	for len(in.ends) < batchPackets && len(in.buf)-at >= in.headroom+p.room {
		n, err := unix.Read(int(fd), in.buf[at+in.headroom:])
		switch err {
		case nil:
			at += in.headroom + n
			in.ends = append(in.ends, at)
		case unix.EINTR:
		case unix.EAGAIN:
			return at > 0
		default:
			if at == 0 {
				in.err = os.NewSyscallError("read", err)
			}
			return true
		}
	}
	return true
}

// WritePacket implements usernet.PacketDevice.
func (p *packets) WritePacket(b []byte) error {
	p.out.b, p.out.err = b, nil
	err := p.raw.Write(p.write)
	p.out.b = nil
	if err != nil {
		return err
	}
	return p.out.err
}

func (p *packets) writeOne(fd uintptr) bool {
	for {
		_, err := unix.Write(int(fd), p.out.b)
		if err == unix.EINTR {
			continue
		}
		p.out.err = err // EAGAIN too: a packet does not wait
		return true
	}
}

// Close implements usernet.PacketDevice. The device stays on the host.
func (p *packets) Close() error { return p.file.Close() }
