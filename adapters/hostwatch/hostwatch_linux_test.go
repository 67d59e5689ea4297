package hostwatch

import (
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"arcbox/application/port"
	"arcbox/domain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// told is what a watch said.
type told struct {
	t     *testing.T
	dir   string
	watch port.TreeWatch
	probe string // deeper than all others, and so watched last

	mu      sync.Mutex
	calls   int // under way
	batches [][]domain.PathChange
	limits  []error
	news    chan struct{}
	hold    chan struct{} // calls wait for it
}

// watching watches paths below a new directory and waits until it does.
func watching(t *testing.T, o Options, make func(dir string), paths ...string) *told {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	if make != nil {
		make(dir)
	}
	w := &told{t: t, dir: dir, news: newSignal()}
	o.Log = slog.New(slog.DiscardHandler)
	w.watch, err = New(o).Open(w.changed, w.limited)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.watch.Close()) })
	if o.Limit == 0 {
		w.probe = filepath.Join(t.TempDir(), "1/2/3/4/5/6")
		require.NoError(t, os.MkdirAll(w.probe, 0o755))
	}
	w.set(paths...)
	return w
}

func newSignal() chan struct{} { return make(chan struct{}, 1) }

// set watches paths and waits until everything below is watched.
func (w *told) set(paths ...string) {
	w.t.Helper()
	all := []string{}
	for _, p := range paths {
		all = append(all, filepath.Join(w.dir, p))
	}
	w.watch.SetTrees(all)
	if w.probe == "" {
		return
	}
	// One that was watched before would answer at once.
	root := strings.TrimSuffix(w.probe, "/1/2/3/4/5/6")
	next := root + "x"
	require.NoError(w.t, os.Rename(root, next))
	w.probe = next + "/1/2/3/4/5/6"
	w.watch.SetTrees(append(all, next))
	for deadline := time.Now().Add(20 * time.Second); ; {
		require.NoError(w.t, os.WriteFile(filepath.Join(w.probe, "f"), nil, 0o644))
		time.Sleep(2 * quiet)
		if w.has(filepath.Join(w.probe, "f")) {
			break
		}
		require.True(w.t, time.Now().Before(deadline), "the trees are not watched")
	}
	time.Sleep(longest) // for what is told of the probe
	w.clear()
}

func (w *told) enter() {
	w.mu.Lock()
	w.calls++
	n, hold := w.calls, w.hold
	w.mu.Unlock()
	if n != 1 {
		w.t.Error("two calls at a time")
	}
	if hold != nil {
		<-hold
	}
}

func (w *told) leave() {
	w.calls--
	w.mu.Unlock()
	select {
	case w.news <- struct{}{}:
	default:
	}
}

func (w *told) changed(c []domain.PathChange) {
	w.enter()
	w.mu.Lock()
	w.batches = append(w.batches, c)
	w.leave()
}

func (w *told) limited(err error) {
	w.enter()
	w.mu.Lock()
	w.limits = append(w.limits, err)
	w.leave()
}

// all is the last that was said of each path, relative to the directory, with
// "-" before what was removed.
func (w *told) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	last := map[string]bool{}
	for _, b := range w.batches {
		for _, c := range b {
			if domain.Within(c.Path, w.dir) {
				last[c.Path] = c.Removed
			}
		}
	}
	var out []string
	for p, removed := range last {
		p = strings.TrimPrefix(strings.TrimPrefix(p, w.dir), "/")
		if removed {
			p = "-" + p
		}
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}

func (w *told) has(path string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.batches, func(b []domain.PathChange) bool { return slices.Contains(b, domain.PathChange{Path: path}) })
}

func (w *told) clear() { w.mu.Lock(); w.batches = nil; w.mu.Unlock() }

// until waits until cond holds.
func (w *told) until(what string, cond func() bool) {
	w.t.Helper()
	end := time.After(20 * time.Second)
	for !cond() {
		select {
		case <-w.news:
		case <-end:
			require.Fail(w.t, "waited for "+what, "%d paths were told, limits %v", len(w.all()), w.limits)
		}
	}
}

// expect waits until exactly want was told.
func (w *told) expect(want ...string) {
	w.t.Helper()
	slices.Sort(want)
	end := time.Now().Add(10 * time.Second)
	for time.Now().Before(end) && !slices.Equal(want, w.all()) {
		time.Sleep(5 * time.Millisecond)
	}
	require.Equal(w.t, want, w.all())
	w.clear()
}

// nothing expects that nothing is told.
func (w *told) nothing() {
	w.t.Helper()
	time.Sleep(longest + 50*time.Millisecond)
	require.Empty(w.t, w.all())
}

func (w *told) path(p string) string { return filepath.Join(w.dir, p) }
func (w *told) mkdir(p string)       { require.NoError(w.t, os.MkdirAll(w.path(p), 0o755)) }
func (w *told) write(p, text string) {
	require.NoError(w.t, os.WriteFile(w.path(p), []byte(text), 0o644))
}
func (w *told) rename(a, b string) { require.NoError(w.t, os.Rename(w.path(a), w.path(b))) }
func (w *told) remove(p string)    { require.NoError(w.t, os.RemoveAll(w.path(p))) }

// sample is a small project.
func sample(dir string) {
	for _, d := range []string{"p/src/deep", "p/.git/objects", "p/node_modules/x", "other"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			panic(err)
		}
	}
	for _, f := range []string{"p/a", "p/src/b", "p/src/deep/c", "other/o"} {
		if err := os.WriteFile(filepath.Join(dir, f), nil, 0o644); err != nil {
			panic(err)
		}
	}
}

func TestWhatIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(w *told)
		want []string
	}{
		"a file is written":           {func(w *told) { w.write("p/a", "x") }, []string{"p/a"}},
		"a file is new":               {func(w *told) { w.write("p/src/deep/n", "x") }, []string{"p/src/deep/n"}},
		"a file is removed":           {func(w *told) { w.remove("p/src/b") }, []string{"-p/src/b"}},
		"a file has another name":     {func(w *told) { w.rename("p/a", "p/src/a") }, []string{"-p/a", "p/src/a"}},
		"a file is saved by renaming": {func(w *told) { w.write("p/.a.tmp", "x"); w.rename("p/.a.tmp", "p/a") }, []string{"p/a"}},
		"a file comes from outside":   {func(w *told) { w.rename("other/o", "p/o") }, []string{"p/o"}},
		"a file goes outside":         {func(w *told) { w.rename("p/a", "other/a") }, []string{"-p/a"}},
		"a directory has another name": {func(w *told) { w.rename("p/src", "p/lib") },
			[]string{"-p/src", "p/lib", "p/lib/b", "p/lib/deep", "p/lib/deep/c"}},
		"a directory comes from outside": {func(w *told) { w.rename("other", "p/other") }, []string{"p/other", "p/other/o"}},
		"a directory is removed":         {func(w *told) { w.remove("p/src") }, []string{"-p/src", "-p/src/b", "-p/src/deep", "-p/src/deep/c"}},
		"a name with spaces and accents": {func(w *told) { w.write("p/ü x\n", "") }, []string{"p/ü x\n"}},
		"what is not reloaded":           {func(w *told) { w.write("p/.git/objects/1", ""); w.write("p/node_modules/x/1", "") }, nil},
		"node_modules goes":              {func(w *told) { w.remove("p/node_modules") }, []string{"-p/node_modules"}},
		"modes and times": {func(w *told) {
			require.NoError(w.t, os.Chmod(w.path("p/a"), 0o600))
			now := time.Now()
			_ = os.Chtimes(w.path("p/a"), now, now)
		}, nil},
		"something outside": {func(w *told) { w.write("other/o", "x"); w.write("x", "") }, nil},
		"a link is new and not followed": {func(w *told) {
			require.NoError(w.t, os.Symlink(w.path("other"), w.path("p/link")))
			time.Sleep(quiet)
			w.write("other/o", "x")
		},
			[]string{"p/link"}},
		"an open file grows": {func(w *told) {
			f, err := os.OpenFile(w.path("p/a"), os.O_WRONLY|os.O_APPEND, 0)
			require.NoError(w.t, err)
			w.t.Cleanup(func() { f.Close() })
			_, err = f.WriteString("x")
			require.NoError(w.t, err)
		}, []string{"p/a"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := watching(t, Options{}, sample, "p")
			c.do(w)
			if c.want == nil {
				w.nothing()
			} else {
				w.expect(c.want...)
			}
		})
	}
}

func TestADirectoryIsWatchedAfterItWasRenamed(t *testing.T) {
	w := watching(t, Options{}, sample, "p")
	w.rename("p/src", "p/lib")
	w.expect("-p/src", "p/lib", "p/lib/b", "p/lib/deep", "p/lib/deep/c")
	w.write("p/lib/deep/c", "x")
	w.expect("p/lib/deep/c")
	w.rename("p/lib", "lib") // out of the tree
	w.expect("-p/lib")
	w.write("lib/deep/c", "y")
	w.nothing()
}

// What is put into a directory before it is watched is told all the same.
func TestNestedDirectoriesAreToldWithTheirFiles(t *testing.T) {
	w := watching(t, Options{}, nil, ".")
	var want []string
	for i := range 30 {
		p := fmt.Sprintf("n%d", i)
		want = append(want, p)
		w.mkdir(p + "/a/b/c")
		for _, d := range []string{"/a", "/a/b", "/a/b/c"} {
			p += d[len(d)-2:]
			w.write(p+"/f", "x")
			want = append(want, p, p+"/f")
		}
	}
	w.expect(want...)
	w.write("n7/a/b/c/f", "y")
	w.expect("n7/a/b/c/f")
}

func TestTenThousandFiles(t *testing.T) {
	w := watching(t, Options{}, nil, ".")
	const dirs, files = 100, 100
	for d := range dirs {
		w.mkdir(fmt.Sprintf("d%d/e", d))
		for f := range files {
			w.write(fmt.Sprintf("d%d/e/f%d", d, f), "x")
		}
	}
	// A directory stands for its files where there were too many at once.
	w.until("all files", func() bool {
		have := map[string]bool{}
		for _, p := range w.all() {
			have[p] = true
		}
		for d := range dirs {
			for f := range files {
				dir := fmt.Sprintf("d%d/e", d)
				if !have[dir] && !have[fmt.Sprintf("%s/f%d", dir, f)] {
					return false
				}
			}
		}
		return true
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range w.batches {
		require.LessOrEqual(t, len(b), domain.MaxPathChanges)
	}
}

func TestAFileIsWatchedAlone(t *testing.T) {
	w := watching(t, Options{}, sample, "p/a")
	w.write("p/a", "x")
	w.expect("p/a")
	w.write("p/.tmp", "y")
	w.rename("p/.tmp", "p/a")
	w.expect("p/a")
	w.write("p/b", "x")
	w.nothing()
	w.remove("p/a")
	w.expect("-p/a")
	w.write("p/a", "z")
	w.expect("p/a")
	w.remove("p") // and its directory
	w.expect("-p/a")
	w.mkdir("p")
	w.write("p/a", "z")
	w.expect("p/a")
	w.write("p/a", "zz")
	w.expect("p/a")
}

func TestATreeThatComesAndGoes(t *testing.T) {
	w := watching(t, Options{}, nil, "x/y/tree")
	w.mkdir("x/y/tree/d")
	w.write("x/y/tree/d/f", "x")
	w.expect("x/y/tree", "x/y/tree/d", "x/y/tree/d/f")
	w.rename("x", "z")
	w.expect("-x/y/tree")
	w.write("z/y/tree/d/f", "y")
	w.nothing()
	w.rename("z", "x")
	w.expect("x/y/tree", "x/y/tree/d", "x/y/tree/d/f")
	w.write("x/y/tree/d/f", "y")
	w.expect("x/y/tree/d/f")
	// Somebody has the directory open, as the server of shares does for the guest.
	f, err := os.Open(w.path("x/y/tree"))
	require.NoError(t, err)
	defer f.Close()
	w.remove("x/y/tree")
	w.expect("-x/y/tree", "-x/y/tree/d", "-x/y/tree/d/f")
	w.mkdir("x/y/tree")
	w.write("x/y/tree/n", "x")
	w.expect("x/y/tree", "x/y/tree/n")
}

func TestOtherTrees(t *testing.T) {
	w := watching(t, Options{}, sample, "p/src/deep", "other")
	w.set("p") // wider
	w.write("p/src/deep/c", "x")
	w.write("p/a", "x")
	w.write("other/o", "x")
	w.expect("p/a", "p/src/deep/c")
	w.set("p/src", "other") // narrower
	w.write("p/a", "x")
	w.write("p/src/b", "x")
	w.write("p/src/deep/c", "x")
	w.write("other/o", "x")
	w.expect("other/o", "p/src/b", "p/src/deep/c")
	w.set()
	w.write("p/src/b", "y")
	w.write("other/o", "x")
	w.nothing()
}

// A directory that has two paths, the second one through a link.
func TestATreeBehindALink(t *testing.T) {
	w := watching(t, Options{}, func(dir string) {
		sample(dir)
		if err := os.Symlink("p", filepath.Join(dir, "link")); err != nil {
			panic(err)
		}
	}, "p/src", "link/src")
	w.write("p/src/b", "x")
	w.expect("link/src/b", "p/src/b")
	w.set("link/src")
	w.write("p/src/deep/c", "x")
	w.expect("link/src/deep/c")
}

func TestTheLimitIsToldAndTheRestGoesOn(t *testing.T) {
	above := strings.Count(t.TempDir(), "/") // the directories on the way, with "/"
	w := watching(t, Options{Limit: above + 1 + 4 + 1}, func(dir string) {
		for i := range 4 {
			if err := os.MkdirAll(filepath.Join(dir, fmt.Sprintf("d%d/deep", i)), 0o755); err != nil {
				panic(err)
			}
		}
	}, ".")
	w.until("the limit", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.limits) == 1 })
	require.ErrorContains(t, w.limits[0], "not all of "+w.dir)
	require.ErrorContains(t, w.limits[0], "deep")
	require.ErrorIs(t, w.limits[0], domain.ErrUnavailable)
	require.Contains(t, domain.Hint(w.limits[0]), "vm.watch_limit")
	for i := range 4 {
		w.write(fmt.Sprintf("d%d/f", i), "x") // the shallow ones came first
	}
	w.expect("d0/f", "d1/f", "d2/f", "d3/f")
	w.set("d0")
	w.until("the end of the limit", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.limits) == 2 })
	require.NoError(t, w.limits[1])
	w.write("d0/deep/f", "x")
	w.expect("d0/deep/f")
}

// writes is a guest that wrote what has its name.
type writes string

func (g writes) Wrote(p string) bool { return strings.Contains(filepath.Base(p), string(g)) }

func TestTheGuestsOwnWritesAreNotTold(t *testing.T) {
	w := watching(t, Options{Guest: writes("guest")}, sample, "p")
	w.mkdir("p/guest/host/guest")
	w.write("p/guest/host/guest/f", "x")
	w.write("p/guest-file", "x")
	w.expect("p/guest/host", "p/guest/host/guest/f")
}

func TestWhatIsHiddenIsNotWatched(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "p/data/disk"), 0o755))
	w := watching(t, Options{Hidden: []string{filepath.Join(dir, "p/data")}}, nil)
	w.dir = dir
	w.set("p")
	w.write("p/data/disk/image", "x")
	w.write("p/data/log", "x")
	w.remove("p/data")
	w.mkdir("p/data/run")
	w.write("p/data/run/x", "x")
	w.mkdir("p/datax")
	w.expect("p/datax")
	w.nothing()
	w.set("p/data")
	w.write("p/data/x", "x")
	w.nothing()
}

func TestChangesAreCollectedWhileACallRuns(t *testing.T) {
	w := watching(t, Options{}, sample, "p")
	hold := make(chan struct{})
	w.mu.Lock()
	w.hold = hold
	w.mu.Unlock()
	w.write("p/a", "x")
	time.Sleep(2 * quiet)
	for i := range 50 {
		w.write("p/src/b", fmt.Sprint(i))
		w.write(fmt.Sprintf("p/tmp%d", i), "")
		w.remove(fmt.Sprintf("p/tmp%d", i))
	}
	time.Sleep(longest)
	w.mu.Lock()
	require.Empty(t, w.batches)
	w.hold = nil
	w.mu.Unlock()
	close(hold)
	w.until("both", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.batches) == 2 })
	require.Equal(t, []domain.PathChange{{Path: w.path("p/a")}}, w.batches[0])
	require.Equal(t, []domain.PathChange{{Path: w.path("p/src/b")}}, w.batches[1])
}

func TestASlowStreamOfChangesIsToldInTime(t *testing.T) {
	w := watching(t, Options{}, sample, "p")
	end := time.Now().Add(longest + 200*time.Millisecond)
	for time.Now().Before(end) {
		w.write("p/a", "x")
		time.Sleep(quiet / 4)
	}
	require.NotEmpty(t, w.all())
}

func TestCloseWhileMuchHappens(t *testing.T) {
	dir := t.TempDir()
	for i := range 50 {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, fmt.Sprint(i), "a", "b"), 0o755))
	}
	for range 20 {
		w, err := New(Options{Log: slog.New(slog.DiscardHandler)}).Open(func([]domain.PathChange) {}, func(error) {})
		require.NoError(t, err)
		w.SetTrees([]string{dir})
		var all sync.WaitGroup
		all.Go(func() {
			for i := range 50 {
				_ = os.WriteFile(filepath.Join(dir, fmt.Sprint(i), "f"), nil, 0o644)
			}
		})
		all.Go(func() { w.SetTrees(nil); w.SetTrees([]string{dir}) })
		require.NoError(t, w.Close())
		require.NoError(t, w.Close())
		all.Wait()
		w.SetTrees([]string{dir}) // is too late and does nothing
	}
}

// What differs between two states of a tree was told. What was told to be there
// may be gone by then, with a directory that was moved; what was told to be gone
// is.
func TestRandomChangesAreAllTold(t *testing.T) {
	w := watching(t, Options{}, sample, "p")
	before := state(t, w.path("p"))
	for round := range 30 {
		a, b := fmt.Sprintf("p/%d", round%7), fmt.Sprintf("p/%d", (round*5)%11)
		switch round % 5 {
		case 0, 1:
			w.mkdir(a + "/x/y")
			w.write(a+"/x/y/f", fmt.Sprint(round))
		case 2:
			w.remove(b)
		case 3:
			w.remove(b)
			_ = os.Rename(w.path(a), w.path(b))
		case 4:
			w.mkdir(b)
			w.write(b+"/g", fmt.Sprint(round))
		}
	}
	time.Sleep(2 * longest)
	w.mu.Lock()
	defer w.mu.Unlock()
	after := state(t, w.path("p"))
	said := map[string]bool{} // whether it is gone
	for _, b := range w.batches {
		for _, c := range b {
			rel := strings.TrimPrefix(c.Path, w.dir+"/")
			said[rel] = c.Removed
			for p := range said {
				if c.Removed && domain.Within("/"+p, "/"+rel) {
					said[p] = true
				}
			}
		}
	}
	for p := range after {
		rel := strings.TrimPrefix(p, w.dir+"/")
		if before[p] != after[p] {
			removed, ok := said[rel]
			require.True(t, ok && !removed, "%s", rel)
		}
	}
	for rel, removed := range said {
		_, there := after[w.path(rel)]
		require.False(t, there && removed, "%s", rel)
	}
}

func state(t *testing.T, dir string) map[string]string {
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			out[p] = "directory"
			return err
		}
		text, err := os.ReadFile(p)
		out[p] = "file " + string(text)
		return err
	}))
	return out
}
