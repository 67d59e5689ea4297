package assets_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

// TestHelperProcess is not a test but the other process of those below.
func TestHelperProcess(t *testing.T) {
	dir, url, pin := os.Getenv("ASSETS_TEST_DIR"), os.Getenv("ASSETS_TEST_URL"), os.Getenv("ASSETS_TEST_SHA")
	if dir == "" {
		t.Skip("started by other tests")
	}
	a := domain.Asset{Kind: domain.AssetKernel, Name: "kernel", Path: "arch/kernel", SHA256: pin}
	_, err := newCache(dir).Ensure(t.Context(), "1.0.0", a, newSource(t, url), nil)
	require.NoError(t, err)
}

func startHelper(t *testing.T, dir, url, pin string) (*exec.Cmd, *strings.Builder) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHelperProcess$")
	cmd.Env = append(os.Environ(), "ASSETS_TEST_DIR="+dir, "ASSETS_TEST_URL="+url, "ASSETS_TEST_SHA="+pin)
	out := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = out, out
	require.NoError(t, cmd.Start())
	return cmd, out
}

func TestTwoProcessesFetchOnce(t *testing.T) {
	dir, data := t.TempDir(), random(t, 4<<20)
	s := &server{data: data, tag: `"1"`}
	url := serve(t, s.ServeHTTP)
	a, outA := startHelper(t, dir, url, sum(data))
	b, outB := startHelper(t, dir, url, sum(data))
	require.NoError(t, a.Wait(), outA)
	require.NoError(t, b.Wait(), outB)
	got, err := os.ReadFile(filepath.Join(dir, "boot/1.0.0/kernel"))
	require.NoError(t, err)
	require.Equal(t, sum(data), sum(got))
	require.Equal(t, 1, s.whole())
	noParts(t, dir)
}

func TestKilledProcessIsGoneOnWith(t *testing.T) {
	dir, data := t.TempDir(), random(t, 1<<20)
	half := make(chan struct{})
	var once sync.Once
	var ranges []string
	var mu sync.Mutex
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		ranges = append(ranges, r.Header.Get("Range"))
		first := len(ranges) == 1
		mu.Unlock()
		w.Header().Set("ETag", `"1"`)
		if first {
			w.Header().Set("Content-Length", strconv.Itoa(len(data)))
			w.Write(data[:1<<19])
			w.(http.Flusher).Flush()
			once.Do(func() { close(half) })
			<-r.Context().Done()
			return
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(data)))
	})
	cmd, _ := startHelper(t, dir, url, sum(data))
	<-half
	part := filepath.Join(dir, "boot/.download", sum(data)+".part")
	require.Eventually(t, func() bool {
		fi, err := os.Stat(part)
		return err == nil && fi.Size() == 1<<19
	}, 10*time.Second, 5*time.Millisecond)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())

	_, err := newCache(dir).Ensure(t.Context(), "1.0.0", kernel(data), newSource(t, url), nil)
	require.NoError(t, err)
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, []string{"", "bytes=524288-"}, ranges)
	noParts(t, dir)
}
