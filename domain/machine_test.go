package domain_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestMachineValidate(t *testing.T) {
	good := domain.Machine{Name: "dev", CPUs: 4, Memory: 4096, Disk: 50, Disks: []domain.Disk{{Path: "/d"}}}
	require.NoError(t, good.Validate())
	for name, edit := range map[string]func(m *domain.Machine){
		"name":   func(m *domain.Machine) { m.Name = "../x" },
		"cpus":   func(m *domain.Machine) { m.CPUs = 0 },
		"many":   func(m *domain.Machine) { m.CPUs = 1025 },
		"memory": func(m *domain.Machine) { m.Memory = 0 },
		"disk":   func(m *domain.Machine) { m.Disk = domain.MaxDisk + 1 },
		"disks":  func(m *domain.Machine) { m.Disks = []domain.Disk{{}} },
	} {
		m := good
		edit(&m)
		require.ErrorIs(t, m.Validate(), domain.ErrInvalid, name)
	}
}

func TestParseMachineName(t *testing.T) {
	for _, ok := range []string{"a", "default", "dev-1", "1a"} {
		n, err := domain.ParseMachineName(ok)
		require.NoError(t, err)
		require.EqualValues(t, ok, n)
	}
	for _, bad := range []string{"", "-a", "a-", "A", "a.b", "a/b", "..", "a b", string(make([]byte, 64))} {
		_, err := domain.ParseMachineName(bad)
		require.ErrorIs(t, err, domain.ErrInvalid, "%q", bad)
	}
}

func TestDrift(t *testing.T) {
	a := domain.Machine{Name: "default", CPUs: 2, Memory: 1024, Kernel: "k", Cmdline: "c", Disks: []domain.Disk{{Path: "a"}, {Path: "b"}}}
	require.Empty(t, domain.Drift(a, a))
	b := a
	b.CPUs, b.Memory, b.Kernel, b.Cmdline = 3, 2048, "k2", "c2"
	b.Disks = []domain.Disk{{Path: "a"}, {Path: "b", ReadOnly: true}}
	require.Equal(t, []string{"cpus", "memory", "kernel", "cmdline", "disks"}, domain.Drift(a, b))
	b = a
	b.Disks = a.Disks[:1]
	require.Equal(t, []string{"disks"}, domain.Drift(a, b))
}
