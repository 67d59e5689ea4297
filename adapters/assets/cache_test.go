package assets_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/adapters/assets"
	"arcbox/domain"
)

func newCache(dir string) *assets.Cache {
	return assets.NewCache(dir, quiet(), assets.WithRetryDelay(time.Millisecond))
}

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

func random(t *testing.T, n int) []byte {
	b := make([]byte, n)
	_, err := rand.Read(b)
	require.NoError(t, err)
	return b
}

func kernel(data []byte) domain.Asset {
	return domain.Asset{Kind: domain.AssetKernel, Name: "kernel", Path: "arch/kernel", SHA256: sum(data)}
}

// server gives one file, and counts what it was asked for.
type server struct {
	mu     sync.Mutex
	data   []byte
	tag    string
	cutAt  []int // one transfer after the other breaks off after so many bytes
	status []int // one request after the other is answered so
	ranges []string
	sent   int
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ranges = append(s.ranges, r.Header.Get("Range"))
	if len(s.status) > 0 {
		status := s.status[0]
		s.status = s.status[1:]
		w.WriteHeader(status)
		return
	}
	w.Header().Set("ETag", s.tag)
	if len(s.cutAt) == 0 {
		s.sent++
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.data))
		return
	}
	cut := s.cutAt[0]
	s.cutAt = s.cutAt[1:]
	from := 0
	if spec := r.Header.Get("Range"); spec != "" && r.Header.Get("If-Range") == s.tag {
		fmt.Sscanf(spec, "bytes=%d-", &from)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(s.data)-1, len(s.data)))
		w.Header().Set("Content-Length", strconv.Itoa(len(s.data)-from))
		w.WriteHeader(http.StatusPartialContent)
	} else {
		w.Header().Set("Content-Length", strconv.Itoa(len(s.data)))
	}
	w.Write(s.data[from : from+cut])
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

// whole is how many transfers did not break off; the handler may still run
// when the client has got everything.
func (s *server) whole() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

func (s *server) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ranges
}

func (s *server) set(data []byte, tag string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data, s.tag = data, tag
}

func phases(list *[]domain.AssetPhase) func(domain.AssetProgress) {
	return func(p domain.AssetProgress) {
		if n := len(*list); n == 0 || (*list)[n-1] != p.Phase {
			*list = append(*list, p.Phase)
		}
	}
}

func noParts(t *testing.T, dir string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(dir, "boot/.download/*.*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestEnsureDownloadsOnce(t *testing.T) {
	dir, data := t.TempDir(), random(t, 1<<20)
	s := &server{data: data, tag: `"1"`, status: []int{503, 503}}
	src := newSource(t, serve(t, s.ServeHTTP))
	c := newCache(dir)
	var seen []domain.AssetPhase
	path, err := c.Ensure(t.Context(), "1.0.0", kernel(data), src, phases(&seen))
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "boot/1.0.0/kernel"), path)
	require.Equal(t, []domain.AssetPhase{domain.AssetChecking, domain.AssetDownloading, domain.AssetVerifying, domain.AssetReady}, seen)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, got))
	noParts(t, dir)

	seen = nil
	_, err = newCache(dir).Ensure(t.Context(), "1.0.0", kernel(data), src, phases(&seen))
	require.NoError(t, err)
	require.Equal(t, []domain.AssetPhase{domain.AssetChecking, domain.AssetCached}, seen, "not even read again")
	require.Equal(t, 1, s.whole())
}

func TestEnsureProgressCountsBytes(t *testing.T) {
	data := random(t, 1<<20)
	s := &server{data: data, tag: `"1"`}
	var last domain.AssetProgress
	_, err := newCache(t.TempDir()).Ensure(t.Context(), "1.0.0", kernel(data), newSource(t, serve(t, s.ServeHTTP)), func(p domain.AssetProgress) {
		if p.Phase == domain.AssetDownloading {
			require.Greater(t, p.Done, last.Done)
			last = p
		}
	})
	require.NoError(t, err)
	require.Equal(t, domain.AssetProgress{Phase: domain.AssetDownloading, Name: "kernel", Done: 1 << 20, TotalSize: 1 << 20}, last)
}

func TestEnsureInstallsBinaries(t *testing.T) {
	dir, data := t.TempDir(), []byte("binary")
	s := &server{data: data, tag: `"1"`}
	src := newSource(t, serve(t, s.ServeHTTP))
	c := newCache(dir)
	for _, a := range []struct {
		asset domain.Asset
		path  string
	}{
		{domain.Asset{Name: "dockerd"}, "runtime/bin/dockerd"},
		{domain.Asset{Name: "arcbox-agent", InstallDir: "bin"}, "bin/arcbox-agent"},
		{domain.Asset{Name: "vmlinux", InstallDir: "runtime/kernel"}, "runtime/kernel/vmlinux"},
	} {
		a.asset.Kind, a.asset.Path, a.asset.SHA256 = domain.AssetBinary, "x", sum(data)
		path, err := c.Ensure(t.Context(), "1.0.0", a.asset, src, nil)
		require.NoError(t, err)
		require.Equal(t, filepath.Join(dir, a.path), path)
		fi, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o755), fi.Mode())

		require.NoError(t, os.Chmod(path, 0o644))
		_, err = c.Ensure(t.Context(), "1.0.0", a.asset, src, nil)
		require.NoError(t, err)
		_, facts, err := c.Inspect(t.Context(), "", a.asset)
		require.NoError(t, err)
		require.Equal(t, domain.FileFacts{Exists: true, Regular: true, Executable: true, Size: 6}, facts, "mended")
	}
	for _, bad := range []domain.Asset{
		{Kind: domain.AssetBinary, Name: "../x"}, {Kind: domain.AssetBinary, Name: "x", InstallDir: "../y"},
		{Kind: domain.AssetBinary, Name: "x", InstallDir: "/y"}, {Kind: "other", Name: "x"},
	} {
		bad.SHA256 = sum(data)
		_, err := c.Ensure(t.Context(), "1.0.0", bad, src, nil)
		require.ErrorIs(t, err, domain.ErrInvalid)
	}
	_, err := c.Ensure(t.Context(), "../1", kernel(data), src, nil)
	require.ErrorIs(t, err, domain.ErrInvalid)
	_, err = c.Ensure(t.Context(), "1", domain.Asset{Kind: domain.AssetKernel, SHA256: "x"}, src, nil)
	require.ErrorIs(t, err, domain.ErrInvalid)
}

func TestEnsureResumes(t *testing.T) {
	data := random(t, 1<<20)
	s := &server{data: data, tag: `"1"`, cutAt: []int{1 << 19, 1000}}
	path, err := newCache(t.TempDir()).Ensure(t.Context(), "1.0.0", kernel(data), newSource(t, serve(t, s.ServeHTTP)), nil)
	require.NoError(t, err)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, got))
	require.Equal(t, []string{"", "bytes=524288-", "bytes=525288-"}, s.asked())
}

func TestEnsureStartsAnewWhenTheFileChanged(t *testing.T) {
	old, data := random(t, 1<<20), random(t, 1<<20)
	s := &server{data: old, tag: `"1"`, cutAt: []int{1 << 19}}
	handler := func(w http.ResponseWriter, r *http.Request) {
		defer s.set(data, `"2"`)
		s.ServeHTTP(w, r)
	}
	path, err := newCache(t.TempDir()).Ensure(t.Context(), "1.0.0", kernel(data), newSource(t, serve(t, handler)), nil)
	require.NoError(t, err)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, got))
	require.Equal(t, []string{"", "bytes=524288-"}, s.asked())
}

func TestEnsureRefusesWrongContent(t *testing.T) {
	dir, data, other := t.TempDir(), random(t, 1000), random(t, 1000)
	s := &server{data: other, tag: `"1"`}
	src := newSource(t, serve(t, s.ServeHTTP))
	c := newCache(dir)
	_, err := c.Ensure(t.Context(), "1.0.0", kernel(data), src, nil)
	require.ErrorIs(t, err, domain.ErrChecksum)
	require.ErrorIs(t, err, domain.ErrCorrupt)
	require.ErrorContains(t, err, "expected sha256 "+sum(data))
	require.ErrorContains(t, err, "actual "+sum(other))
	require.ErrorContains(t, err, src.Describe())
	require.NoFileExists(t, filepath.Join(dir, "boot/1.0.0/kernel"))
	noParts(t, dir)
	require.Equal(t, 1, s.whole(), "the same again would not help")
}

func TestEnsureGivesUpOnABadLine(t *testing.T) {
	dir, data := t.TempDir(), random(t, 1000)
	s := &server{data: data, tag: `"1"`, cutAt: make([]int, 100)}
	url := serve(t, s.ServeHTTP)
	_, err := newCache(dir).Ensure(t.Context(), "1.0.0", kernel(data), newSource(t, url), nil)
	require.ErrorIs(t, err, domain.ErrUnavailable)
	require.ErrorContains(t, err, "broke off 5 times")
	s.mu.Lock()
	s.cutAt = nil
	s.mu.Unlock()
	_, err = newCache(dir).Ensure(t.Context(), "1.0.0", kernel(data), newSource(t, url), nil)
	require.NoError(t, err)
}

// A part that another process left is gone on with when it fits, and never
// believed.
func TestEnsureAndStaleParts(t *testing.T) {
	data := random(t, 100_000)
	for name, c := range map[string]struct {
		part   []byte
		info   func(source string) string
		ranges []string
	}{
		"good half": {data[:5000], func(s string) string { return `{"source":"` + s + `","path":"arch/kernel","validator":"\"1\""}` }, []string{"bytes=5000-"}},
		"complete":  {data, func(s string) string { return `{"source":"` + s + `","path":"arch/kernel","validator":"\"1\""}` }, nil},
		"garbage under a good tag": {bytes.Repeat([]byte("x"), 5000), func(s string) string {
			return `{"source":"` + s + `","path":"arch/kernel","validator":"\"1\""}`
		}, []string{"bytes=5000-", ""}},
		"longer than the file": {append(bytes.Clone(data), 1, 2, 3), func(s string) string {
			return `{"source":"` + s + `","path":"arch/kernel","validator":"\"1\""}`
		}, []string{"bytes=100003-", ""}},
		"of another version": {data[:5000], func(s string) string { return `{"source":"` + s + `","path":"arch/kernel","validator":"\"0\""}` }, []string{"bytes=5000-"}},
		"without a tag":      {data[:5000], func(s string) string { return `{"source":"` + s + `","path":"arch/kernel"}` }, []string{""}},
		"from elsewhere":     {data[:5000], func(string) string { return `{"source":"x","path":"arch/kernel","validator":"\"1\""}` }, []string{""}},
		"with broken record": {data[:5000], func(string) string { return `{` }, []string{""}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := &server{data: data, tag: `"1"`}
			src := newSource(t, serve(t, s.ServeHTTP))
			base := filepath.Join(dir, "boot/.download", sum(data))
			require.NoError(t, os.MkdirAll(filepath.Dir(base), 0o755))
			require.NoError(t, os.WriteFile(base+".part", c.part, 0o600))
			require.NoError(t, os.WriteFile(base+".json", []byte(c.info(src.Describe())), 0o600))
			path, err := newCache(dir).Ensure(t.Context(), "1.0.0", kernel(data), src, nil)
			require.NoError(t, err)
			got, err := os.ReadFile(path)
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, got))
			require.Equal(t, c.ranges, s.asked())
			noParts(t, dir)
		})
	}
}

func TestEnsureReplacesWhatDiffers(t *testing.T) {
	dir, data := t.TempDir(), []byte("good")
	path := filepath.Join(dir, "boot/1.0.0/kernel")
	s := &server{data: data, tag: `"1"`}
	src := newSource(t, serve(t, s.ServeHTTP))
	c := newCache(dir)
	for name, prepare := range map[string]func(){
		"other content":   func() { require.NoError(t, os.WriteFile(path, []byte("evil"), 0o644)) },
		"a link":          func() { require.NoError(t, os.Symlink("/etc/passwd", path)) },
		"a dangling link": func() { require.NoError(t, os.Symlink("/nowhere", path)) },
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.RemoveAll(path))
		prepare()
		_, err := c.Ensure(t.Context(), "1.0.0", kernel(data), src, nil)
		require.NoError(t, err, name)
		fi, err := os.Lstat(path)
		require.NoError(t, err)
		require.True(t, fi.Mode().IsRegular(), name)
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, "good", string(got), name)
	}
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.Mkdir(path, 0o755))
	_, err := c.Ensure(t.Context(), "1.0.0", kernel(data), src, nil)
	require.ErrorIs(t, err, domain.ErrInvalidState)
	require.NotEmpty(t, domain.Hint(err))
	require.DirExists(t, path)
}

func TestEnsureTakesWhatIsThere(t *testing.T) {
	dir, data := t.TempDir(), []byte("seeded by somebody")
	path := filepath.Join(dir, "boot/1.0.0/kernel")
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, data, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "boot/.verified.json"), []byte("null"), 0o600))
	src := newSource(t, filepath.Join(dir, "empty"))
	var seen []domain.AssetPhase
	_, err := newCache(dir).Ensure(t.Context(), "1.0.0", kernel(data), src, phases(&seen))
	require.NoError(t, err, "no source is needed")
	require.Equal(t, []domain.AssetPhase{domain.AssetChecking, domain.AssetVerifying, domain.AssetCached}, seen)

	require.NoError(t, os.WriteFile(path, []byte("seeded by nobody!!"), 0o600))
	_, err = newCache(dir).Ensure(t.Context(), "1.0.0", kernel(data), src, nil)
	require.ErrorIs(t, err, domain.ErrNotFound, "a change is noticed, and then a source is needed")
}

func TestEnsureEndsWithItsContext(t *testing.T) {
	dir, data := t.TempDir(), random(t, 1<<20)
	started := make(chan struct{})
	var once sync.Once
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		w.Write(data[:1000])
		w.(http.Flusher).Flush()
		once.Do(func() { close(started) })
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped by a test")
	go func() {
		<-started
		cancel(stopped)
	}()
	_, err := newCache(dir).Ensure(ctx, "1.0.0", kernel(data), newSource(t, url), nil)
	require.ErrorIs(t, err, stopped)
	require.NoFileExists(t, filepath.Join(dir, "boot/1.0.0/kernel"))

	_, err = newCache(dir).Ensure(ctx, "1.0.0", kernel(data), newSource(t, url), nil)
	require.ErrorIs(t, err, stopped)
}

func TestEnsureRefusesHugeFiles(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "99999999999999") })
	_, err := newCache(t.TempDir()).Ensure(t.Context(), "1.0.0", kernel(nil), newSource(t, url), nil)
	require.ErrorIs(t, err, domain.ErrInvalid)
	require.ErrorContains(t, err, "more than")
}

func TestEnsureByManyAtOnce(t *testing.T) {
	dir, data := t.TempDir(), random(t, 1<<20)
	var n atomic.Int32
	s := &server{data: data, tag: `"1"`}
	url := serve(t, func(w http.ResponseWriter, r *http.Request) { n.Add(1); s.ServeHTTP(w, r) })
	errs := make(chan error)
	for range 6 {
		src := newSource(t, url)
		go func() {
			_, err := newCache(dir).Ensure(t.Context(), "1.0.0", kernel(data), src, nil)
			errs <- err
		}()
	}
	for range 6 {
		require.NoError(t, <-errs)
	}
	require.EqualValues(t, 1, n.Load(), "one fetches, the others wait")
}
