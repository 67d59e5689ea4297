package assets_test

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"arcbox/adapters/assets"
	"arcbox/application/port"
	"arcbox/domain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newSource(t *testing.T, address string) port.AssetSource {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	s, err := assets.NewSource(address, assets.SourceOptions{
		Client: client, RetryDelay: time.Millisecond, StallTimeout: 300 * time.Millisecond, TempDir: t.TempDir(), Log: quiet(),
	})
	require.NoError(t, err)
	if c, ok := s.(io.Closer); ok {
		t.Cleanup(func() { require.NoError(t, c.Close()) })
	}
	return s
}

func TestNewSourceRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "assets.zip")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, address := range []string{
		"", "relative/dir", "ftp://host/x", "http://example.com/x", "https:///x", "https://host/x?sig=1", "https://host/x#y",
		"file://host/x", "file:relative", "https://host/{version}", file, "file://" + file, "://", "https://user:secret@host/x?y=1",
	} {
		_, err := assets.NewSource(address, assets.SourceOptions{})
		require.ErrorIs(t, err, domain.ErrInvalid, address)
		require.NotContains(t, err.Error(), "secret")
	}
	s, err := assets.NewSource("https://user:secret@host/asset/v{version}/manifest.json", assets.SourceOptions{Version: "1.2.3+k3s1"})
	require.NoError(t, err)
	require.Equal(t, "https://user:xxxxx@host/asset/v1.2.3-k3s1/", s.Describe())
}

// fetch reads a whole answer.
func fetch(t *testing.T, s port.AssetSource, path string, offset int64, validator string) (data string, at, size int64, tag string) {
	t.Helper()
	body, at, size, tag, err := s.Fetch(t.Context(), path, offset, validator)
	require.NoError(t, err)
	defer body.Close()
	got, err := io.ReadAll(body)
	require.NoError(t, err)
	return string(got), at, size, tag
}

func tarball(t *testing.T, prefix string, files map[string]string) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: prefix + "bin/", Mode: 0o755}))
	require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: prefix + "bin/link", Linkname: "/etc/passwd"}))
	for name, data := range files {
		require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: prefix + name, Mode: 0o644, Size: int64(len(data))}))
		_, err := io.WriteString(w, data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return buf.Bytes()
}

func compressed(t *testing.T, data []byte) []byte {
	var buf bytes.Buffer
	w, err := zstd.NewWriter(&buf)
	require.NoError(t, err)
	_, err = w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return buf.Bytes()
}

// Every kind of source keeps the port's promises in the same way.
func TestSourcesAlike(t *testing.T) {
	long := strings.Repeat("long name/", 12) + "file" // needs a second header in a tar
	files := map[string]string{"manifest.json": "{}", "bin/docker d": "0123456789", "empty": "", long: "deep"}
	dir := t.TempDir()
	for name, data := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600))
	}
	store := t.TempDir()
	put := func(name string, data []byte) string {
		p := filepath.Join(store, name)
		require.NoError(t, os.WriteFile(p, data, 0o600))
		return p
	}
	srv := httptest.NewServer(http.StripPrefix("/set", http.FileServerFS(os.DirFS(dir))))
	t.Cleanup(srv.Close)
	for name, address := range map[string]string{
		"directory":        "file://" + dir,
		"manifest's path":  dir + "/manifest.json",
		"tar":              "file://" + put("a.tar", tarball(t, "", files)),
		"tar in directory": put("b.tar", tarball(t, "./arcbox-1.0/", files)),
		"zstd":             put("c.tar.zst", compressed(t, tarball(t, "", files))),
		"tzst":             put("d.tzst", compressed(t, tarball(t, "x/", files))),
		"server":           srv.URL + "/set",
	} {
		t.Run(name, func(t *testing.T) {
			s := newSource(t, address)
			data, at, size, tag := fetch(t, s, "bin/docker%20d", 0, "")
			require.Equal(t, "0123456789", data)
			require.Zero(t, at)
			require.EqualValues(t, 10, size)
			require.NotEmpty(t, tag)

			data, at, size, again := fetch(t, s, "bin/docker%20d", 4, tag)
			require.Equal(t, "456789", data)
			require.EqualValues(t, 4, at)
			require.EqualValues(t, 10, size)
			require.Equal(t, tag, again)

			data, at, _, _ = fetch(t, s, "bin/docker%20d", 4, "")
			require.Equal(t, "0123456789", data, "without a validator from the start")
			require.Zero(t, at)
			data, at, _, _ = fetch(t, s, "bin/docker%20d", 11, tag)
			require.Equal(t, "0123456789", data, "beyond the end from the start")
			require.Zero(t, at)

			data, _, size, _ = fetch(t, s, "empty", 0, "")
			require.Empty(t, data)
			require.Zero(t, size)
			data, _, _, _ = fetch(t, s, strings.ReplaceAll(long, " ", "%20"), 0, "")
			require.Equal(t, "deep", data)

			for path, kind := range map[string]error{
				"nothing": domain.ErrNotFound, "bin/link": domain.ErrNotFound, "../x": domain.ErrInvalid, "a/%2e%2e/b": domain.ErrInvalid, "": domain.ErrInvalid,
			} {
				_, _, _, _, err := s.Fetch(t.Context(), path, 0, "")
				require.ErrorIs(t, err, kind, path)
			}
			if name != "server" {
				_, _, _, _, err := s.Fetch(t.Context(), "/latest.json", 0, "")
				require.ErrorIs(t, err, domain.ErrUnsupported)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if strings.HasPrefix(name, "server") || strings.HasPrefix(name, "dir") {
				_, _, _, _, err := s.Fetch(ctx, "empty", 0, "")
				require.ErrorIs(t, err, context.Canceled)
			}
		})
	}
}

func TestDirectoryChanged(t *testing.T) {
	dir := t.TempDir()
	p := filepath.Join(dir, "kernel")
	require.NoError(t, os.WriteFile(p, []byte("old content"), 0o600))
	s := newSource(t, dir)
	_, _, _, tag := fetch(t, s, "kernel", 0, "")
	require.NoError(t, os.WriteFile(p, []byte("new content"), 0o600))
	require.NoError(t, os.Chtimes(p, time.Time{}, time.Now().Add(time.Second)))
	data, at, _, now := fetch(t, s, "kernel", 4, tag)
	require.Equal(t, "new content", data)
	require.Zero(t, at)
	require.NotEqual(t, tag, now)

	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	for _, path := range []string{"pipe"} {
		_, _, _, _, err := s.Fetch(t.Context(), path, 0, "")
		require.ErrorIs(t, err, domain.ErrInvalid, "a pipe is not waited for")
	}
}

func TestBundleReplaced(t *testing.T) {
	p := filepath.Join(t.TempDir(), "b.tar.zst")
	require.NoError(t, os.WriteFile(p, compressed(t, tarball(t, "", map[string]string{"manifest.json": "1"})), 0o600))
	s := newSource(t, p)
	data, _, _, _ := fetch(t, s, "manifest.json", 0, "")
	require.Equal(t, "1", data)
	require.NoError(t, os.WriteFile(p, compressed(t, tarball(t, "", map[string]string{"manifest.json": "22"})), 0o600))
	data, _, _, _ = fetch(t, s, "manifest.json", 0, "")
	require.Equal(t, "22", data)
}

func TestBundleRefuses(t *testing.T) {
	good := tarball(t, "", map[string]string{"manifest.json": "{}", "kernel": strings.Repeat("k", 1<<16)})
	dir := t.TempDir()
	for name, c := range map[string]struct {
		data []byte
		kind error
	}{
		"no-manifest.tar": {tarball(t, "", map[string]string{"kernel": "k"}), domain.ErrInvalid},
		"leads-out.tar":   {tarball(t, "../", map[string]string{"manifest.json": "{}"}), domain.ErrInvalid},
		"cut-off.tar":     {good[:len(good)/2], domain.ErrCorrupt},
		"garbage.tar":     {bytes.Repeat([]byte("garbage "), 1000), domain.ErrCorrupt},
		"no-zstd.tar.zst": {good, domain.ErrCorrupt},
		"cut-off.tar.zst": {compressed(t, good)[:60], domain.ErrCorrupt},
		"empty.tar":       {nil, domain.ErrInvalid},
		"damaged.tar.zst": {append(compressed(t, good)[:80], 1, 2, 3), domain.ErrCorrupt},
	} {
		p := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(p, c.data, 0o600))
		s := newSource(t, p)
		_, _, _, _, err := s.Fetch(t.Context(), "manifest.json", 0, "")
		require.ErrorIs(t, err, c.kind, name)
		require.ErrorContains(t, err, name)
	}
	s := newSource(t, filepath.Join(dir, "missing.tar"))
	_, _, _, _, err := s.Fetch(t.Context(), "manifest.json", 0, "")
	require.ErrorIs(t, err, domain.ErrNotFound)
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "arcbox-bundle-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}
