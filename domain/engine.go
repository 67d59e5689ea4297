package domain

import (
	"fmt"
	"strings"
)

// EngineInfo is what is known of a Docker engine.
type EngineInfo struct {
	Ready      bool
	Version    string
	APIVersion string // newest, such as "1.56"
}

// The services of the guest that an engine needs.
const (
	ServiceDataDisk   = "data-disk"
	ServiceContainerd = "containerd"
	ServiceDockerd    = "dockerd"
)

const (
	maxEngineVersion = 64
	maxServiceDetail = 2000
	maxServices      = 16
)

// EngineInfoOf reads the engine's part of a guest's status. The guest is not
// trusted: a version that is not one is left out.
func EngineInfoOf(g GuestStatus) EngineInfo {
	info := EngineInfo{Ready: g.EngineReady, Version: Printable(g.EngineVersion, maxEngineVersion)}
	if isAPIVersion(g.EngineAPI) {
		info.APIVersion = g.EngineAPI
	}
	return info
}

func isAPIVersion(s string) bool {
	major, minor, ok := strings.Cut(s, ".")
	return ok && isNumber(major) && isNumber(minor)
}

func isNumber(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 4
}

// EngineHopeless returns why a guest's engine will not come up in this run, or
// nil while it may: without its data disk it never will; other services are
// restarted by the guest's supervisor.
func EngineHopeless(g GuestStatus) error {
	s, ok := g.Service(ServiceDataDisk)
	if !ok || s.State != ServiceFailed || g.EngineReady {
		return nil
	}
	return fmt.Errorf("the guest cannot use its data disk: %s: %w", detail(s), ErrUnavailable)
}

// EngineProgress says what a guest's engine is waiting for: the state of each
// service, and below them what those that are not ready say about it.
func EngineProgress(g GuestStatus) string {
	if len(g.Services) == 0 {
		return "the guest has reported no service yet"
	}
	var states []string
	var details strings.Builder
	for _, s := range g.Services[:min(len(g.Services), maxServices)] {
		name := Printable(s.Name, maxMachineName)
		state := name + " " + Printable(string(s.State), maxMachineName)
		if s.Restarts > 0 {
			state += fmt.Sprintf(" (%d restarts)", s.Restarts)
		}
		states = append(states, state)
		if s.State != ServiceReady && s.Detail != "" {
			details.WriteString(ConsoleExcerpt(name, strings.Split(logEnd(s.Detail), "\n")))
		}
	}
	return strings.Join(states, ", ") + details.String()
}

// logEnd returns the end of a detail that a guest sent, which is where a log
// says why it ended.
func logEnd(s string) string {
	if len(s) <= maxServiceDetail {
		return s
	}
	return strings.ToValidUTF8(s[len(s)-maxServiceDetail:], "")
}

func detail(s ServiceStatus) string {
	if d := Printable(logEnd(s.Detail), maxServiceDetail); d != "" {
		return d
	}
	return "no reason given"
}
