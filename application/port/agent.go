package port

import (
	"context"
	"time"

	"arcbox/domain"
)

// Agents connects to guest agents.
type Agents interface {
	// Connect waits until the agent of the guest behind d answers, exchanges
	// hellos and starts the streams of status and logs. It retries until ctx
	// ends; the error then says what the last attempt met. A protocol mismatch
	// is domain.ErrProtocol at once, and says which side to update. The caller
	// owns the session. A guest that gives no sign of life for as long as silence
	// counts as lost; agents beat every domain.AgentHeartbeat.
	Connect(ctx context.Context, name domain.MachineName, d Dialer, silence time.Duration) (AgentSession, error)
}

// AgentSession is a live connection to one guest agent.
type AgentSession interface {
	Hello() domain.AgentHello
	// Status returns the newest pushed status and a channel that is closed when
	// a newer one is there.
	Status() (domain.GuestStatus, <-chan struct{})
	// Done is closed when the agent is gone: connection lost, or silent for too long.
	Done() <-chan struct{}
	// Err is the reason, valid after Done; it wraps domain.ErrAgentLost unless
	// the session was closed.
	Err() error
	// Configure tells the guest of the host; its engine does not start before. It
	// may be called again when something changed: what the engine has read by then
	// stays as it was until it restarts.
	Configure(ctx context.Context, c domain.GuestConfig) error
	// Shutdown asks the guest to stop its services within grace and power off.
	// It returns when the agent has accepted.
	Shutdown(ctx context.Context, grace time.Duration) error
	// Close ends the session and waits for its goroutines; the guest goes on.
	Close() error
}
