package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"arcbox/domain"
)

// ServerOptions describes a Server; Addr and Resolver are required, and a
// limit or duration of 0 takes its default.
type ServerOptions struct {
	// Addr is where UDP and TCP are answered; port 0 is any free one.
	Addr     netip.AddrPort
	Resolver *Resolver
	Log      *slog.Logger // nil discards
	// MaxQueries bounds the queries that wait for an upstream (256), MaxConns
	// the TCP connections (64).
	MaxQueries, MaxConns int
	// QueryTimeout bounds one query (10 s), IdleTimeout the time between two on
	// one TCP connection (20 s).
	QueryTimeout, IdleTimeout time.Duration
	// RetryMin and RetryMax are the first and the longest pause before a taken
	// port is tried again (1 s, 30 s).
	RetryMin, RetryMax time.Duration
}

// Server answers DNS on one address of the host. Its port being taken is a
// state and not a failure: containers work without it.
type Server struct {
	o       ServerOptions
	log     *slog.Logger
	queries chan struct{}
	conns   chan struct{}
	limited atomic.Uint64
	end     context.CancelFunc // nil before Start
	running sync.WaitGroup

	mu     sync.Mutex
	status ServerStatus
}

// ServerStatus says whether the names can be asked for.
type ServerStatus struct {
	// Addr is where it answers, or would.
	Addr netip.AddrPort
	// Listening is false as long as Err stands in the way.
	Listening bool
	Err       error
	// Since is when the two became so, zero before Start.
	Since time.Time
	// Limited counts queries and connections that were turned away because
	// there were too many.
	Limited uint64
}

// NewServer checks o; the error wraps domain.ErrInvalid.
func NewServer(o ServerOptions) (*Server, error) {
	if !o.Addr.IsValid() || o.Resolver == nil {
		return nil, fmt.Errorf("DNS server without an address or a resolver: %w", domain.ErrInvalid)
	}
	for v, d := range map[*int]int{&o.MaxQueries: 256, &o.MaxConns: 64} {
		if *v <= 0 {
			*v = d
		}
	}
	for v, d := range map[*time.Duration]time.Duration{&o.QueryTimeout: 10 * time.Second, &o.IdleTimeout: 20 * time.Second,
		&o.RetryMin: time.Second, &o.RetryMax: 30 * time.Second} {
		if *v <= 0 {
			*v = d
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{o: o, log: o.Log.With("component", "dns"), queries: make(chan struct{}, o.MaxQueries),
		conns: make(chan struct{}, o.MaxConns), status: ServerStatus{Addr: o.Addr}}, nil
}

// Start opens the port and answers until Close. Where the port cannot be
// opened it warns, and tries again for as long as the server runs. It is called
// once.
func (s *Server) Start() error {
	if s.end != nil {
		return fmt.Errorf("start the DNS server again: %w", domain.ErrInvalidState)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.end = cancel
	l, err := listen(s.o.Addr)
	s.note(l, err)
	s.running.Go(func() { s.run(ctx, l) })
	return nil
}

// Close stops answering and returns when nothing of the server runs, or with
// ctx's error. It may be called without Start, and more than once.
func (s *Server) Close(ctx context.Context) error {
	if s.end == nil {
		return nil
	}
	s.end()
	done := make(chan struct{})
	go func() { s.running.Wait(); close(done) }() // ends with the server, whose every wait ends with its context
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close the DNS server: %w", ctx.Err())
	}
}

// Status may be called at any time.
func (s *Server) Status() ServerStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.status
	st.Limited = s.limited.Load()
	return st
}

// run serves l, and opens another when there is none or it broke.
func (s *Server) run(ctx context.Context, l *listener) {
	pause := s.o.RetryMin
	for {
		if l != nil {
			pause = s.o.RetryMin
			err := s.serve(ctx, l)
			if ctx.Err() != nil {
				return
			}
			s.note(nil, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, s.o.RetryMax)
		var err error
		l, err = listen(s.o.Addr)
		s.note(l, err)
	}
}

// note keeps the state, and logs when it changed.
func (s *Server) note(l *listener, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.status
	if l != nil {
		s.status = ServerStatus{Addr: l.addr, Listening: true, Since: time.Now()}
		s.log.Info("names are answered", "addr", l.addr)
		return
	}
	s.status = ServerStatus{Addr: s.o.Addr, Err: err, Since: time.Now()}
	if was.Err == nil || was.Err.Error() != err.Error() {
		s.log.Warn("names cannot be asked for on the host", "addr", s.o.Addr, "error", err, "hint", domain.Hint(err))
	} else {
		s.status.Since = was.Since
	}
}

// listener is both sockets of one port.
type listener struct {
	addr netip.AddrPort
	udp  *net.UDPConn
	tcp  *net.TCPListener
}

func listen(at netip.AddrPort) (*listener, error) {
	tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	if err != nil {
		return nil, listenError(at, err)
	}
	got := tcp.Addr().(*net.TCPAddr).AddrPort()
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(got))
	if err != nil {
		return nil, listenError(got, errors.Join(err, tcp.Close()))
	}
	return &listener{got, udp, tcp}, nil
}

// listenError says what the user can do.
func listenError(at netip.AddrPort, err error) error {
	kind := domain.ErrUnavailable
	var hint string
	switch {
	case isTaken(err):
		kind = domain.ErrConflict
		hint = fmt.Sprintf("%s says which program has it; network.dns_port chooses another one", whoHolds(at.Port()))
	case isForbidden(err):
		kind = domain.ErrPermission
		hint = "network.dns_port chooses another one, 1024 or higher"
	}
	return domain.WithHint(fmt.Errorf("listen on %s: %w: %w", at, err, kind), hint)
}

// serve answers until ctx ends or a socket fails, and returns when nothing of
// it runs.
func (s *Server) serve(ctx context.Context, l *listener) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() {
		l.udp.Close()
		l.tcp.Close()
	})()
	var parts sync.WaitGroup
	for range readers() {
		parts.Go(func() { cancel(s.serveDatagrams(ctx, l.udp, &parts)) })
	}
	parts.Go(func() { cancel(s.serveConns(ctx, l.tcp, &parts)) })
	parts.Wait()
	return context.Cause(ctx)
}
