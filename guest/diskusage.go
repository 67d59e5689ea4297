package guest

import (
	"context"
	"time"

	"arcbox/domain"
)

// diskTick is how often the data disk is looked at: a statfs, which costs
// nothing beside the heartbeats.
const diskTick = 5 * time.Second

// followDisk tells the host how full the data disk is, when it has become ready
// and whenever that has changed enough, until ctx ends.
func (a *Agent) followDisk(ctx context.Context) {
	tick := time.NewTicker(diskTick)
	defer tick.Stop()
	var told domain.DiskUsage
	for {
		status, changed := a.hub.Status()
		if s, _ := status.Service(DataDisk); s.State == domain.ServiceReady {
			if now, err := a.cfg.DiskUsage(); err != nil {
				a.cfg.Log.Debug("usage of the data disk", "error", err)
			} else if news(told, now) {
				told = now
				a.hub.SetDisk(now)
			}
			changed = nil // it is ready for good
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-tick.C:
		}
	}
}

// news reports whether a change is worth a message: half a percent of the disk,
// less when it is nearly full, or when it begins or ends to be low.
func news(told, now domain.DiskUsage) bool {
	if told.Total != now.Total || told.Device != now.Device || told.Low(false) != now.Low(false) || told.Low(true) != now.Low(true) {
		return true
	}
	return moved(told.Free, now.Free, now.Total) || moved(told.FreeInodes, now.FreeInodes, now.Inodes)
}

func moved(told, now, total uint64) bool {
	by := max(told, now) - min(told, now)
	return by > 0 && by >= min(total/200, max(told, now)/16)
}
