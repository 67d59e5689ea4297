package store_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"arcbox/adapters/store"
	"arcbox/domain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func machine(name domain.MachineName) domain.Machine {
	return domain.Machine{
		Name: name, CPUs: 4, Memory: 4096, Disk: 50, Kernel: "/k", Cmdline: `console=ttyS0 x="y"`,
		Disks:     []domain.Disk{{Path: "/a", ReadOnly: true}, {Path: "/b", Discard: true}},
		CreatedAt: time.Date(2026, 11, 24, 8, 0, 0, 123456789, time.UTC),
	}
}

func TestMachinesRoundTrip(t *testing.T) {
	dir := t.TempDir()
	s := store.NewMachines(dir)
	ctx := t.Context()

	all, err := s.List(ctx)
	require.NoError(t, err)
	require.Empty(t, all)
	_, err = s.Load(ctx, "dev")
	require.ErrorIs(t, err, domain.ErrNotFound)
	require.NoError(t, s.Delete(ctx, "dev"))

	dev, other := machine("dev"), domain.Machine{Name: "other", CPUs: 1, Memory: 512, CreatedAt: time.Unix(0, 0).UTC()}
	require.NoError(t, s.Save(ctx, other))
	require.NoError(t, s.Save(ctx, dev))
	got, err := s.Load(ctx, "dev")
	require.NoError(t, err)
	require.Equal(t, dev, got)
	all, err = s.List(ctx)
	require.NoError(t, err)
	require.Equal(t, []domain.Machine{dev, other}, all)

	dev.CPUs = 8
	require.NoError(t, s.Save(ctx, dev))
	got, err = s.Load(ctx, "dev")
	require.NoError(t, err)
	require.Equal(t, 8, got.CPUs)

	entries, err := os.ReadDir(filepath.Join(dir, "machines", "dev"))
	require.NoError(t, err)
	require.Len(t, entries, 1, "no temporary files stay")
	fi, err := entries[0].Info()
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), fi.Mode())
}

func TestMachinesDeleteKeepsDisks(t *testing.T) {
	dir := t.TempDir()
	s := store.NewMachines(dir)
	require.NoError(t, s.Save(t.Context(), machine("a")))
	require.NoError(t, s.Save(t.Context(), machine("b")))
	disk := filepath.Join(dir, "machines", "a", "disk.img")
	require.NoError(t, os.WriteFile(disk, []byte("data"), 0o600))
	require.NoError(t, s.Delete(t.Context(), "a"))
	require.NoError(t, s.Delete(t.Context(), "b"))
	require.FileExists(t, disk)
	require.NoDirExists(t, filepath.Join(dir, "machines", "b"))
	all, err := s.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, all)
}

func TestMachinesRefuseBadInput(t *testing.T) {
	dir := t.TempDir()
	s := store.NewMachines(dir)
	for _, name := range []domain.MachineName{"", "..", "a/b", "A"} {
		bad := machine(name)
		require.ErrorIs(t, s.Save(t.Context(), bad), domain.ErrInvalid)
		_, err := s.Load(t.Context(), name)
		require.ErrorIs(t, err, domain.ErrInvalid)
		require.ErrorIs(t, s.Delete(t.Context(), name), domain.ErrInvalid)
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries, "nothing changed")
}

func TestMachinesReportUnreadableRecords(t *testing.T) {
	dir := t.TempDir()
	s := store.NewMachines(dir)
	require.NoError(t, s.Save(t.Context(), machine("good")))
	write := func(name, text string) {
		d := filepath.Join(dir, "machines", name)
		require.NoError(t, os.MkdirAll(d, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(d, "config.toml"), []byte(text), 0o600))
	}
	bad := map[string]string{
		"syntax":  "name = ",
		"type":    "name = \"type\"\ncpus = \"four\"\n",
		"range":   "name = \"range\"\ncpus = 0\nmemory_mb = 1\n",
		"foreign": "name = \"good\"\ncpus = 1\nmemory_mb = 1\n",
		"huge":    "#" + strings.Repeat("x", 2<<20),
		"minus":   "name = \"minus\"\ncpus = 1\nmemory_mb = -1\n",
	}
	for name, text := range bad {
		write(name, text)
		_, err := s.Load(t.Context(), domain.MachineName(name))
		require.ErrorIs(t, err, domain.ErrCorrupt, name)
		require.ErrorContains(t, err, name)
		require.Contains(t, domain.Hint(err), "config.toml", name)
	}
	write("Bad_Name", "")
	write("newer", "name = \"newer\"\ncpus = 1\nmemory_mb = 1\ncreated_at = 2026-01-01T00:00:00Z\nfuture = { a = 1 }\n")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "machines", "empty"), 0o700))

	all, err := s.List(t.Context())
	require.Len(t, all, 2, "readable records are there all the same")
	require.ErrorIs(t, err, domain.ErrCorrupt)
	require.ErrorContains(t, err, "Bad_Name")
	for name := range bad {
		require.ErrorContains(t, err, name)
	}
}
