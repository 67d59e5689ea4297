package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"arcbox/domain"
)

// eventQueue is how many events wait for a slow receiver before the oldest is dropped.
const eventQueue = 128

// Options tune a client; the zero value is right for production.
type Options struct {
	Limits Limits
}

// Client is a connection to one QEMU. Its methods may be called from several
// goroutines.
type Client struct {
	conn   net.Conn
	limits Limits
	events chan Event
	done   chan struct{} // closed by the reader when it ended

	dropped atomic.Uint64
	// writing is held by whoever writes; a channel, so that waiting for it has an end.
	writing chan struct{}

	mu      sync.Mutex
	lastID  uint64
	waiting map[uint64]chan *message
	// greeted is closed at the greeting.
	greeted    chan struct{}
	wasGreeted bool
	// err is why the connection ended; once set, nothing waits any more.
	err error
}

// Connect takes over conn, waits for QEMU's greeting and negotiates
// capabilities within ctx and the limit of heavy commands. When it fails, conn
// is closed and nothing of the client runs.
func Connect(ctx context.Context, conn net.Conn, o Options) (*Client, error) {
	c := &Client{
		conn:    conn,
		limits:  o.Limits.orDefault(),
		events:  make(chan Event, eventQueue),
		done:    make(chan struct{}),
		writing: make(chan struct{}, 1),
		waiting: map[uint64]chan *message{},
		greeted: make(chan struct{}),
	}
	go c.read()
	if err := c.handshake(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Client) handshake(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.limits.Heavy)
	defer cancel()
	select {
	case <-c.greeted:
	case <-c.done:
		return fmt.Errorf("waiting for QEMU's greeting: %w", c.Err())
	case <-ctx.Done():
		return fmt.Errorf("waiting for QEMU's greeting: %w", contextError(ctx))
	}
	// QEMU answers from its main loop, so this reply also says that all devices
	// of the machine were made. That takes longer than a quick command.
	if err := c.execute(ctx, "qmp_capabilities", nil, nil, c.limits.Heavy); err != nil {
		return fmt.Errorf("QEMU's monitor: %w", err)
	}
	return nil
}

// Execute runs a command and waits for its reply within ctx and the limit of
// the command's class. args is encoded as the command's arguments, nil for
// none; the returned value is decoded into result unless that is nil.
//
// Errors: *CommandError when QEMU refused, domain.ErrTimeout when no reply came
// in time (the client stays usable, a late reply is dropped),
// domain.ErrCanceled when ctx was cancelled, ErrDisconnected.
func (c *Client) Execute(ctx context.Context, command string, args, result any) error {
	return c.execute(ctx, command, args, result, c.limits.For(command))
}

func (c *Client) execute(ctx context.Context, command string, args, result any, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()

	id, reply, err := c.register()
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	defer c.forget(id)
	request, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
		ID        uint64 `json:"id"`
	}{command, args, id})
	if err != nil {
		return fmt.Errorf("encoding %s: %w: %w", command, err, domain.ErrInvalid)
	}
	if err := c.write(ctx, append(request, '\n')); err != nil {
		return fmt.Errorf("sending %s: %w", command, err)
	}
	select {
	case m := <-reply:
		return decode(m, command, result)
	case <-ctx.Done():
		return fmt.Errorf("waiting for QEMU's reply to %s: %w", command, contextError(ctx))
	case <-c.done:
	}
	select {
	case m := <-reply: // came just before the end
		return decode(m, command, result)
	default:
		return fmt.Errorf("waiting for QEMU's reply to %s: %w", command, c.Err())
	}
}

func decode(m *message, command string, result any) error {
	if m.Error != nil {
		return &CommandError{Command: command, Class: m.Error.Class, Desc: m.Error.Desc}
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(m.Return, result); err != nil {
		return fmt.Errorf("QEMU's reply to %s: %w: %w", command, err, domain.ErrCorrupt)
	}
	return nil
}

func (c *Client) register() (uint64, <-chan *message, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, nil, c.err
	}
	c.lastID++
	reply := make(chan *message, 1)
	c.waiting[c.lastID] = reply
	return c.lastID, reply, nil
}

func (c *Client) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}

func (c *Client) write(ctx context.Context, request []byte) error {
	select {
	case c.writing <- struct{}{}:
		defer func() { <-c.writing }()
	case <-ctx.Done():
		return contextError(ctx)
	case <-c.done:
		return c.Err()
	}
	deadline, _ := ctx.Deadline()
	if err := c.conn.SetWriteDeadline(deadline); err != nil {
		return c.end(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetWriteDeadline(time.Unix(1, 0)) })
	n, err := c.conn.Write(request)
	stop()
	switch {
	case err == nil:
		return nil
	case n == 0 && ctx.Err() != nil:
		return contextError(ctx)
	}
	// Half a request cannot be taken back: the stream is of no more use.
	return c.end(err)
}

// contextError says why ctx ended, in the domain's words.
func contextError(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return domain.ErrTimeout
	}
	return fmt.Errorf("%w: %w", domain.ErrCanceled, context.Cause(ctx))
}

func (c *Client) read() {
	defer close(c.done)
	defer close(c.events)
	r := bufio.NewReaderSize(c.conn, 64<<10)
	for {
		m, err := readMessage(r, maxMessage)
		if err != nil {
			_ = c.end(err)
			return
		}
		c.dispatch(m)
	}
}

func (c *Client) dispatch(m *message) {
	if m.Event != "" {
		c.queue(m.event())
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.Greeting != nil {
		if !c.wasGreeted {
			c.wasGreeted = true
			close(c.greeted)
		}
		return
	}
	// A reply without a known id answers a command that nobody waits for any
	// more, or none of ours; it must not be taken for another command's.
	id, ok := m.id()
	if !ok || (m.Return == nil && m.Error == nil) {
		return
	}
	if reply, ok := c.waiting[id]; ok {
		delete(c.waiting, id)
		reply <- m
	}
}

// queue drops the oldest event for the newest when the receiver is slow. Only
// the reader calls it, so the loop ends.
func (c *Client) queue(e Event) {
	for {
		select {
		case c.events <- e:
			return
		default:
		}
		select {
		case <-c.events:
			c.dropped.Add(1)
		default:
		}
	}
}

// end records why the connection is over and closes it; the first reason stays.
func (c *Client) end(cause error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = fmt.Errorf("%w: %w", ErrDisconnected, cause)
		_ = c.conn.Close()
	}
	return c.err
}

// Events returns the channel of events. It is closed after the last event when
// the connection ends. There is one queue: events go to whoever receives first.
func (c *Client) Events() <-chan Event { return c.events }

// Dropped counts the events that were dropped because nobody received them in time.
func (c *Client) Dropped() uint64 { return c.dropped.Load() }

// Done is closed when the connection ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is why the connection ended, wrapping ErrDisconnected; nil while it is up.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection, fails everybody who waits, and returns when
// nothing of the client runs. It may be called more than once.
func (c *Client) Close() {
	_ = c.end(net.ErrClosed)
	<-c.done
}
