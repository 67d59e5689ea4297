package domain

import "time"

// The guest's vsock ports.
const (
	PortAgent      uint32 = 1024
	PortDocker     uint32 = 2375
	PortKubernetes uint32 = 16443
	// PortStream takes connections that begin with a small header (network,
	// address, port) and then are raw bytes.
	PortStream uint32 = 1025
)

// AgentProtocol is the version of the protocol between daemon and guest agent.
// It changes when one of them can no longer work with the other.
const AgentProtocol uint32 = 2

// AgentHeartbeat is how often a guest agent gives a sign of life.
const AgentHeartbeat = 2 * time.Second

// AgentHello is how a guest agent introduces itself.
type AgentHello struct {
	Protocol uint32
	Version  string
	Build    string // content hash or commit of the agent
	BootID   string
	Kernel   string
}

// ServiceState is the state of a supervised service of the guest.
type ServiceState string

// Service states.
const (
	ServiceStarting ServiceState = "starting"
	ServiceReady    ServiceState = "ready"
	ServiceFailed   ServiceState = "failed"
	ServiceStopped  ServiceState = "stopped"
)

// ServiceStatus is one supervised service of the guest.
type ServiceStatus struct {
	Name     string // "containerd", "dockerd", "data-disk"
	State    ServiceState
	Detail   string // why it is not ready; the end of its log after a failure
	Restarts int
}

// GuestStatus is what the agent pushes whenever it changes.
type GuestStatus struct {
	Services []ServiceStatus
	// EngineReady says that dockerd answers requests.
	EngineReady bool
	// EngineVersion and EngineAPI are dockerd's version and its newest API
	// version ("1.56"); empty before it was ready once.
	EngineVersion string
	EngineAPI     string
	// RunningContainers is how many containers run; while dockerd does not
	// answer, how many ran when it last did.
	RunningContainers int
	// Disk is how full the data disk is, zero while it is not mounted.
	Disk DiskUsage
}

// Service returns the status of the named service.
func (g GuestStatus) Service(name string) (ServiceStatus, bool) {
	for _, s := range g.Services {
		if s.Name == name {
			return s, true
		}
	}
	return ServiceStatus{}, false
}
