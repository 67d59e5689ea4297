// Package publish is the guest's half of published ports: it takes the requests
// of the userland proxies that dockerd starts, has the host open the ports, and
// gives them back when a proxy ends.
package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"arcbox/domain"
)

// MaxLeases bounds how many ports may be published at once. The host has the
// same bound.
const MaxLeases = 4096

// hostWait is how long a request waits for a host that is not there: the
// daemon may be connecting again.
const hostWait = 5 * time.Second

// Texts for the user of `docker run`.
var (
	errTooMany   = fmt.Errorf("more than %d ports are published", MaxLeases)
	errNoHost    = fmt.Errorf("the ArcBox daemon is not connected to the virtual machine, and was not for %s", hostWait)
	errNoAnswer  = errors.New("the ArcBox daemon did not answer in time")
	errProxyGone = errors.New("the proxy ended")
)

// errHostGone ends a host's Next.
var errHostGone = errors.New("another host took over, or this one read too slowly")

// Lease is one port of the host that leads to a container for as long as its
// proxy lives.
type Lease struct {
	// ID is unique within one run of the agent.
	ID   string
	Rule domain.ForwardRule
}

// Broker brings together the proxies, which want ports, and the host, which
// opens them. Its methods may be called by any goroutine.
type Broker struct {
	mu        sync.Mutex
	last      uint64 // number of the newest lease
	leases    map[string]*lease
	listeners []domain.GuestListener
	host      *Host         // nil while none is connected
	attached  chan struct{} // closed when the next host connects
}

type lease struct {
	number  uint64
	rule    domain.ForwardRule
	granted bool
	answer  chan error // has room for the one answer
}

// NewBroker returns a broker without leases and without a host.
func NewBroker() *Broker {
	return &Broker{leases: map[string]*lease{}, attached: make(chan struct{})}
}

// Bind has the host open what rule says and returns the lease's id. The errors'
// texts are for the user of `docker run`. After an error there is no lease, and
// a host that may have opened the port is told so.
func (b *Broker) Bind(ctx context.Context, rule domain.ForwardRule) (string, error) {
	id, l, err := b.enter(rule)
	if err != nil {
		return "", err
	}
	if answered, err := b.await(ctx, l); err != nil {
		b.drop(id, !answered)
		return "", err
	}
	return id, nil
}

func (b *Broker) enter(rule domain.ForwardRule) (string, *lease, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.leases) >= MaxLeases {
		return "", nil, errTooMany
	}
	b.last++
	id := strconv.FormatUint(b.last, 10)
	l := &lease{number: b.last, rule: rule, answer: make(chan error, 1)}
	b.leases[id] = l
	if b.host != nil {
		b.host.push(Bind{Lease{id, rule}})
	}
	return id, l, nil
}

// await returns the host's answer, or why there is none.
func (b *Broker) await(ctx context.Context, l *lease) (answered bool, _ error) {
	for {
		b.mu.Lock()
		host, attached := b.host, b.attached
		b.mu.Unlock()
		if host == nil {
			wait := time.NewTimer(hostWait)
			select {
			case <-attached:
				wait.Stop()
				continue
			case <-wait.C:
				return false, errNoHost
			case <-ctx.Done():
				wait.Stop()
				return false, endOf(ctx)
			}
		}
		select {
		case err := <-l.answer:
			return true, err
		case <-host.gone:
			select {
			case err := <-l.answer: // it came just before
				return true, err
			default:
			}
		case <-ctx.Done():
			return false, endOf(ctx)
		}
	}
}

func endOf(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	return errNoAnswer
}

// drop forgets a lease; tell says that the host does not know of its end.
func (b *Broker) drop(id string, tell bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.leases, id)
	if tell && b.host != nil {
		b.host.push(Release{id})
	}
}

// Release ends a lease and returns when the host's port is free, or ctx ends,
// or there is no host: a new one learns from its snapshot what is over.
func (b *Broker) Release(ctx context.Context, id string) error {
	b.mu.Lock()
	delete(b.leases, id)
	host := b.host
	if host == nil {
		b.mu.Unlock()
		return nil
	}
	free := make(chan struct{})
	host.releasing[id] = free
	host.push(Release{id})
	b.mu.Unlock()
	select {
	case <-free:
		return nil
	case <-host.gone:
		return nil
	case <-ctx.Done():
		b.mu.Lock()
		delete(host.releasing, id)
		b.mu.Unlock()
		return fmt.Errorf("wait for the host to free a port: %w", ctx.Err())
	}
}

// SetListeners replaces the listening sockets of containers that share the
// guest's network. The caller does not change the slice any more.
func (b *Broker) SetListeners(l []domain.GuestListener) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.listeners = l
	if b.host != nil {
		b.host.stale = true
		b.host.wake()
	}
}

// Attach connects a host in place of an earlier one. Its first event is the
// Snapshot, the second the Listeners. The caller closes it.
func (b *Broker) Attach() *Host {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.host != nil {
		b.host.end()
	}
	h := &Host{broker: b, stale: true, releasing: map[string]chan struct{}{}, gone: make(chan struct{}), news: make(chan struct{}, 1)}
	var granted, waiting []Lease
	for _, id := range slices.SortedFunc(keys(b.leases), func(x, y string) int {
		return cmp.Compare(b.leases[x].number, b.leases[y].number)
	}) {
		l := b.leases[id]
		if l.granted {
			granted = append(granted, Lease{id, l.rule})
		} else if len(l.answer) == 0 { // else it was refused a moment ago
			waiting = append(waiting, Lease{id, l.rule})
		}
	}
	h.queue = append(h.queue, Snapshot{granted})
	b.host = h
	for _, l := range waiting {
		h.push(Bind{l})
	}
	close(b.attached)
	b.attached = make(chan struct{})
	return h
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}
