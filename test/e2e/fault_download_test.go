package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// cutting serves an asset set and breaks off every large file at half, the
// first time that it is asked for.
type cutting struct {
	root string

	mu      sync.Mutex
	seen    map[string]bool
	resumed map[string]int64 // where the second request for a file went on
}

// largeFile is from where on breaking off is worth a test; bytes.
const largeFile = 1 << 20

func (c *cutting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, err := os.Open(filepath.Join(c.root, filepath.FromSlash(r.URL.Path)))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.IsDir() {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("ETag", fmt.Sprintf("%q", strconv.FormatInt(info.Size(), 16)))
	c.mu.Lock()
	first := !c.seen[r.URL.Path]
	c.seen[r.URL.Path] = true
	if from, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok {
		c.resumed[r.URL.Path], _ = strconv.ParseInt(strings.TrimSuffix(from, "-"), 10, 64)
	}
	c.mu.Unlock()
	if !first || info.Size() < largeFile {
		http.ServeContent(w, r, "", info.ModTime(), f)
		return
	}
	w.Header().Set("Content-Length", strconv.FormatInt(info.Size(), 10))
	_, _ = io.CopyN(w, f, info.Size()/2)
	panic(http.ErrAbortHandler) // closes the connection without an end
}

// TestACutDownloadGoesOnAndTheDataDiskFillsUp is faults on one machine: it is
// fetched over a connection that breaks, boots without its source on the first
// request that needs it, has its data disk filled, and must not idle under a
// client that is slow.
func TestACutDownloadGoesOnAndTheDataDiskFillsUp(t *testing.T) {
	d := own(t, "cut")
	source := &cutting{root: filepath.Join(filepath.Dir(d.bin), "build", "assets"), seen: map[string]bool{}, resumed: map[string]int64{}}
	server := httptest.NewServer(source)
	t.Cleanup(server.Close)
	d.extra = []string{"ARCBOX_ASSETS__SOURCE=" + server.URL, "ARCBOX_VM__DISK_GB=1", "ARCBOX_VM__IDLE_TIMEOUT=3s", "ARCBOX_VM__STOP_TIMEOUT=3s"}

	if !t.Run("a download that is cut at half goes on there", func(t *testing.T) {
		_, err := d.arcbox(t.Context(), "boot", "prefetch")
		require.NoError(t, err)
		source.mu.Lock()
		defer source.mu.Unlock()
		require.NotEmpty(t, source.resumed)
		for path := range source.seen {
			info, err := os.Stat(filepath.Join(source.root, path))
			require.NoError(t, err)
			if info.Size() >= largeFile {
				at := source.resumed[path]
				require.Positive(t, at, "%s was not fetched from its beginning again", path)
				require.LessOrEqual(t, at, info.Size()/2, path)
			}
		}
		left, err := filepath.Glob(filepath.Join(d.data, "boot", ".download", "*.part"))
		require.NoError(t, err)
		require.Empty(t, left)
	}) {
		return
	}
	server.Close()

	if !t.Run("it starts without the source, and boots for a request that needs it", func(t *testing.T) {
		require.NoError(t, d.start("--wait", "--boot", "on_demand"))
		require.Equal(t, "OK", get(t, d, "/_ping"))
		st, _, err := d.status()
		require.NoError(t, err)
		require.NotEqual(t, "running", st.State, "a ping does not need the machine")
		d.must(t, "ps")
		st, _, err = d.status()
		require.NoError(t, err)
		require.Equal(t, "running", st.State)
		d.load(t)
	}) {
		return
	}

	t.Run("a full data disk is an error, and can be emptied", func(t *testing.T) {
		d.must(t, "run", "-d", "--name", "filler", "-v", "filler:/v", demo, "sleep", "3600")
		_, err := d.docker(t.Context(), "exec", "filler", "dd", "if=/dev/zero", "of=/v/fill", "bs=1M", "count=2000")
		require.ErrorContains(t, err, "No space left on device")
		_, _ = d.docker(t.Context(), "exec", "filler", "dd", "if=/dev/zero", "of=/v/rest", "bs=4k")
		_, err = d.docker(t.Context(), "load", "-i", d.image("web"))
		require.ErrorContains(t, err, "no space left on device", "the client is told why")
		require.Contains(t, d.must(t, "ps", "--format", "{{.Names}}"), "filler", "the engine lives on")
		d.must(t, "exec", "filler", "rm", "/v/fill", "/v/rest")
		// Blocks are free once the journal has committed that they are.
		eventually(t, time.Minute, func() error {
			out, err := d.docker(t.Context(), "run", "--rm", demo, "echo", "room")
			if err == nil && out != "room\n" {
				err = errors.New(out)
			}
			return err
		})
		d.must(t, "load", "-i", d.image("web"))
	})

	t.Run("a slow request keeps the machine awake", func(t *testing.T) {
		d.must(t, "rm", "-f", "filler")
		conn, err := net.Dial("unix", d.socket())
		require.NoError(t, err)
		defer conn.Close()
		_, err = io.WriteString(conn, "POST /images/load HTTP/1.1\r\nHost: docker\r\nTransfer-Encoding: chunked\r\n\r\n")
		require.NoError(t, err)
		for began := time.Now(); time.Since(began) < 10*time.Second; time.Sleep(time.Second) {
			st, _, err := d.status()
			require.NoError(t, err)
			require.Equal(t, "running", st.State)
		}
		require.NoError(t, conn.Close())
		eventually(t, time.Minute, func() error {
			st, _, err := d.status()
			if err == nil && st.State != "stopped" {
				err = fmt.Errorf("the client is gone, and the machine is %s", st.State)
			}
			return err
		})
	})
}
