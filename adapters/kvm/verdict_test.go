package kvm

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

func someVerdict() verdict {
	return verdict{
		Subject: subject{BootID: "b", Binary: "/q", Size: 3, ModTime: time.Unix(1700000000, 123456789), Device: "/d", Arch: ArchAMD64},
		Version: version{7, 2, 22},
		KVM:     kvmUnusable,
		Reason:  "failed to set MSR",
	}
}

func TestVerdictFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "verdict.json")
	v := someVerdict()
	require.NoError(t, (&verdictFile{path: path}).save(v))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	got, ok := (&verdictFile{path: path}).load(v.Subject)
	require.True(t, ok)
	require.Empty(t, cmp.Diff(v, got))

	changes := map[string]func(*subject){
		"host rebooted":  func(s *subject) { s.BootID = "c" },
		"other binary":   func(s *subject) { s.Binary = "/r" },
		"other size":     func(s *subject) { s.Size++ },
		"binary updated": func(s *subject) { s.ModTime = s.ModTime.Add(1) },
		"other device":   func(s *subject) { s.Device = "/e" },
		"other arch":     func(s *subject) { s.Arch = ArchARM64 },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			s := v.Subject
			change(&s)
			_, ok := (&verdictFile{path: path}).load(s)
			require.False(t, ok)
		})
	}
}

func TestVerdictFileThatCannotBeRead(t *testing.T) {
	v := someVerdict()
	for name, content := range map[string]string{"empty": "", "no JSON": "x", "other JSON": "[]", "cut": `{"subject":{"boot_id":"b`} {
		path := filepath.Join(t.TempDir(), "verdict.json")
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		f := &verdictFile{path: path}
		_, ok := f.load(v.Subject)
		require.False(t, ok, name)
		require.NoError(t, f.save(v), name)
		_, ok = f.load(v.Subject)
		require.True(t, ok, name)
	}
}

func TestVerdictIsKeptWhenItCannotBeSaved(t *testing.T) {
	blocker := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(blocker, nil, 0o600))
	f := &verdictFile{path: filepath.Join(blocker, "verdict.json")}
	v := someVerdict()
	require.Error(t, f.save(v))
	_, ok := f.load(v.Subject)
	require.True(t, ok)
}
