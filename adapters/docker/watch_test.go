package docker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

// dockerd is the part of an engine that is watched.
type dockerd struct {
	mu         sync.Mutex
	running    map[string]bool // every container, and whether it runs
	locked     map[string]chan struct{}
	inspected  map[string]int
	networks   string
	lists      int
	late       string // an event that happens after the head of the stream, before it subscribes
	since      string
	subscriber chan string
	started    chan struct{} // holds one for each subscription
}

func newDockerd() *dockerd {
	return &dockerd{running: map[string]bool{}, locked: map[string]chan struct{}{}, inspected: map[string]int{},
		networks: `[]`, subscriber: make(chan string, 1024), started: make(chan struct{}, 16)}
}

func (d *dockerd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	switch {
	case path == "/_ping":
		fmt.Fprint(w, "OK")
	case path == "/events":
		d.stream(w, r)
	case path == "/networks":
		d.mu.Lock()
		defer d.mu.Unlock()
		fmt.Fprint(w, d.networks)
	case path == "/containers/json":
		d.mu.Lock()
		defer d.mu.Unlock()
		d.lists++
		var all []string
		for id, up := range d.running {
			if up {
				all = append(all, fmt.Sprintf(`{"Id":%q,"Names":["/listed"]}`, id))
			}
		}
		fmt.Fprint(w, "["+strings.Join(all, ",")+"]")
	default:
		d.inspect(w, r, strings.TrimSuffix(strings.TrimPrefix(path, "/containers/"), "/json"))
	}
}

func (d *dockerd) inspect(w http.ResponseWriter, r *http.Request, id string) {
	d.mu.Lock()
	lock := d.locked[id]
	d.inspected[id]++
	d.mu.Unlock()
	if lock != nil {
		select {
		case <-lock:
		case <-r.Context().Done():
			return
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	up, ok := d.running[id]
	if !ok {
		http.Error(w, `{"message":"No such container"}`, http.StatusNotFound)
		return
	}
	fmt.Fprintf(w, `{"Id":%q,"Name":"/c-%s","State":{"Running":%t},"NetworkSettings":{"Networks":{"bridge":{"IPAddress":"172.17.0.%d"}}}}`,
		id, id[:1], up, id[0])
}

func (d *dockerd) stream(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	d.mu.Lock()
	c := d.subscriber
	d.since = r.URL.Query().Get("since")
	if d.late != "" && d.since != "" {
		c <- d.late
	}
	d.mu.Unlock()
	d.started <- struct{}{}
	for {
		select {
		case e, open := <-c:
			if !open {
				return
			}
			fmt.Fprintln(w, e)
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// set changes a container, or with "gone" takes it away, and emits events.
func (d *dockerd) set(id, state string, events ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if state == "gone" {
		delete(d.running, id)
	} else {
		d.running[id] = state == "up"
	}
	for _, action := range events {
		d.subscriber <- containerEvent(id, action)
	}
}

func (d *dockerd) emit(e string) { d.mu.Lock(); defer d.mu.Unlock(); d.subscriber <- e }

func (d *dockerd) lock(id string) (unlock func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := make(chan struct{})
	d.locked[id] = c
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.locked, id)
		close(c)
	}
}

func (d *dockerd) inspects(id string) int { d.mu.Lock(); defer d.mu.Unlock(); return d.inspected[id] }

func containerEvent(id, action string) string {
	if action == "connect" || action == "disconnect" {
		return fmt.Sprintf(`{"Type":"network","Action":%q,"Actor":{"ID":"n1","Attributes":{"container":%q,"name":"bridge","type":"bridge"}}}`, action, id)
	}
	return fmt.Sprintf(`{"Type":"container","Action":%q,"Actor":{"ID":%q,"Attributes":{"image":"x","name":"c"}}}`, action, id)
}

func cid(letter string) string { return strings.Repeat(letter, 64) }

// watching runs a watch of d until the end of the test.
type watching struct {
	t       *testing.T
	d       *dockerd
	engine  *fakeEngine
	changes chan domain.ContainerChange
	cancel  context.CancelFunc
	done    chan error
}

func watchDockerd(t *testing.T, d *dockerd) *watching {
	t.Helper()
	w := &watching{t: t, d: d, engine: httpEngine(t, 1, d), changes: make(chan domain.ContainerChange, 1024), done: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.done <- NewWatcher(slog.New(slog.DiscardHandler)).Watch(ctx, w.engine, func(c domain.ContainerChange) error {
			w.changes <- c
			return nil
		})
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return w
}

func (w *watching) next() domain.ContainerChange {
	w.t.Helper()
	select {
	case c := <-w.changes:
		return c
	case err := <-w.done:
		w.t.Fatal("the watch ended: ", err)
	case <-time.After(10 * time.Second):
		w.t.Fatal("no news")
	}
	return domain.ContainerChange{}
}

// present waits for news of one container that ok accepts.
func (w *watching) present(id string, ok func(domain.ContainerFacts) bool) {
	w.t.Helper()
	for {
		for _, f := range w.next().Present {
			if f.ID == id && ok(f) {
				return
			}
		}
	}
}

func runs(f domain.ContainerFacts) bool   { return f.Running && len(f.Addrs()) == 1 }
func stands(f domain.ContainerFacts) bool { return !f.Running && len(f.Addrs()) == 0 }

func TestAWatchListsAndThenFollows(t *testing.T) {
	d := newDockerd()
	d.running[cid("a")] = true
	d.running[cid("b")] = false
	d.networks = `[{"Driver":"bridge","IPAM":{"Config":[{"Subnet":"172.17.0.0/16"}]}}]`
	w := watchDockerd(t, d)
	first := w.next()
	require.True(t, first.Full)
	require.Len(t, first.Present, 1)
	require.Equal(t, "c-a", first.Present[0].Name, "inspected")
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("172.17.0.0/16")}, first.Networks)

	d.set(cid("c"), "down", "create")
	w.present(cid("c"), stands)
	d.set(cid("c"), "up", "connect", "start")
	w.present(cid("c"), runs)
	d.set(cid("c"), "up", "rename")
	w.present(cid("c"), runs)
	d.set(cid("c"), "up", "disconnect")
	w.present(cid("c"), runs)
	d.set(cid("c"), "down", "disconnect", "die")
	w.present(cid("c"), stands)
	d.set(cid("c"), "gone", "destroy")
	for c := w.next(); len(c.Gone) == 0; c = w.next() {
	}
	d.emit(`{"Type":"network","Action":"create","Actor":{"ID":"n2","Attributes":{"name":"x","type":"bridge"}}}`)
	for c := w.next(); c.Networks == nil; c = w.next() {
	}
}

// The engine sends the head of its events before it subscribes.
func TestAnEventBetweenTheHeadAndTheSubscriptionIsNotLost(t *testing.T) {
	d := newDockerd()
	d.running[cid("a")] = true
	d.late = containerEvent(cid("a"), "start")
	w := watchDockerd(t, d)
	require.True(t, w.next().Full)
	w.present(cid("a"), runs)
	d.mu.Lock()
	defer d.mu.Unlock()
	require.NotEmpty(t, d.since)
}

func TestAContainerThatIsBeingStartedIsNotAskedFor(t *testing.T) {
	d := newDockerd()
	d.running[cid("a")] = false
	w := watchDockerd(t, d)
	w.next()
	unlock := d.lock(cid("a")) // as its start does
	d.set(cid("a"), "down", "connect", "disconnect", "connect")
	d.set(cid("b"), "up", "start")
	w.present(cid("b"), runs)
	require.Zero(t, d.inspects(cid("a")))
	unlock()
	d.set(cid("a"), "up", "start")
	w.present(cid("a"), runs)
}

func TestContainersThatAreLockedDoNotHoldUpOthers(t *testing.T) {
	d := newDockerd()
	w := watchDockerd(t, d)
	w.next()
	var unlock []func()
	for _, letter := range []string{"a", "b", "c", "d", "e", "f"} {
		unlock = append(unlock, d.lock(cid(letter)))
		d.set(cid(letter), "down", "create")
	}
	d.set(cid("0"), "up", "start")
	w.present(cid("0"), runs)
	d.set(cid("a"), "up", "start") // asked again when the first answer is there
	for _, f := range unlock {
		f()
	}
	w.present(cid("a"), runs)
}

func TestADeathIsToldAtOnce(t *testing.T) {
	d := newDockerd()
	d.running[cid("a")] = true
	w := watchDockerd(t, d)
	w.next()
	unlock := d.lock(cid("a"))
	defer unlock()
	d.set(cid("a"), "down", "die")
	w.present(cid("a"), stands)
}

func TestAnAnswerFromBeforeADeathDoesNotCount(t *testing.T) {
	d := newDockerd()
	d.running[cid("a")] = true
	w := watchDockerd(t, d)
	w.next()
	unlock := d.lock(cid("a"))
	d.set(cid("a"), "up", "rename") // its question waits for the lock
	require.Eventually(t, func() bool { return d.inspects(cid("a")) == 2 }, 5*time.Second, time.Millisecond)
	d.emit(containerEvent(cid("a"), "die")) // but the answer will still say that it runs
	w.present(cid("a"), stands)
	d.emit(containerEvent(cid("a"), "destroy"))
	for c := w.next(); len(c.Gone) == 0; c = w.next() {
	}
	unlock()
	d.set(cid("b"), "up", "start")
	c := w.next()
	require.Len(t, c.Present, 1)
	require.Equal(t, cid("b"), c.Present[0].ID)
}

func TestAContainerThatIsGoneWhenItIsAskedFor(t *testing.T) {
	d := newDockerd()
	d.running[cid("a")] = true
	w := watchDockerd(t, d)
	w.next()
	d.set(cid("a"), "gone", "start")
	require.Equal(t, []string{cid("a")}, w.next().Gone)
}

func TestAnEngineThatRestartsIsListedAgain(t *testing.T) {
	d := newDockerd()
	d.running[cid("a")] = true
	w := watchDockerd(t, d)
	w.next()
	<-d.started
	d.mu.Lock()
	d.running = map[string]bool{cid("b"): true}
	close(d.subscriber)
	d.subscriber = make(chan string, 1024)
	d.mu.Unlock()
	again := w.next()
	require.True(t, again.Full)
	require.Len(t, again.Present, 1)
	require.Equal(t, cid("b"), again.Present[0].ID)
}

func TestWhatAGuestMaySendIsBounded(t *testing.T) {
	for name, line := range map[string]string{
		"an event without end": `{"Type":"` + strings.Repeat("x", eventLimit+1),
		"no JSON":              `}`,
	} {
		t.Run(name, func(t *testing.T) {
			d := newDockerd()
			w := watchDockerd(t, d)
			require.True(t, w.next().Full)
			<-d.started
			d.emit(line)
			require.True(t, w.next().Full, "events may be lost: it lists again")
		})
	}
	q := newEventQueue()
	for range queueLimit {
		require.True(t, q.put(event{}, nil))
	}
	require.False(t, q.put(event{}, nil))
	_, err := q.take()
	require.Error(t, err)
	d := newDockerd()
	d.networks = `[` + strings.Repeat(" ", listLimit) + `]`
	client := newEngineClient(httpEngine(t, 1, d))
	defer client.close()
	_, err = client.networks(t.Context())
	require.ErrorIs(t, err, domain.ErrInvalid)
}

func TestAWatchEnds(t *testing.T) {
	t.Run("with its context", func(t *testing.T) {
		w := watchDockerd(t, newDockerd())
		w.next()
		w.cancel()
		require.ErrorIs(t, <-w.done, context.Canceled)
	})
	t.Run("with the engine's run", func(t *testing.T) {
		w := watchDockerd(t, newDockerd())
		w.next()
		close(w.engine.gone)
		require.ErrorIs(t, <-w.done, domain.ErrNotRunning)
	})
	t.Run("with its receiver", func(t *testing.T) {
		full := errors.New("no more")
		d := newDockerd()
		e := httpEngine(t, 1, d)
		err := NewWatcher(slog.New(slog.DiscardHandler)).Watch(t.Context(), e, func(domain.ContainerChange) error { return full })
		require.Equal(t, full, err)
	})
}
