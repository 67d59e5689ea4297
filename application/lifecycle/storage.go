package lifecycle

import "arcbox/domain"

// tellDisk says, once each time, that the data disk became nearly full and that
// it is no longer.
func (a *Actor) tellDisk(d domain.DiskUsage) {
	low := d.Low(a.diskLow)
	if !d.Known() || low == a.diskLow {
		return
	}
	a.diskLow = low
	if !low {
		a.tell(domain.EventDiskRecovered, "the data disk has room again")
		return
	}
	a.log.Warn(d.Problem())
	a.tell(domain.EventDiskLow, d.Problem())
}

// tellPause says that the machine stands still, and that it goes on.
func (a *Actor) tellPause(why string) {
	if why == a.paused {
		return
	}
	a.paused = why
	if why == "" {
		a.tell(domain.EventMachineResumed, "")
		return
	}
	a.tell(domain.EventMachinePaused, why)
}
