package cli

import (
	"fmt"
	"io"

	arcboxv1 "arcbox/api/arcbox/v1"
)

// diskOutput is the data disk in the JSON of arcbox status; the guest's part is
// 0 while it does not run.
type diskOutput struct {
	TotalBytes     uint64   `json:"total_bytes"`
	FreeBytes      uint64   `json:"free_bytes"`
	TotalInodes    uint64   `json:"total_inodes"`
	FreeInodes     uint64   `json:"free_inodes"`
	AllocatedBytes uint64   `json:"allocated_bytes"`
	ImageBytes     uint64   `json:"image_bytes"`
	WantedGiB      uint64   `json:"wanted_gib"`
	Problems       []string `json:"problems"`
}

func toDisk(d *arcboxv1.DiskUsage) *diskOutput {
	if d == nil {
		return nil
	}
	return &diskOutput{TotalBytes: d.TotalBytes, FreeBytes: d.FreeBytes, TotalInodes: d.TotalInodes, FreeInodes: d.FreeInodes,
		AllocatedBytes: d.AllocatedBytes, ImageBytes: d.ImageBytes, WantedGiB: d.WantedGib, Problems: append([]string{}, d.Problems...)}
}

// diskRows tell what stands in the way first.
func diskRows(w io.Writer, vm *arcboxv1.VmInfo) {
	if vm.Paused != "" {
		row(w, "  paused", vm.Paused)
	}
	d := vm.Disk
	if d == nil {
		return
	}
	for _, p := range d.Problems {
		row(w, "  problem", p)
	}
	text := ""
	if d.TotalBytes > 0 {
		text = fmt.Sprintf("%s of %s used; ", bytesText(int64(d.TotalBytes-d.FreeBytes)), bytesText(int64(d.TotalBytes)))
	}
	row(w, "  disk", fmt.Sprintf("%sits image takes %s of this computer's disk", text, bytesText(int64(d.AllocatedBytes))))
}
