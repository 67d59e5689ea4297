package share

import (
	"encoding/binary"
	"log"
	"log/slog"
	"strings"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"arcbox/domain"
)

const (
	// maxTransfer is the most data of one READ or WRITE: what the guest's kernel
	// does at most.
	maxTransfer = 1 << 20
	// background is how many requests of readahead and writeback the guest has
	// under way.
	background = 64
)

// sessions are the mounts of one guest, of which there is one at a time: what the
// guest knew from one before it are numbers without a meaning.
type sessions struct {
	log  *slog.Logger
	open func() (*passThrough, error)

	mu      sync.RWMutex // held for reading by each request, so that none sees the end of its mount
	files   *passThrough
	server  *fuse.ProtocolServer
	options fuse.MountOptions
}

func newSessions(log *slog.Logger, cache Cache, open func() (*passThrough, error)) *sessions {
	s := &sessions{log: log, open: open}
	s.options = fuse.MountOptions{
		Name: domain.ShareTag, MaxWrite: maxTransfer, MaxBackground: background,
		// The kernel truncates with open in one request, and leaves it to the server
		// to take set-user-id bits away, so that it does not ask before each write
		// whether there are any.
		ExtraCapabilities: fuse.CAP_READDIRPLUS_AUTO | fuse.CAP_ATOMIC_O_TRUNC |
			fuse.CAP_HANDLE_KILLPRIV_V2 | fuse.CAP_ASYNC_DIO,
		DisabledCapabilities: fuse.CAP_NO_OPEN_SUPPORT | fuse.CAP_PASSTHROUGH | fuse.CAP_ALLOW_IDMAP,
		Logger:               quiet(log),
		PanicHandler: func(v any) fuse.Status {
			log.Error("a request of the guest for a shared file went wrong", "panic", v)
			return fuse.EIO
		},
	}
	if cache.WriteBack {
		s.options.ExtraCapabilities |= fuse.CAP_WRITEBACK_CACHE
	}
	return s
}

// quiet is a logger of the library's, which tells of what guests do wrong.
func quiet(l *slog.Logger) *log.Logger { return log.New(debugWriter{l}, "", 0) }

type debugWriter struct{ log *slog.Logger }

func (w debugWriter) Write(p []byte) (int, error) {
	w.log.Debug("shared files", "message", strings.TrimSpace(string(p)))
	return len(p), nil
}

// answer carries out a request and returns the length of the answer in out.
func (s *sessions) answer(h header, in, out [][]byte) int {
	least, known := shortest(h.opcode)
	switch {
	case h.answerless() && uintptr(h.length) < least:
		return 0
	case !known:
		return reply(out, h.unique, unix.ENOSYS)
	case uintptr(h.length) < least:
		return reply(out, h.unique, unix.EINVAL)
	}
	switch h.opcode {
	case opInit:
		return s.begin(h, in, out)
	case opDestroy:
		s.end()
		return reply(out, h.unique, 0)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case s.server == nil && h.answerless():
		return 0
	case s.server == nil:
		return reply(out, h.unique, unix.EIO)
	case h.opcode == opSyncFS:
		return reply(out, h.unique, s.files.syncAll(h))
	}
	n, st := s.server.HandleRequest(in, out)
	if n == 0 && !st.Ok() && !h.answerless() {
		return reply(out, h.unique, unix.EIO)
	}
	return n
}

// begin is the guest's mount.
func (s *sessions) begin(h header, in, out [][]byte) int {
	// FUSE_KERNEL_VERSION, and the first minor version that the library speaks.
	const major, minor = 7, 12
	if le := binary.NativeEndian; le.Uint32(in[0][headerLen:]) != major || le.Uint32(in[0][headerLen+4:]) < minor {
		return reply(out, h.unique, unix.EPROTO)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop()
	files, err := s.open()
	if err != nil {
		s.log.Error("the guest cannot mount its shared directories", "err", err)
		return reply(out, h.unique, unix.EIO)
	}
	s.files, s.server = files, fuse.NewProtocolServer(recorded{files}, &s.options)
	n, st := s.server.HandleRequest(in, out)
	if n == 0 && !st.Ok() {
		return reply(out, h.unique, unix.EIO)
	}
	return n
}

// end closes all files of the mount.
func (s *sessions) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop()
}

func (s *sessions) drop() {
	if s.files != nil {
		s.files.close()
	}
	s.files, s.server = nil, nil
}

// syncAll writes the file systems of the guest's shares to their disks.
func (f *passThrough) syncAll(h header) unix.Errno {
	if h.uid == domain.TouchUID {
		return unix.EPERM
	}
	for _, s := range f.shares {
		if s.readOnly {
			continue
		}
		path, err := f.tree.pin(s.root)
		if err != nil {
			return unix.EIO
		}
		fd, err := f.reopen(path, unix.O_RDONLY|unix.O_DIRECTORY)
		f.tree.unpin(s.root)
		if err != nil {
			return unix.Errno(status(err))
		}
		err = unix.Syncfs(fd)
		_ = unix.Close(fd)
		if err != nil {
			return unix.Errno(status(err))
		}
	}
	return 0
}
