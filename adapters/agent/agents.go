// Package agent is the client of the guest agent: it implements port.Agents
// over the gRPC service arcbox.agent.v1.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	agentv1 "arcbox/api/arcbox/agent/v1"
	"arcbox/application/port"
	"arcbox/domain"
)

// The pauses between attempts to connect: short, because a user waits for the
// boot, and an attempt to a guest that does not listen yet costs little.
const (
	firstPause = 25 * time.Millisecond
	lastPause  = 100 * time.Millisecond
)

// attemptTimeout bounds one attempt. A connection may be accepted by a guest
// that is too busy booting to answer at once.
const attemptTimeout = 10 * time.Second

// The bounds of what is read of one message; the guest is not trusted.
const (
	maxMessage = 1 << 20
	maxHeader  = 64 << 10
)

// Config is what the client needs.
type Config struct {
	// Version is this daemon's version; the guest puts it into its log.
	Version string
	// Logs takes the guest's logs.
	Logs port.LogFiles
	Log  *slog.Logger
	// Clock is the host's clock; nil means the system's.
	Clock Clock
}

// Agents implements port.Agents. Its methods may be called by any goroutine.
type Agents struct {
	cfg       Config
	positions *positions
}

var _ port.Agents = (*Agents)(nil)

// New returns a client.
func New(cfg Config) *Agents {
	if cfg.Clock == nil {
		cfg.Clock = systemClock()
	}
	return &Agents{cfg: cfg, positions: newPositions()}
}

// Connect implements port.Agents.
func (a *Agents) Connect(ctx context.Context, name domain.MachineName, d port.Dialer, silence time.Duration) (port.AgentSession, error) {
	last := errors.New("no attempt has ended yet")
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		s, err := a.attempt(ctx, name, d, silence)
		if err == nil {
			return s, nil
		}
		if errors.Is(err, domain.ErrProtocol) {
			return nil, err
		}
		if ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
			last = err // an attempt that was cut short says less than the one before
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the guest agent of machine %s: %w; the last attempt: %w", name, endOf(ctx), last)
		case <-time.After(pause):
		}
	}
}

// endOf is why ctx ended, as one of the domain's kinds.
func endOf(ctx context.Context) error {
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, context.DeadlineExceeded):
		return fmt.Errorf("%w (%w)", domain.ErrTimeout, cause)
	case errors.Is(cause, context.Canceled):
		return fmt.Errorf("%w (%w)", domain.ErrCanceled, cause)
	}
	return cause
}

func (a *Agents) attempt(ctx context.Context, name domain.MachineName, d port.Dialer, silence time.Duration) (*session, error) {
	bounded, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	stream, err := d.Dial(bounded, domain.PortAgent)
	if err != nil {
		return nil, fmt.Errorf("connect to the guest agent: %w", err)
	}
	conn, err := overStream(stream)
	if err != nil {
		_ = stream.Close()
		return nil, fmt.Errorf("connect to the guest agent: %w", err)
	}
	client := agentv1.NewAgentServiceClient(conn)
	answer, err := client.Hello(bounded, &agentv1.HelloRequest{
		Protocol: domain.AgentProtocol, HostVersion: a.cfg.Version, HostTimeUnixNano: a.cfg.Clock.Wall().UnixNano(),
	})
	hello, err := checkHello(answer, err)
	if err != nil {
		_ = conn.Close()
		_ = stream.Close()
		return nil, err
	}
	a.cfg.Log.Info("guest agent connected", "machine", name, "version", hello.Version, "build", hello.Build, "kernel", hello.Kernel)
	return a.newSession(ctx, name, d, conn, client, hello, silence), nil
}

// overStream makes a gRPC client of one stream. A second connection is never
// made: the loss of the stream is the loss of the session.
func overStream(stream net.Conn) (*grpc.ClientConn, error) {
	var once sync.Once
	return grpc.NewClient("passthrough:///guest",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			conn, err := net.Conn(nil), errors.New("the connection to the guest agent is lost")
			once.Do(func() { conn, err = stream, nil })
			return conn, err
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithMaxHeaderListSize(maxHeader),
		// The guest's description of how to call it is not wanted.
		grpc.WithDisableServiceConfig(),
	)
}

// checkHello says whether both sides can work together.
func checkHello(answer *agentv1.HelloResponse, err error) (domain.AgentHello, error) {
	if status.Code(err) == codes.Unimplemented {
		return domain.AgentHello{}, domain.WithHint(
			fmt.Errorf("the guest agent does not know this daemon's protocol %d: %w", domain.AgentProtocol, domain.ErrProtocol), updateGuest)
	}
	if err != nil {
		return domain.AgentHello{}, fmt.Errorf("say hello to the guest agent: %w", err)
	}
	h := domain.AgentHello{
		Protocol: answer.Protocol,
		Version:  word(answer.Version),
		Build:    word(answer.Build),
		BootID:   word(answer.BootId),
		Kernel:   word(answer.Kernel),
	}
	switch {
	case h.Protocol < domain.AgentProtocol:
		return h, domain.WithHint(fmt.Errorf("the guest agent %s speaks protocol %d, this daemon %d: the guest agent is too old: %w",
			h.Version, h.Protocol, domain.AgentProtocol, domain.ErrProtocol), updateGuest)
	case h.Protocol > domain.AgentProtocol:
		return h, domain.WithHint(fmt.Errorf("the guest agent %s speaks protocol %d, this daemon %d: the daemon is too old: %w",
			h.Version, h.Protocol, domain.AgentProtocol, domain.ErrProtocol), updateHost)
	}
	return h, nil
}

const (
	updateGuest = "update the guest: arcbox daemon stop, arcbox boot prefetch --force, arcbox daemon start"
	updateHost  = "update arcbox on this computer, then restart its daemon"
)
