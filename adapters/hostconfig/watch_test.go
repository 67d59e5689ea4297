package hostconfig

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

// watching runs Watch until the test ends; the channel has a value per call of
// changed.
func watching(t *testing.T, s *Source) <-chan struct{} {
	t.Helper()
	calls := make(chan struct{}, 16)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Watch(ctx, func() { calls <- struct{}{} }) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return calls
}

func called(t *testing.T, calls <-chan struct{}, why string) {
	t.Helper()
	select {
	case <-calls:
	case <-time.After(10 * time.Second):
		t.Fatal("no change was seen: " + why)
	}
}

func replace(t *testing.T, path string, data []byte) {
	t.Helper()
	write(t, path+".new", data)
	require.NoError(t, os.Rename(path+".new", path))
}

func TestChangesOfTheHostAreSeen(t *testing.T) {
	dir := t.TempDir()
	a, b, c := certificate(t, "a"), certificate(t, "bb"), certificate(t, "ccc")
	h := host{environment: dir + "/etc/environment", localtime: dir + "/etc/localtime", certFiles: []string{dir + "/etc/ssl/ca.crt"}}
	write(t, h.environment, []byte("PATH=/bin\n"))
	write(t, dir+"/zoneinfo/Berlin", zone(1, "BER"))
	write(t, dir+"/zoneinfo/Tokyo", zone(9, "TOK"))
	require.NoError(t, os.Symlink("../zoneinfo/Berlin", h.localtime))
	// A bundle that is a link to another directory, through a directory that is one.
	extracted := write(t, dir+"/extracted/tls-ca.pem", a.pem)
	require.NoError(t, os.MkdirAll(dir+"/pki", 0o755))
	require.NoError(t, os.Symlink("../pki", dir+"/etc/ssl"))
	require.NoError(t, os.Symlink("../extracted/tls-ca.pem", dir+"/pki/ca.crt"))

	s, log := source(t, Options{}, h)
	require.Equal(t, string(a.pem), string(config(t, s).Certificates))
	replace(t, h.environment, []byte("HTTP_PROXY=early:1\n"))
	calls := watching(t, s)
	called(t, calls, "a change between GuestConfig and Watch")
	require.Equal(t, "early:1", config(t, s).Proxy.HTTP)

	replace(t, extracted, b.pem)
	called(t, calls, "the bundle where the link leads")
	require.Equal(t, string(b.pem), string(config(t, s).Certificates))

	replace(t, dir+"/pki/ca.crt", c.pem)
	called(t, calls, "the link itself")
	require.Equal(t, string(c.pem), string(config(t, s).Certificates))

	require.NoError(t, os.Symlink("../zoneinfo/Tokyo", h.localtime+".new"))
	require.NoError(t, os.Rename(h.localtime+".new", h.localtime))
	called(t, calls, "another time zone")
	require.Equal(t, zone(9, "TOK"), config(t, s).TimeZone)

	// Neither another file nor the same content again is a change; the one after
	// them comes alone.
	write(t, dir+"/etc/passwd", []byte("x"))
	replace(t, extracted, a.pem)
	replace(t, h.environment, []byte("# a comment\nHTTP_PROXY=early:1\n"))
	select {
	case <-calls:
		t.Fatal("a call without a change")
	case <-time.After(3 * quietFor):
	}
	require.NoError(t, os.Remove(h.environment))
	called(t, calls, "the proxy is gone")
	require.Equal(t, domain.Proxy{}, config(t, s).Proxy)
	require.Empty(t, calls)
	require.Empty(t, log.String())
}

func TestDirectoriesOfCertificatesAreWatched(t *testing.T) {
	dir := t.TempDir()
	a, b := certificate(t, "a"), certificate(t, "b")
	write(t, dir+"/certs/a.pem", a.pem)
	s, _ := source(t, Options{Environ: []string{"SSL_CERT_DIR=" + dir + "/certs:" + dir + "/absent"}}, host{})
	config(t, s)
	calls := watching(t, s)
	write(t, dir+"/certs/b.pem", b.pem)
	called(t, calls, "a certificate more")
	require.Equal(t, string(a.pem)+string(b.pem), string(config(t, s).Certificates))
}

func TestAnEndedWatchReturns(t *testing.T) {
	s, _ := source(t, Options{}, host{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, s.Watch(ctx, func() { t.Error("a call") }))
}

// The kernel reports a directory under one path, however many lead to it.
func TestADirectoryIsWatchedUnderOneName(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	write(t, dir+"/pki/b.crt", nil)
	require.NoError(t, os.Symlink("pki", dir+"/ssl"))
	s, _ := source(t, Options{}, host{certFiles: []string{dir + "/ssl/a.crt", dir + "/pki/b.crt"}, certDirs: []string{dir + "/ssl/certs", dir + "/pki/certs"}})
	p := s.places()
	require.Equal(t, []string{"a.crt", "b.crt"}, p[dir+"/pki"])
	require.NotContains(t, p, dir+"/ssl")
	require.True(t, p.contains(dir+"/pki/a.crt"))
	require.True(t, p.contains(dir+"/pki"))
	require.False(t, p.contains(dir+"/pki/c.crt"))
	require.True(t, p.contains(dir+"/pki/certs/anything"))
}
