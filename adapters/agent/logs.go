package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	agentv1 "arcbox/api/arcbox/agent/v1"
	"arcbox/domain"
)

// positions remembers how far the logs of each machine's present boot were
// written, so that a second session with the same boot does not repeat them.
type positions struct {
	mu       sync.Mutex
	machines map[domain.MachineName]machinePositions
}

type machinePositions struct {
	boot string
	next map[string]uint64
}

func newPositions() *positions {
	return &positions{machines: map[domain.MachineName]machinePositions{}}
}

func (p *positions) get(name domain.MachineName, boot string) []*agentv1.LogPosition {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.machines[name]
	if boot == "" || m.boot != boot {
		p.machines[name] = machinePositions{boot, map[string]uint64{}}
		return nil
	}
	var out []*agentv1.LogPosition
	for component, next := range m.next {
		out = append(out, &agentv1.LogPosition{Component: component, Next: next})
	}
	return out
}

func (p *positions) set(name domain.MachineName, boot, component string, next uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.machines[name]; m.boot == boot {
		m.next[component] = next
	}
}

// followLogs writes the guest's logs into files until the stream ends. Its
// failure is no reason to give up the session: the machine works without.
func (s *session) followLogs(ctx context.Context) {
	files := map[string]io.WriteCloser{}
	defer func() {
		for component, f := range files {
			if err := f.Close(); err != nil {
				s.log.Warn("guest log not closed", "component", component, "error", err)
			}
		}
	}()
	stream, err := s.client.Logs(ctx, &agentv1.LogsRequest{Positions: s.agents.positions.get(s.name, s.hello.BootID)})
	for err == nil {
		var m *agentv1.LogsResponse
		if m, err = stream.Recv(); err == nil {
			err = s.writeLog(files, m)
		}
	}
	if ctx.Err() == nil && !errors.Is(err, io.EOF) { // EOF: the guest goes down in order
		s.log.Warn("guest logs end here", "error", err)
	}
}

// logged are the components of the guest that have a log file on the host. The
// guest has no say in it: other files of the directory are the host's own.
var logged = []string{"agent", "containerd", "dockerd"}

func (s *session) writeLog(files map[string]io.WriteCloser, m *agentv1.LogsResponse) error {
	if !slices.Contains(logged, m.Component) {
		return fmt.Errorf("log of a component with the name %.40q: %w", m.Component, domain.ErrInvalid)
	}
	f := files[m.Component]
	if f == nil {
		var err error
		if f, err = s.agents.cfg.Logs.Writer(s.name, m.Component); err != nil {
			return fmt.Errorf("open the log of %s: %w", m.Component, err)
		}
		files[m.Component] = f
	}
	if _, err := f.Write(logLines(m)); err != nil {
		return fmt.Errorf("write the log of %s: %w", m.Component, err)
	}
	s.agents.positions.set(s.name, s.hello.BootID, m.Component, m.Next)
	return nil
}

// logLines is what of a message goes into the file: whole lines of bounded
// length, without anything that could command a terminal.
func logLines(m *agentv1.LogsResponse) []byte {
	var out []byte
	if m.Dropped > 0 {
		out = fmt.Appendf(out, "(%d lines lost)\n", m.Dropped)
	}
	for line := range bytes.Lines(m.Data) {
		out = append(out, clean(string(bytes.TrimRight(line, "\r\n")), maxLogLine, false)...)
		out = append(out, '\n')
	}
	return out
}
