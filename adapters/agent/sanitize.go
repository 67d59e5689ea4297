package agent

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	agentv1 "arcbox/api/arcbox/agent/v1"
	"arcbox/domain"
)

// The bounds of what the guest may make the host keep or show.
const (
	maxServices = 64
	maxWord     = 128
	maxDetail   = 4 << 10
	maxLogLine  = 16 << 10
)

// maxContainers bounds what a guest says of how many containers run.
const maxContainers = 1 << 20

var serviceName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// word cleans a short text of the guest.
func word(s string) string { return clean(s, maxWord, false) }

// clean cuts s to limit bytes and replaces what could command a terminal.
func clean(s string, limit int, lines bool) string {
	if len(s) > limit {
		s = s[:limit]
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t', r == '\n' && lines:
			return r
		case r == utf8.RuneError, unicode.IsControl(r):
			return '?'
		}
		return r
	}, s)
}

// toStatus takes over a status of the guest as far as it makes sense: services
// whose name or state does not are left out.
func toStatus(m *agentv1.Status) domain.GuestStatus {
	g := domain.GuestStatus{EngineReady: m.EngineReady, EngineVersion: word(m.EngineVersion), EngineAPI: word(m.EngineApi),
		RunningContainers: int(min(m.RunningContainers, maxContainers)), Disk: toDisk(m.Disk)}
	for _, s := range m.Services {
		state, ok := toState(s.State)
		if !ok || !serviceName.MatchString(s.Name) || len(g.Services) == maxServices {
			continue
		}
		g.Services = append(g.Services, domain.ServiceStatus{
			Name: s.Name, State: state, Detail: clean(s.Detail, maxDetail, true), Restarts: int(s.Restarts),
		})
	}
	return g
}

// maxDiskBytes is above any disk, and far from where sums overflow.
const maxDiskBytes = 1 << 60

// toDisk takes over how full the disk is; what is free is at most all.
func toDisk(m *agentv1.DiskUsage) domain.DiskUsage {
	bytes := func(n uint64) uint64 { return min(n, maxDiskBytes) }
	d := domain.DiskUsage{Device: bytes(m.GetDeviceBytes()), Total: bytes(m.GetTotalBytes()), Inodes: bytes(m.GetTotalInodes())}
	d.Free, d.FreeInodes = min(m.GetFreeBytes(), d.Total), min(m.GetFreeInodes(), d.Inodes)
	return d
}

func toState(s agentv1.ServiceState) (domain.ServiceState, bool) {
	switch s {
	case agentv1.ServiceState_SERVICE_STATE_STARTING:
		return domain.ServiceStarting, true
	case agentv1.ServiceState_SERVICE_STATE_READY:
		return domain.ServiceReady, true
	case agentv1.ServiceState_SERVICE_STATE_FAILED:
		return domain.ServiceFailed, true
	case agentv1.ServiceState_SERVICE_STATE_STOPPED:
		return domain.ServiceStopped, true
	case agentv1.ServiceState_SERVICE_STATE_UNSPECIFIED:
		return "", false
	default:
		return "", false
	}
}
