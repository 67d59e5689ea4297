package containers_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang/mock/gomock"
	"github.com/stretchr/testify/require"

	"arcbox/application/containers"
	"arcbox/application/lifecycle/lifecycletest"
	"arcbox/application/port"
	"arcbox/application/port/mock"
	"arcbox/domain"
)

// trees is a port.TreeWatcher whose news the test makes. Its calls come from
// one goroutine of its own, as they do.
type trees struct {
	refuse error

	mu      sync.Mutex
	sets    [][]string
	opens   int
	open    int
	calls   chan func()
	changed func([]domain.PathChange)
	limited func(error)
}

func (w *trees) opened(changed func([]domain.PathChange), limited func(error)) (port.TreeWatch, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opens++
	if w.refuse != nil {
		return nil, w.refuse
	}
	w.open++
	w.changed, w.limited, w.calls = changed, limited, make(chan func(), 16)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for call := range w.calls {
			call()
		}
	}()
	return &opened{w, ended}, nil
}

// opened is the port.TreeWatch of trees.
type opened struct {
	*trees
	ended chan struct{}
}

func (o *opened) SetTrees(paths []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sets = append(o.sets, paths)
}

func (o *opened) Close() error {
	o.mu.Lock()
	o.open--
	close(o.calls)
	o.mu.Unlock()
	<-o.ended
	return nil
}

// now are the trees that are watched.
func (w *trees) now() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open == 0 || len(w.sets) == 0 {
		return nil
	}
	return w.sets[len(w.sets)-1]
}

func (w *trees) change(c ...domain.PathChange) { w.calls <- func() { w.changed(c) } }
func (w *trees) limit(err error)               { w.calls <- func() { w.limited(err) } }

// hostLinks are the links of a host, whose other paths are what they are called.
var hostLinks = map[string]domain.HostPath{
	"/home/u/link":      {Resolved: "/home/u/p/deep", Kind: domain.HostPathDirectory},
	"/home/u/away":      {Resolved: "/etc", Kind: domain.HostPathDirectory},
	"/home/u/sock":      {Resolved: "/home/u/sock", Kind: domain.HostPathSocket},
	"/home/u/missing":   {Resolved: "/home/u/missing", Kind: domain.HostPathMissing},
	"/work":             {Resolved: "/mnt/disk", Kind: domain.HostPathDirectory},
	"/work/p":           {Resolved: "/mnt/disk/p", Kind: domain.HostPathDirectory},
	"/home/u/unsearchd": {},
}

// watches are those of the host's network.
func (h *host) watches() *containers.Watches {
	control := gomock.NewController(h.t)
	w := mock.NewMockTreeWatcher(control)
	w.EXPECT().Open(gomock.Any(), gomock.Any()).AnyTimes().DoAndReturn(h.trees.opened)
	p := mock.NewMockHostPaths(control)
	p.EXPECT().Inspect(gomock.Any()).AnyTimes().DoAndReturn(func(at string) (domain.HostPath, error) {
		l, ok := hostLinks[at]
		switch {
		case !ok:
			return domain.HostPath{Resolved: path.Clean(at), Kind: domain.HostPathDirectory}, nil
		case l.Kind == "":
			return domain.HostPath{}, domain.ErrPermission
		}
		return l, nil
	})
	return containers.NewWatches(containers.WatchOptions{Enabled: !h.blind, Shares: []domain.Share{{Path: "/home/u"}, {Path: "/work"}}},
		w, p, h.rig.Ports.Events, slog.New(slog.DiscardHandler))
}

func binding(letter string, binds ...string) domain.ContainerFacts {
	f := container(letter, "/"+letter, "172.17.0.2")
	f.Binds = binds
	return f
}

func TestWhatRunningContainersBindIsWatched(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		told := func(c domain.ContainerChange) []string {
			h.news(c)
			synctest.Wait()
			return h.trees.now()
		}
		require.Empty(t, told(domain.ContainerChange{Full: true}))
		require.Zero(t, h.trees.opens, "nothing is watched for nobody")
		stopped := binding("c", "/home/u/c")
		stopped.Running = false
		require.Equal(t, []string{"/home/u/p"}, told(domain.ContainerChange{Present: []domain.ContainerFacts{
			binding("a", "/home/u/p", "/home/u/p/src", "/home/u/link", "/var/run/docker.sock"), stopped}}))
		require.Equal(t, []string{"/home/u/missing", "/home/u/p", "/work/p"}, told(domain.ContainerChange{Present: []domain.ContainerFacts{
			binding("b", "/work/p", "/home/u/p", "/home/u/away", "/home/u/sock", "/home/u/missing", "/home/u/unsearchd")}}))
		sets := len(h.trees.sets)
		told(domain.ContainerChange{Present: []domain.ContainerFacts{binding("d", "/home/u/p/x")}})
		require.Len(t, h.trees.sets, sets, "what is watched already is not set again")
		require.Equal(t, []string{"/home/u/missing", "/home/u/p/deep", "/home/u/p/x", "/work/p"}, told(domain.ContainerChange{Gone: []string{id("a")}, Present: []domain.ContainerFacts{
			binding("b", "/work/p", "/home/u/link", "/home/u/missing")}}))
		require.Equal(t, []string{"/home/u/new"}, told(domain.ContainerChange{Full: true, Present: []domain.ContainerFacts{binding("e", "/home/u/new")}}))
		require.Empty(t, told(domain.ContainerChange{Gone: []string{id("e")}}))
		require.Equal(t, 1, h.trees.opens)
	})
}

func TestTheGuestIsToldWhatChanges(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		var told [][]domain.PathChange
		var fail error
		h.rig.Touch = func(ctx context.Context, g *lifecycletest.Guest, c []domain.PathChange) error {
			_, bounded := ctx.Deadline()
			require.True(t, bounded)
			told = append(told, c)
			return fail
		}
		h.news(domain.ContainerChange{Full: true, Present: []domain.ContainerFacts{binding("a", "/home/u/p")}})
		synctest.Wait()
		h.trees.change(domain.PathChange{Path: "/home/u/p/a"}, domain.PathChange{Path: "/home/u/p/\xff"}, domain.PathChange{Path: "/home/u/p/b", Removed: true})
		synctest.Wait()
		require.Equal(t, [][]domain.PathChange{{{Path: "/home/u/p/a"}, {Path: "/home/u/p/b", Removed: true}}}, told, "a name that is not UTF-8 does not take the others away")

		told, fail = nil, errors.New("some of them are gone")
		var many []domain.PathChange
		for i := range domain.MaxPathChanges {
			many = append(many, domain.PathChange{Path: fmt.Sprint("/home/u/p/", i)})
		}
		h.trees.change(many...)
		synctest.Wait()
		var all []domain.PathChange
		for _, part := range told {
			require.LessOrEqual(t, len(part), 512)
			all = append(all, part...)
		}
		require.Equal(t, many, all, "in their order, whatever becomes of a part")
	})
}

func TestAGuestThatHangsDoesNotKeepTheRunFromEnding(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		calls := 0
		h.rig.Touch = func(ctx context.Context, _ *lifecycletest.Guest, _ []domain.PathChange) error {
			calls++
			<-ctx.Done()
			return ctx.Err()
		}
		h.news(domain.ContainerChange{Full: true, Present: []domain.ContainerFacts{binding("a", "/home/u/p")}})
		synctest.Wait()
		h.trees.change(make([]domain.PathChange, 2000)...)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, 1, calls, "the rest is dropped")
		h.trees.change(domain.PathChange{Path: "/home/u/p/a"})
		synctest.Wait()
		require.Equal(t, 2, calls)
		start := time.Now()
		h.rig.Guest().LoseAgent()
		synctest.Wait()
		require.Zero(t, h.trees.open, "nothing outlives the run")
		require.Zero(t, time.Since(start))
	})
}

func TestTheNextRunIsWatchedAnew(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.news(domain.ContainerChange{Full: true, Present: []domain.ContainerFacts{binding("a", "/home/u/p")}})
		synctest.Wait()
		h.rig.Guest().LoseAgent()
		synctest.Wait()
		require.Zero(t, h.trees.open)
		time.Sleep(time.Minute) // until it is started again
		h.boot()
		require.Zero(t, h.trees.open, "before it is known what runs")
		h.news(domain.ContainerChange{Full: true, Present: []domain.ContainerFacts{binding("b", "/home/u/q")}})
		synctest.Wait()
		require.Equal(t, []string{"/home/u/q"}, h.trees.now())
		h.stop()
		require.Zero(t, h.trees.open)
	})
}

func TestWhatCannotBeWatchedIsToldOnce(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.trees.refuse = domain.WithHint(fmt.Errorf("no more instances: %w", domain.ErrUnavailable), "raise it")
		for _, letter := range []string{"a", "b", "c"} {
			h.news(domain.ContainerChange{Present: []domain.ContainerFacts{binding(letter, "/home/u/"+letter)}})
			synctest.Wait()
		}
		require.Equal(t, 3, h.trees.opens, "every container is a new attempt")
		require.Equal(t, 1, h.count(domain.EventWatchIncomplete))
		h.trees.refuse = nil
		h.news(domain.ContainerChange{Present: []domain.ContainerFacts{binding("d", "/home/u/d")}})
		synctest.Wait()
		require.Len(t, h.trees.now(), 4)

		h.trees.limit(domain.WithHint(fmt.Errorf("not all of /home/u/a: %w", domain.ErrUnavailable), "raise vm.watch_limit"))
		h.trees.limit(nil)
		synctest.Wait()
		require.Equal(t, 2, h.count(domain.EventWatchIncomplete))
	})
}

func TestWatchesCanBeSwitchedOff(t *testing.T) {
	onHostThat(t, func(h *host) { h.blind = true }, func(t *testing.T, h *host) {
		h.news(domain.ContainerChange{Full: true, Present: []domain.ContainerFacts{binding("a", "/home/u/p")}})
		synctest.Wait()
		require.Zero(t, h.trees.opens)
	})
}
