//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// process is a program that runs beside the measurement.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// start runs a program until stop. Its output goes to a log.
func (b *bench) start(name, program string, args ...string) (*process, error) {
	return b.startCommand(name, exec.Command(program, args...))
}

func (b *bench) startCommand(name string, cmd *exec.Cmd) (*process, error) {
	p := &process{name: name, cmd: cmd, log: filepath.Join(b.dir, name+".log"), done: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // what it says is in ProcessState
		close(p.done)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) stop() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// await polls until f is true, p ends or time is up.
func (p *process) await(ctx context.Context, what string, within time.Duration, f func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before %s: %s: %s", p.name, what, p.cmd.ProcessState, tail(p.log))
		case <-ctx.Done():
			return fmt.Errorf("wait for %s of %s: %w: %s", what, p.name, ctx.Err(), tail(p.log))
		case <-tick.C:
		}
	}
	return nil
}

// tail is the end of a log as one line.
func tail(path string) string {
	text, _ := os.ReadFile(path)
	lines := strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.Join(lines[max(0, len(lines)-4):], " / ")
}
