package lifecycle

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"arcbox/domain"
)

// Actor owns the lifecycle of one machine. Its methods may be called from any
// goroutine, before Run too: commands wait for it then.
type Actor struct {
	options Options
	ports   Ports
	log     *slog.Logger
	epoch   time.Time

	inbox   chan message
	wake    chan struct{} // ends idling; holds one
	quit    chan struct{} // Close was called
	deaf    chan struct{} // the loop of Run has ended: nobody takes messages
	over    chan struct{} // Run has returned, or never will run
	started atomic.Bool
	quitted sync.Once

	published atomic.Pointer[Snapshot]
	last      atomic.Int64 // newest activity, since epoch
	holds     atomic.Int64
	refusing  atomic.Bool // no more starts: the daemon is going down

	// What follows belongs to the goroutine of Run.

	life       domain.Lifecycle
	generation uint64
	// incarnation numbers the tasks; what an older one reports is stale.
	incarnation uint64
	task        *task
	tasks       sync.WaitGroup
	remains     *remains // of the newest kill
	run         *run     // set while the machine runs or could not be closed
	guest       domain.GuestStatus
	paused      string // why the machine stands still
	diskLow     bool   // already published
	hypervisor  domain.HypervisorInfo
	toldReason  string // for which no better accelerator was used, already published
	waiters     []chan<- readyReply
	stops       []chan<- error
	closing     bool
	idleSeen    time.Duration
	idleSince   time.Duration
}

// New makes the actor of a machine; it does nothing until Run. It returns
// domain.ErrInvalid for options that no machine can have.
func New(o Options, p Ports) (*Actor, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	a := &Actor{
		options: o,
		ports:   p,
		log:     p.Log.With("machine", string(o.Machine)),
		epoch:   time.Now(),
		inbox:   make(chan message),
		wake:    make(chan struct{}, 1),
		quit:    make(chan struct{}),
		deaf:    make(chan struct{}),
		over:    make(chan struct{}),
		life:    domain.NewLifecycle(false),
	}
	a.publish()
	return a, nil
}

// Run is the actor. It returns after ctx has ended or Close was called, and
// the machine is down, by force if it still ran: an orderly end calls Stop
// first. It may be called once.
func (a *Actor) Run(ctx context.Context) {
	if !a.started.CompareAndSwap(false, true) {
		return
	}
	defer close(a.over)
	root, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer a.tasks.Wait()
	defer cancel()

	a.life = domain.NewLifecycle(a.recorded(ctx))
	a.publish()
	idle := time.NewTimer(time.Hour)
	defer idle.Stop()
	a.touchNow()
	ended, quit := ctx.Done(), (<-chan struct{})(a.quit)
	for !a.closing || !a.life.State.NeedsStart() {
		a.settleIdle(root, idle)
		select {
		case m := <-a.inbox:
			m.handle(root, a)
		case <-a.wake:
		case <-idle.C:
		case <-ended:
			ended, quit = nil, nil
			a.close(root)
		case <-quit:
			ended, quit = nil, nil
			a.close(root)
		}
	}
	close(a.deaf)
	if a.run != nil { // one that could not be closed; the last try
		a.takeDown(root, a.run, nil)
	}
}

func (a *Actor) touchNow() { a.last.Store(int64(time.Since(a.epoch))) }

// Close ends the actor and waits until nothing of it runs, or ctx ends. The
// machine is taken down by force if it still runs.
func (a *Actor) Close(ctx context.Context) error {
	a.refusing.Store(true)
	a.quitted.Do(func() { close(a.quit) })
	if a.started.CompareAndSwap(false, true) {
		close(a.over)
	}
	select {
	case <-a.over:
		return nil
	case <-ctx.Done():
		return a.gaveUp(ctx, "to be closed")
	}
}

// Refuse makes every later start fail with domain.ErrShuttingDown, so that no
// request boots what a shutdown has stopped.
func (a *Actor) Refuse() { a.refusing.Store(true) }

func (a *Actor) close(ctx context.Context) {
	a.closing = true
	a.failWaiters(domain.ErrShuttingDown)
	a.apply(ctx, domain.ForceStop{})
}

// recorded says whether the machine has a record, be it unreadable: a boot
// replaces that one.
func (a *Actor) recorded(ctx context.Context) bool {
	_, err := a.ports.Store.Load(ctx, a.options.Machine)
	if err != nil && !errors.Is(err, domain.ErrNotFound) {
		a.log.Warn("the machine's record cannot be read", "error", err)
	}
	return !errors.Is(err, domain.ErrNotFound)
}

// apply feeds one event to the state machine and does what it wants done.
func (a *Actor) apply(ctx context.Context, e domain.LifecycleEvent) {
	next, effects, handled := domain.Transition(a.life, e)
	if !handled {
		return
	}
	if next.State != a.life.State {
		a.log.Info("machine changes state", "from", string(a.life.State), "to", string(next.State))
	}
	a.life = next
	for _, effect := range effects {
		a.execute(ctx, effect)
	}
	a.publish()
	a.answer(effects)
}
