package rpc

import (
	agentv1 "arcbox/api/arcbox/agent/v1"
	"arcbox/domain"
)

func toStatus(g domain.GuestStatus) *agentv1.Status {
	out := &agentv1.Status{EngineReady: g.EngineReady, EngineVersion: g.EngineVersion, EngineApi: g.EngineAPI,
		RunningContainers: uint32(max(0, g.RunningContainers))}
	if g.Disk.Known() {
		out.Disk = &agentv1.DiskUsage{DeviceBytes: g.Disk.Device, TotalBytes: g.Disk.Total, FreeBytes: g.Disk.Free,
			TotalInodes: g.Disk.Inodes, FreeInodes: g.Disk.FreeInodes}
	}
	for _, s := range g.Services {
		out.Services = append(out.Services, &agentv1.Service{
			Name: s.Name, State: toState(s.State), Detail: s.Detail, Restarts: uint32(max(0, s.Restarts)),
		})
	}
	return out
}

func toState(s domain.ServiceState) agentv1.ServiceState {
	switch s {
	case domain.ServiceStarting:
		return agentv1.ServiceState_SERVICE_STATE_STARTING
	case domain.ServiceReady:
		return agentv1.ServiceState_SERVICE_STATE_READY
	case domain.ServiceFailed:
		return agentv1.ServiceState_SERVICE_STATE_FAILED
	case domain.ServiceStopped:
		return agentv1.ServiceState_SERVICE_STATE_STOPPED
	default:
		return agentv1.ServiceState_SERVICE_STATE_UNSPECIFIED
	}
}

func toGuestConfig(r *agentv1.ConfigureRequest) domain.GuestConfig {
	c := domain.GuestConfig{
		Proxy:        domain.Proxy{HTTP: r.GetProxy().GetHttp(), HTTPS: r.GetProxy().GetHttps(), None: r.GetProxy().GetNone()},
		Certificates: r.GetCertificates(), TimeZone: r.GetTimeZone(),
	}
	for _, s := range r.GetShares() {
		c.Shares = append(c.Shares, domain.Share{Path: s.GetPath(), ReadOnly: s.GetReadOnly()})
	}
	for _, s := range r.GetSockets() {
		c.Sockets = append(c.Sockets, domain.GuestSocket{Service: s.GetService(), Path: s.GetPath()})
	}
	return c
}

func toPathChanges(list []*agentv1.PathChange) []domain.PathChange {
	changes := make([]domain.PathChange, 0, len(list))
	for _, c := range list {
		changes = append(changes, domain.PathChange{Path: c.GetPath(), Removed: c.GetRemoved()})
	}
	return changes
}
