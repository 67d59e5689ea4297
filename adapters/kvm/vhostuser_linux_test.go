package kvm

import (
	"encoding/binary"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
)

// vhostUserServer is just enough of a vhost-user device for QEMU to
// make the machine: it answers what is asked and never looks at memory.
// Messages: QEMU's docs/interop/vhost-user.
type vhostUserServer struct {
	conn *net.UnixConn
	done chan struct{}

	mu   sync.Mutex
	seen []uint32
}

const (
	vuGetFeatures         = 1
	vuGetVringBase        = 11
	vuGetProtocolFeatures = 15
	vuGetQueueNum         = 17
	vuGetConfig           = 24
)

func serveVhostUser(fd int) *vhostUserServer {
	f := os.NewFile(uintptr(fd), "vhost-user server")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		panic(err)
	}
	return serveVhostUserOn(conn.(*net.UnixConn))
}

func serveVhostUserOn(conn *net.UnixConn) *vhostUserServer {
	s := &vhostUserServer{conn: conn, done: make(chan struct{})}
	go s.serve()
	return s
}

func (s *vhostUserServer) serve() {
	defer close(s.done)
	le := binary.LittleEndian
	for {
		head, oob := make([]byte, 12), make([]byte, 256)
		n, oobn, _, _, err := s.conn.ReadMsgUnix(head, oob)
		closeRights(oob[:oobn])
		if err != nil || n != len(head) {
			return
		}
		request, size := le.Uint32(head), le.Uint32(head[8:])
		payload := make([]byte, min(size, 4096))
		for got := 0; got < len(payload); {
			n, err := s.conn.Read(payload[got:])
			if err != nil {
				return
			}
			got += n
		}
		s.mu.Lock()
		s.seen = append(s.seen, request)
		s.mu.Unlock()
		var reply []byte
		switch request {
		case vuGetFeatures: // VIRTIO_F_VERSION_1, VHOST_USER_F_PROTOCOL_FEATURES
			reply = le.AppendUint64(nil, 1<<32|1<<30)
		case vuGetProtocolFeatures: // VHOST_USER_PROTOCOL_F_CONFIG
			reply = le.AppendUint64(nil, 1<<9)
		case vuGetQueueNum:
			reply = le.AppendUint64(nil, 3)
		case vuGetVringBase: // QEMU waits for it when the machine stops
			reply = slices.Clone(payload[:8])
		case vuGetConfig: // the guest's context id
			reply = slices.Concat(payload[:12], le.AppendUint64(nil, 77))
		default:
			continue
		}
		out := le.AppendUint32(nil, request)
		out = le.AppendUint32(out, 1|4) // version 1, a reply
		out = le.AppendUint32(out, uint32(len(reply)))
		if _, err := s.conn.Write(append(out, reply...)); err != nil {
			return
		}
	}
}

func closeRights(oob []byte) {
	messages, _ := syscall.ParseSocketControlMessage(oob)
	for i := range messages {
		fds, _ := syscall.ParseUnixRights(&messages[i])
		for _, fd := range fds {
			syscall.Close(fd)
		}
	}
}

func (s *vhostUserServer) saw(request uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.seen, request)
}

func (s *vhostUserServer) close() {
	s.conn.Close()
	<-s.done
}
