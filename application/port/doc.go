// Package port declares what the use-cases need from the world (driven ports)
// and what they offer to those who drive them (driving ports). Each port is
// small; capabilities that only some implementations have are interfaces of
// their own, found by type assertion.
package port

//go:generate go tool mockgen -destination=mock/port.go -package=mock arcbox/application/port AgentSession,Agents,AssetCache,AssetSource,Balloon,BootAssets,ContainerWatcher,Dialer,Disks,Engine,Engines,EventPublisher,Forward,ForwardHandler,ForwardSource,Forwarder,Forwards,HostConfig,HostPaths,Hypervisor,LogFiles,MachineStore,Names,NetworkLink,Networks,Resolver,ShareLink,Shares,SocketHandler,SocketSource,Starts,Stream,Surroundings,System,Toucher,TreeWatch,TreeWatcher,VM,VsockDevice,VsockDevices
