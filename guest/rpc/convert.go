package rpc

import (
	agentv1 "arcbox/api/arcbox/agent/v1"
	"arcbox/domain"
)

func toStatus(g domain.GuestStatus) *agentv1.Status {
	out := &agentv1.Status{EngineReady: g.EngineReady, EngineVersion: g.EngineVersion, EngineApi: g.EngineAPI,
		RunningContainers: uint32(max(0, g.RunningContainers))}
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
