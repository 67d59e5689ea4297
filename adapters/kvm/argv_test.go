package kvm

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

var update = flag.Bool("update", false, "write the golden files")

func goldenPlan() domain.VMPlan {
	return domain.VMPlan{
		Name:    "default",
		CPUs:    4,
		Memory:  4096,
		Kernel:  "/data/boot/1.0/kernel",
		Cmdline: "console=ttyS0 root=/dev/vda ro arcbox.mode=machine,x",
		Disks: []domain.Disk{
			{Path: "/data/boot/1.0/rootfs.erofs", ReadOnly: true},
			{Path: "/data/images/docker.img", Discard: true},
			{Path: "/data/run/time, space/runtime.erofs", ReadOnly: true},
		},
		MAC: [6]byte{0x52, 0x54, 0, 0x12, 0x34, 0x56},
		MTU: 65520,
	}
}

func TestArgsGolden(t *testing.T) {
	full := Resources{Arch: ArchAMD64, Accelerator: domain.AcceleratorKVM, MonitorFD: 6, ConsoleFD: 5, NetFD: 3, SharesFD: 7, Vsock: Vsock{FD: 4}}
	tests := map[string]func(*domain.VMPlan, *Resources){
		"kvm-amd64":        func(*domain.VMPlan, *Resources) {},
		"tcg-amd64":        func(_ *domain.VMPlan, r *Resources) { r.Accelerator = domain.AcceleratorTCG },
		"kvm-kernel-vsock": func(_ *domain.VMPlan, r *Resources) { r.Vsock = Vsock{CID: 42} },
		"tcg-no-net":       func(_ *domain.VMPlan, r *Resources) { r.Accelerator, r.NetFD = domain.AcceleratorTCG, 0 },
		"kvm-no-shares":    func(_ *domain.VMPlan, r *Resources) { r.SharesFD = 0 },
		"kvm-arm64":        func(_ *domain.VMPlan, r *Resources) { r.Arch = ArchARM64 },
		"tcg-arm64": func(_ *domain.VMPlan, r *Resources) {
			r.Arch, r.Accelerator = ArchARM64, domain.AcceleratorTCG
		},
		"probe": func(p *domain.VMPlan, r *Resources) {
			*p = domain.VMPlan{Name: "probe", CPUs: 1, Memory: 64}
			*r = Resources{Arch: ArchAMD64, Accelerator: domain.AcceleratorKVM, MonitorFD: 3}
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			p, r := goldenPlan(), full
			change(&p, &r)
			got := printArgs(Args(p, r))
			path := filepath.Join("testdata", name+".args")
			if *update {
				require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(string(want), got))
		})
	}
}

// printArgs writes an option and its value on one line.
func printArgs(args []string) string {
	var b strings.Builder
	for i, a := range args {
		switch {
		case i == 0:
		case strings.HasPrefix(a, "-"):
			b.WriteByte('\n')
		default:
			b.WriteByte(' ')
		}
		b.WriteString(a)
	}
	return b.String() + "\n"
}

// splitOptions reads an option list as QEMU's keyval parser does: a comma ends
// a value, two are one in it.
func splitOptions(s string) []string {
	parts := []string{""}
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != ',':
			parts[len(parts)-1] += s[i : i+1]
		case i+1 < len(s) && s[i+1] == ',':
			parts[len(parts)-1] += ","
			i++
		default:
			parts = append(parts, "")
		}
	}
	return parts
}

// FuzzPathIsOneValue: whatever a path holds, it is read back as it was and adds
// no option of its own.
func FuzzPathIsOneValue(f *testing.F) {
	for _, s := range []string{"/a", "/a,b", ",", ",,", "/x,read-only=off", "/x,", "a,,b,", "=", "/x\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		plain := splitOptions(blockdev(0, domain.Disk{Path: "p", ReadOnly: true}))
		got := splitOptions(blockdev(0, domain.Disk{Path: path, ReadOnly: true}))
		require.Len(t, got, len(plain))
		require.Equal(t, plain[:len(plain)-1], got[:len(got)-1])
		require.Equal(t, "file.filename="+path, got[len(got)-1])
	})
}

func TestArgsIsPure(t *testing.T) {
	p, r := goldenPlan(), Resources{Arch: ArchAMD64, Accelerator: domain.AcceleratorTCG, MonitorFD: 3}
	first := Args(p, r)
	require.Equal(t, first, Args(p, r))
	require.Empty(t, cmp.Diff(goldenPlan(), p))
}
