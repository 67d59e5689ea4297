package agent

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	agentv1 "arcbox/api/arcbox/agent/v1"
	"arcbox/api/stream"
	"arcbox/application/port"
	"arcbox/domain"
)

var _ port.SocketSource = (*session)(nil)

const (
	// socketLimit is how long the host may take to make one connection, on both
	// sides. The guest waits 10 seconds.
	socketLimit = 9 * time.Second
	// socketsAtOnce bounds the connections that are made or open at a time; it is
	// the agent's bound too.
	socketsAtOnce = 256
)

// Sockets implements port.SocketSource. Connections outlive the stream that
// asked for them, but not the session.
func (s *session) Sockets(ctx context.Context, h port.SocketHandler) error {
	ctx, cancel := context.WithCancel(ctx)
	g := &hostSockets{session: s, handler: h, slots: make(chan struct{}, socketsAtOnce)}
	defer g.running.Wait()
	defer cancel()
	return s.keepOpen(ctx, "host sockets", "reach sockets of the host", g.serve)
}

// OfferSocket implements port.SocketSource. The error is domain.ErrInvalid for a
// path that cannot have a socket, domain.ErrInvalidState before the guest's disk
// is ready, and domain.ErrConflict when the guest has no room for it.
func (s *session) OfferSocket(ctx context.Context, hostPath string) (string, error) {
	if err := checkSocketPath(hostPath); err != nil {
		return "", fmt.Errorf("offer a socket to the guest: %w: %w", err, domain.ErrInvalid)
	}
	answer, err := s.client.OfferSocket(ctx, &agentv1.OfferSocketRequest{HostPath: hostPath})
	if err != nil {
		return "", fmt.Errorf("offer the socket %s to the guest: %w", hostPath, offerKind(err))
	}
	path := answer.GetGuestPath()
	if err := checkSocketPath(path); err != nil {
		return "", fmt.Errorf("offer the socket %s to the guest: it answered with %w: %w", hostPath, err, domain.ErrProtocol)
	}
	return path, nil
}

// hostSockets makes the connections of one session.
type hostSockets struct {
	session *session
	handler port.SocketHandler
	slots   chan struct{} // one for each connection
	running sync.WaitGroup
}

type socketStream = grpc.BidiStreamingClient[agentv1.SocketsRequest, agentv1.SocketsResponse]

// serve serves one stream until it breaks.
func (g *hostSockets) serve(ctx context.Context) error {
	streaming, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := g.session.client.Sockets(streaming)
	if err != nil {
		return fmt.Errorf("open the stream of host sockets: %w", err)
	}
	answers := &socketAnswers{stream: s}
	for {
		m, err := s.Recv()
		if err != nil {
			return fmt.Errorf("read the stream of host sockets: %w", err)
		}
		c, err := toSocketConnection(m)
		if c.id == "" {
			return err
		}
		if err != nil {
			answers.refuse(c.id, err)
			continue
		}
		select {
		case g.slots <- struct{}{}:
			g.running.Go(func() {
				defer func() { <-g.slots }()
				g.connect(ctx, c, answers)
			})
		default:
			answers.refuse(c.id, fmt.Errorf("more than %d connections are open: %w", socketsAtOnce, domain.ErrConflict))
		}
	}
}

// connect makes a connection and serves it to its end.
func (g *hostSockets) connect(ctx context.Context, c socketConnection, answers *socketAnswers) {
	guest, host, err := g.make(ctx, c)
	if err != nil {
		answers.refuse(c.id, err)
		return
	}
	splice(ctx, guest, host)
}

// make connects to the host first: what cannot be reached costs the guest
// nothing.
func (g *hostSockets) make(ctx context.Context, c socketConnection) (guest, host port.Stream, err error) {
	ctx, cancel := context.WithTimeout(ctx, socketLimit)
	defer cancel()
	if host, err = g.dial(ctx, c); err != nil {
		return nil, nil, err
	}
	if guest, err = g.accept(ctx, c.id); err != nil {
		g.session.log.Debug("connection to a socket of the host not made", "error", err) // mostly, the client has given up
		_ = host.Close()
		return nil, nil, err
	}
	return guest, host, nil
}

func (g *hostSockets) dial(ctx context.Context, c socketConnection) (port.Stream, error) {
	if c.service != "" {
		return g.handler.DialService(ctx, c.service)
	}
	return g.handler.DialPath(ctx, c.path)
}

// accept comes for the connection that waits in the guest.
func (g *hostSockets) accept(ctx context.Context, id string) (port.Stream, error) {
	header, err := stream.Header{Network: stream.NetworkAccept, Address: id}.Append(nil)
	if err != nil {
		return nil, err
	}
	c, err := g.session.dialer.Dial(ctx, domain.PortStream)
	if err != nil {
		return nil, fmt.Errorf("connect to the guest: %w", err)
	}
	// Closing ends whatever waits: that is so for every stream, deadlines are not.
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	var answer [1]byte
	if _, err = c.Write(header); err == nil {
		_, err = io.ReadFull(c, answer[:])
	}
	got := stream.Status(answer[0])
	switch {
	case !stop():
		_ = c.Close()
		return nil, fmt.Errorf("wait for the guest's answer: %w", endOf(ctx))
	case err != nil:
		_ = c.Close()
		return nil, fmt.Errorf("wait for the guest's answer: %w", err)
	case got != stream.StatusOK:
		_ = c.Close()
		return nil, fmt.Errorf("the guest does not hand the connection over: %s: %w", got, domain.ErrUnavailable)
	}
	return c, nil
}

// socketAnswers are what the guest is told over one stream.
type socketAnswers struct {
	sending sync.Mutex
	stream  socketStream
}

// refuse may be called by any goroutine. When the stream is broken, the guest
// has refused the connection itself.
func (a *socketAnswers) refuse(id string, why error) {
	a.sending.Lock()
	defer a.sending.Unlock()
	_ = a.stream.Send(&agentv1.SocketsRequest{Refused: id, Reason: clean(errorText(why), maxDetail, false)})
}
