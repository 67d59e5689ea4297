package guest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestWhichChangesOfTheDiskAreNews(t *testing.T) {
	base := domain.DiskUsage{Device: 64 << 30, Total: 63 << 30, Free: 32 << 30, Inodes: 1 << 20, FreeInodes: 1 << 19}
	with := func(change func(*domain.DiskUsage)) domain.DiskUsage { d := base; change(&d); return d }
	for name, c := range map[string]struct {
		told, now domain.DiskUsage
		want      bool
	}{
		"the first":          {domain.DiskUsage{}, base, true},
		"the same":           {base, base, false},
		"a few megabytes":    {base, with(func(d *domain.DiskUsage) { d.Free -= 8 << 20 }), false},
		"half a percent":     {base, with(func(d *domain.DiskUsage) { d.Free -= 400 << 20 }), true},
		"it grew":            {base, with(func(d *domain.DiskUsage) { d.Device *= 2 }), true},
		"files":              {base, with(func(d *domain.DiskUsage) { d.FreeInodes -= 1 << 14 }), true},
		"little of a little": {with(func(d *domain.DiskUsage) { d.Free = 16 << 20 }), with(func(d *domain.DiskUsage) { d.Free = 12 << 20 }), true},
		"it becomes low":     {with(func(d *domain.DiskUsage) { d.Free = d.Total/20 + 1 }), with(func(d *domain.DiskUsage) { d.Free = d.Total/20 - 1 }), true},
	} {
		require.Equal(t, c.want, news(c.told, c.now), name)
	}
}
