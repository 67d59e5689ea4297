// Package rpc serves the agent's gRPC service.
package rpc

import (
	"slices"
	"sync"

	"arcbox/domain"
	"arcbox/guest/engine"
)

// Hub holds the guest's status and tells who watches it. Its methods may be
// called by any goroutine.
type Hub struct {
	mu      sync.Mutex
	status  domain.GuestStatus
	changed chan struct{}
	stepped chan struct{}
}

// NewHub returns a hub without services.
func NewHub() *Hub { return &Hub{changed: make(chan struct{}), stepped: make(chan struct{})} }

// ClockStepped says that the guest's clock was set: the next heartbeat is now.
func (h *Hub) ClockStepped() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.stepped)
	h.stepped = make(chan struct{})
}

// Stepped returns a channel that is closed when the guest's clock is set.
func (h *Hub) Stepped() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stepped
}

// SetDisk enters how full the data disk is.
func (h *Hub) SetDisk(d domain.DiskUsage) {
	h.update(func(g *domain.GuestStatus) { g.Disk = d })
}

// SetService enters the state of a service, in place of its earlier one.
func (h *Hub) SetService(s domain.ServiceStatus) {
	h.update(func(g *domain.GuestStatus) {
		i := slices.IndexFunc(g.Services, func(o domain.ServiceStatus) bool { return o.Name == s.Name })
		if i < 0 {
			g.Services = append(g.Services, s)
		} else {
			g.Services[i] = s
		}
		if s.Name == engine.Dockerd {
			g.EngineReady = s.State == domain.ServiceReady
		}
	})
}

// SetEngine enters what dockerd says of itself.
func (h *Hub) SetEngine(v engine.Version) {
	h.update(func(g *domain.GuestStatus) { g.EngineVersion, g.EngineAPI = v.Engine, v.API })
}

// SetRunning enters how many containers run.
func (h *Hub) SetRunning(containers int) {
	if g, _ := h.Status(); g.RunningContainers != containers {
		h.update(func(g *domain.GuestStatus) { g.RunningContainers = containers })
	}
}

// update changes a copy: what Status returned stays as it was.
func (h *Hub) update(change func(*domain.GuestStatus)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	next := h.status
	next.Services = slices.Clone(next.Services)
	change(&next)
	h.status = next
	close(h.changed)
	h.changed = make(chan struct{})
}

// Status returns the status and a channel that is closed when there is a newer
// one. The caller must not change the status.
func (h *Hub) Status() (domain.GuestStatus, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.status, h.changed
}
