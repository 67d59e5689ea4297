package kvm

import (
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestCheckPlan(t *testing.T) {
	require.NoError(t, checkPlan(goldenPlan(), true))
	tests := map[string]struct {
		change func(*domain.VMPlan)
		says   string
	}{
		"no name":         {func(p *domain.VMPlan) { p.Name = "" }, "machine name"},
		"name with comma": {func(p *domain.VMPlan) { p.Name = "a,b" }, "machine name"},
		"no processor":    {func(p *domain.VMPlan) { p.CPUs = 0 }, "0 processors"},
		"too many":        {func(p *domain.VMPlan) { p.CPUs = 256 }, "256 processors"},
		"no memory":       {func(p *domain.VMPlan) { p.Memory = 0 }, "memory of 0 MiB"},
		"absurd memory":   {func(p *domain.VMPlan) { p.Memory = 1 << 62 }, "memory of"},
		"no kernel":       {func(p *domain.VMPlan) { p.Kernel = "" }, "no kernel"},
		"disk without":    {func(p *domain.VMPlan) { p.Disks[1].Path = "" }, "disk 1 has no path"},
		"too many disks":  {func(p *domain.VMPlan) { p.Disks = make([]domain.Disk, 17) }, "17 disks"},
		"zero byte":       {func(p *domain.VMPlan) { p.Cmdline = "a\x00b" }, "zero byte"},
		"small MTU":       {func(p *domain.VMPlan) { p.MTU = 67 }, "MTU 67"},
		"large MTU":       {func(p *domain.VMPlan) { p.MTU = 65536 }, "MTU 65536"},
		"no MAC":          {func(p *domain.VMPlan) { p.MAC = [6]byte{} }, "MAC address"},
		"multicast MAC":   {func(p *domain.VMPlan) { p.MAC[0] = 1 }, "MAC address"},
		"odd accelerator": {func(p *domain.VMPlan) { p.Accelerator = "hvf" }, `"hvf"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := goldenPlan()
			tt.change(&p)
			err := checkPlan(p, true)
			require.ErrorIs(t, err, domain.ErrInvalid)
			require.ErrorContains(t, err, tt.says)
		})
	}
	t.Run("the network of a machine without a link does not matter", func(t *testing.T) {
		p := goldenPlan()
		p.MAC, p.MTU = [6]byte{}, 0
		require.NoError(t, checkPlan(p, false))
	})
}
