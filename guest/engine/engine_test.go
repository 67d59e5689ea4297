package engine

import (
	"encoding/json"
	"flag"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConfigurationIsAsRecorded(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, WriteConfig(root, Network{
		MTU:     65520,
		DNS:     []netip.Addr{netip.MustParseAddr("10.0.2.1")},
		Gateway: []netip.Addr{netip.MustParseAddr("10.0.2.1"), netip.MustParseAddr("fd00::1")},
	}))
	for _, name := range []string{"daemon.json", "containerd.toml"} {
		got, err := os.ReadFile(filepath.Join(root, "run/arcbox", name))
		require.NoError(t, err)
		golden := filepath.Join("testdata", name)
		if *update {
			require.NoError(t, os.WriteFile(golden, got, 0o644))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got), "run with -update and read the difference")
	}
}

func TestDaemonJSONWithoutANetworkHasNoEmptyLists(t *testing.T) {
	b, err := DaemonJSON(Network{MTU: 1500})
	require.NoError(t, err)
	var m map[string]any
	require.NoError(t, json.Unmarshal(b, &m))
	require.NotContains(t, m, "dns")
	require.NotContains(t, m, "host-gateway-ips")
}

func fakeDockerd(t *testing.T, h http.Handler) string {
	socket := filepath.Join(t.TempDir(), "d.sock")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return socket
}

func TestDockerdReady(t *testing.T) {
	answer := func(ping int, version string) http.Handler {
		mux := http.NewServeMux()
		mux.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(ping) })
		mux.HandleFunc("/version", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(version)) })
		return mux
	}
	v, err := DockerdReady(t.Context(), fakeDockerd(t, answer(200, `{"Version":"29.1.0","ApiVersion":"1.56","Os":"linux"}`)))
	require.NoError(t, err)
	require.Equal(t, Version{Engine: "29.1.0", API: "1.56"}, v)

	for name, h := range map[string]http.Handler{
		"not up yet":  answer(503, "{}"),
		"no version":  answer(200, "{}"),
		"not JSON":    answer(200, "<html>"),
		"other paths": http.NotFoundHandler(),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DockerdReady(t.Context(), fakeDockerd(t, h))
			require.Error(t, err)
		})
	}
}

func TestContainerdReady(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "c.sock")
	require.ErrorIs(t, ContainerdReady(t.Context(), socket), os.ErrNotExist)
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	require.NoError(t, ContainerdReady(t.Context(), socket))
}

func TestCheckNamesWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	require.ErrorContains(t, Check(dir), "containerd")
	for _, name := range []string{"containerd", "containerd-shim-runc-v2", "runc", "dockerd", "docker-init", "arcbox-proxy"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o755))
	}
	require.NoError(t, Check(dir))
	require.NoError(t, os.Chmod(filepath.Join(dir, "runc"), 0o644))
	require.ErrorContains(t, Check(dir), "runc")
}

func TestNetworksLieWhereTheHostLooksForThem(t *testing.T) {
	routed, bridge := netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix(bridgeAddress)
	require.True(t, routed.Contains(bridge.Addr()))
	networks := 0
	for i, p := range pools() {
		require.Equal(t, p.Base.Masked(), p.Base)
		require.True(t, routed.Contains(p.Base.Addr()) && p.Base.Bits() >= routed.Bits(), p.Base)
		require.False(t, p.Base.Overlaps(bridge.Masked()), p.Base)
		for _, o := range pools()[:i] {
			require.False(t, p.Base.Overlaps(o.Base))
		}
		networks += 1 << (p.Size - p.Base.Bits())
	}
	require.Equal(t, 224, networks)
}
