package vz

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

var update = flag.Bool("update", false, "write the golden files")

func goldenPlan() domain.VMPlan {
	return domain.VMPlan{
		Name: "default", CPUs: 4, Memory: 4096,
		Kernel:  "/data/boot/1/kernel",
		Cmdline: "console=ttyS0 root=/dev/vda ro arcbox.ip=10.0.2.2/24",
		Disks: []domain.Disk{
			{Path: "/data/boot/1/rootfs.erofs", ReadOnly: true},
			{Path: "/data/docker.img", Discard: true},
			{Path: "/data/runtime.erofs", ReadOnly: true},
		},
		Shares: []domain.Share{{Path: "/Users/me"}, {Path: "/Users/me/locked", ReadOnly: true}},
		MAC:    [6]byte{0x02, 0, 0x5e, 0, 0x53, 1}, MTU: 4000,
		ConsoleLog: "/data/log/console.log", Accelerator: domain.AcceleratorAuto,
	}
}

var goldenLimits = Limits{MinCPUs: 1, MaxCPUs: 8, MinMemory: 128, MaxMemory: 16384}

func TestConfigureGolden(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*domain.VMPlan)
		a      Attachments
		l      Limits
	}{
		"full":      {a: Attachments{Link: true, Rosetta: true}, l: goldenLimits},
		"unlimited": {a: Attachments{Link: true}, change: func(p *domain.VMPlan) { p.MTU, p.Accelerator = 0, domain.AcceleratorHVF }},
		"bare": {l: goldenLimits, change: func(p *domain.VMPlan) {
			*p = domain.VMPlan{Name: "probe", CPUs: 1, Memory: 1, Kernel: "/kernel"}
		}},
		"too-big": {l: Limits{MaxCPUs: 2, MaxMemory: 2048}, change: func(p *domain.VMPlan) { p.Disks, p.Shares = nil, nil }},
	} {
		t.Run(name, func(t *testing.T) {
			p := goldenPlan()
			if test.change != nil {
				test.change(&p)
			}
			c, err := Configure(p, test.a, test.l)
			require.NoError(t, err)
			got, err := json.MarshalIndent(c, "", "  ")
			require.NoError(t, err)
			path := filepath.Join("testdata", name+".json")
			if *update {
				require.NoError(t, os.WriteFile(path, append(got, '\n'), 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(string(want), string(got)+"\n"))
		})
	}
}

func TestConfigureRefuses(t *testing.T) {
	for name, change := range map[string]func(*domain.VMPlan){
		"no name":               func(p *domain.VMPlan) { p.Name = "" },
		"bad name":              func(p *domain.VMPlan) { p.Name = "../x" },
		"no processors":         func(p *domain.VMPlan) { p.CPUs = 0 },
		"negative processors":   func(p *domain.VMPlan) { p.CPUs = -1 },
		"no memory":             func(p *domain.VMPlan) { p.Memory = 0 },
		"memory that overflows": func(p *domain.VMPlan) { p.Memory = 1<<40 + 1 },
		"no kernel":             func(p *domain.VMPlan) { p.Kernel = "" },
		"too many disks":        func(p *domain.VMPlan) { p.Disks = make([]domain.Disk, maxDisks+1) },
		"disk without a path":   func(p *domain.VMPlan) { p.Disks[1].Path = "" },
		"zero byte in a disk":   func(p *domain.VMPlan) { p.Disks[1].Path = "/a\x00b" },
		"zero byte in kernel":   func(p *domain.VMPlan) { p.Kernel += "\x00" },
		"zero byte in cmdline":  func(p *domain.VMPlan) { p.Cmdline = "a\x00b" },
		"zero byte in console":  func(p *domain.VMPlan) { p.ConsoleLog += "\x00" },
		"too many shares":       func(p *domain.VMPlan) { p.Shares = slices.Repeat(p.Shares[:1], domain.MaxShares+1) },
		"relative share":        func(p *domain.VMPlan) { p.Shares[1].Path = "me" },
		"share without a path":  func(p *domain.VMPlan) { p.Shares[0].Path = "" },
		"zero byte in a share":  func(p *domain.VMPlan) { p.Shares[1].Path += "\x00" },
		"share not UTF-8":       func(p *domain.VMPlan) { p.Shares[1].Path += "\xff" },
		"disk not UTF-8":        func(p *domain.VMPlan) { p.Disks[0].Path += "\xff" },
		"small MTU":             func(p *domain.VMPlan) { p.MTU = minMTU - 1 },
		"large MTU":             func(p *domain.VMPlan) { p.MTU = maxMTU + 1 },
		"no MAC":                func(p *domain.VMPlan) { p.MAC = [6]byte{} },
		"multicast MAC":         func(p *domain.VMPlan) { p.MAC[0] |= 1 },
		"accelerator of Linux":  func(p *domain.VMPlan) { p.Accelerator = domain.AcceleratorKVM },
		"emulation":             func(p *domain.VMPlan) { p.Accelerator = domain.AcceleratorTCG },
	} {
		t.Run(name, func(t *testing.T) {
			p := goldenPlan()
			change(&p)
			c, err := Configure(p, Attachments{Link: true}, goldenLimits)
			require.ErrorIs(t, err, domain.ErrInvalid)
			require.Empty(t, c)
		})
	}
}

// Without a link nothing of a network is looked at.
func TestConfigureWithoutLink(t *testing.T) {
	p := goldenPlan()
	p.MAC, p.MTU = [6]byte{}, 1
	c, err := Configure(p, Attachments{}, goldenLimits)
	require.NoError(t, err)
	require.Nil(t, c.Network)
}

func TestConfigureLeavesThePlanAlone(t *testing.T) {
	p := goldenPlan()
	c, err := Configure(p, Attachments{Link: true}, goldenLimits)
	require.NoError(t, err)
	c.Disks[0].Path, c.Shares.Directories[0].Path = "changed", "changed"
	require.Empty(t, cmp.Diff(goldenPlan(), p))
}

func FuzzConfigureStaysWithinLimits(f *testing.F) {
	f.Add(4, uint64(4096), 1, 8, uint64(128), uint64(16384))
	f.Add(1, uint64(1), 2, 0, uint64(512), uint64(0))
	f.Add(100, uint64(1<<40), 1, 1, uint64(1), uint64(1))
	f.Fuzz(func(t *testing.T, cpus int, memory uint64, minCPUs, maxCPUs int, minMemory, maxMemory uint64) {
		p := goldenPlan()
		p.CPUs, p.Memory = cpus, domain.MiB(memory)
		l := Limits{minCPUs, maxCPUs, domain.MiB(minMemory), domain.MiB(maxMemory)}
		c, err := Configure(p, Attachments{Link: true}, l)
		if err != nil {
			require.ErrorIs(t, err, domain.ErrInvalid)
			return
		}
		if l.MaxCPUs > 0 {
			require.LessOrEqual(t, c.CPUs, l.MaxCPUs)
		} else {
			require.GreaterOrEqual(t, c.CPUs, l.MinCPUs)
		}
		if l.MaxMemory > 0 {
			require.LessOrEqual(t, c.Memory, l.MaxMemory)
		} else {
			require.GreaterOrEqual(t, c.Memory, l.MinMemory)
		}
		require.Positive(t, c.CPUs)
		require.Positive(t, c.Memory)
	})
}
