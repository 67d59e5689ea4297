package hostwatch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"arcbox/domain"
)

// lossy is inotify whose queue is overrun, or whose watches run out, when the
// test says so.
type lossy struct {
	*inotify
	mu    sync.Mutex
	deaf  bool // what is read is lost
	full  int  // so many watches are given; negative is no limit
	fail  error
	clean time.Time
}

func (l *lossy) add(path string, mask uint32, follow bool) (int32, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.full == 0 {
		return 0, unix.ENOSPC
	}
	wd, err := l.inotify.add(path, mask, follow)
	if err == nil && l.full > 0 {
		l.full--
	}
	return wd, err
}

func (l *lossy) read() ([]event, time.Time, error) {
	for {
		events, clean, err := l.inotify.read()
		l.mu.Lock()
		deaf, fail := l.deaf, l.fail
		if deaf {
			clean = l.clean
		}
		l.mu.Unlock()
		switch {
		case err != nil || fail == nil && !deaf:
			return events, clean, err
		case fail != nil:
			return nil, clean, fail
		}
		for _, e := range events {
			if e.name == "the end" {
				l.mu.Lock()
				l.deaf = false
				l.mu.Unlock()
				return []event{{wd: -1, mask: unix.IN_Q_OVERFLOW}}, clean, nil
			}
		}
	}
}

func onLossy(t *testing.T, full int, make func(dir string)) (*told, *lossy) {
	t.Helper()
	k, err := newInotify()
	require.NoError(t, err)
	l := &lossy{inotify: k, full: full}
	w := &told{t: t, news: newSignal()}
	w.dir, err = filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	make(w.dir)
	w.watch = open(Options{Limit: DefaultLimit, Log: slog.New(slog.DiscardHandler)}, l, w.changed, w.limited)
	t.Cleanup(func() { require.NoError(t, w.watch.Close()) })
	if full < 0 {
		w.probe = filepath.Join(t.TempDir(), "1/2/3/4/5/6")
		require.NoError(t, os.MkdirAll(w.probe, 0o755))
	}
	w.set("p")
	return w, l
}

func TestLostEventsAreMadeUpFor(t *testing.T) {
	w, l := onLossy(t, -1, func(dir string) {
		sample(dir)
		for _, d := range []string{"p/going/x", "other/in"} {
			if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
				panic(err)
			}
		}
	})
	// Nothing may be taken for news: times of status cannot be set back.
	time.Sleep(slack + 300*time.Millisecond)
	l.mu.Lock()
	l.deaf, l.clean = true, time.Now()
	l.mu.Unlock()
	w.write("p/src/deep/c", "x")
	w.write("p/new", "x")
	w.mkdir("p/fresh/er")
	w.write("p/fresh/er/f", "x")
	w.remove("p/going")
	w.rename("other", "p/other") // what it holds is old
	w.write("p/the end", "")
	w.expect("p", "p/src/deep/c", "p/new", "p/fresh", "p/fresh/er", "p/fresh/er/f", "-p/going", "p/other", "p/other/o", "p/other/in", "p/the end")
	w.write("p/other/in/f", "x")
	w.write("p/fresh/er/f", "y")
	w.mkdir("p/going")
	w.write("p/going/f", "y")
	w.expect("p/other/in/f", "p/fresh/er/f", "p/going", "p/going/f")
}

func TestTheKernelHasNoMoreWatches(t *testing.T) {
	above := bytes.Count([]byte(t.TempDir()), []byte("/"))
	w, l := onLossy(t, above+2, sample)
	w.until("the limit", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.limits) == 1 })
	require.ErrorContains(t, w.limits[0], fmt.Sprintf("not all of %s is watched for changes, from %s on", w.path("p"), w.path("p/src")))
	require.Contains(t, domain.Hint(w.limits[0]), "fs.inotify.max_user_watches")
	w.write("p/a", "x")
	w.expect("p/a")
	l.mu.Lock()
	l.full = -1
	l.mu.Unlock()
	w.set("p") // as with the next container
	w.until("the end of the limit", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.limits) == 2 })
	require.NoError(t, w.limits[1])
	w.write("p/src/deep/c", "x")
	w.expect("p/src/deep/c")
}

func TestAKernelThatFailsIsTold(t *testing.T) {
	w, l := onLossy(t, -1, sample)
	l.mu.Lock()
	l.fail = errors.New("broken")
	l.mu.Unlock()
	w.write("p/a", "x")
	w.until("the failure", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.limits) == 1 })
	require.ErrorContains(t, w.limits[0], "broken")
}

// FuzzParse checks that nothing that is read makes events out of nothing.
func FuzzParse(f *testing.F) {
	one := func(wd int32, mask uint32, name string) []byte {
		p := binary.NativeEndian.AppendUint32(nil, uint32(wd))
		p = binary.NativeEndian.AppendUint32(p, mask)
		p = binary.NativeEndian.AppendUint32(p, 0)
		p = binary.NativeEndian.AppendUint32(p, uint32(len(name)))
		return append(p, name...)
	}
	p := append(one(1, unix.IN_CREATE, "a\x00\x00\x00"), one(-1, unix.IN_Q_OVERFLOW, "")...)
	require.Equal(f, []event{{1, unix.IN_CREATE, "a"}, {-1, unix.IN_Q_OVERFLOW, ""}}, parse(p))
	f.Add(p)
	f.Add(one(2, unix.IN_DELETE, "b\x00")[:17])
	f.Fuzz(func(t *testing.T, p []byte) {
		n := 0
		for _, e := range parse(p) {
			n += unix.SizeofInotifyEvent + len(e.name)
			require.NotContains(t, e.name, "\x00")
		}
		require.LessOrEqual(t, n, len(p))
	})
}
