//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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

// start runs a program in a namespace until stop. Its output goes to a log. All
// of them, ArcBox's daemon too, stay in the benchmark's session: Linux shares
// processors out by session first, and who has one of his own would get more.
func (b *bench) start(ns *namespace, name, program string, args ...string) (*process, error) {
	return b.startCommand(ns, name, exec.Command(program, args...))
}

func (b *bench) startCommand(ns *namespace, name string, cmd *exec.Cmd) (*process, error) {
	p := &process{name: name, cmd: cmd, log: filepath.Join(b.dir, name+".log"), done: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := ns.do(p.cmd.Start); err != nil {
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
	tick := time.NewTicker(10 * time.Millisecond)
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

const ticks = 100 // a second, what /proc counts in on Linux (USER_HZ)

// cpu is the processor time of a process so far, in seconds; 0 for no process.
func cpu(pid int) (float64, error) {
	if pid == 0 {
		return 0, nil
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	words := strings.Fields(rest)
	if len(words) < 13 {
		return 0, fmt.Errorf("stat of process %d: %q", pid, text)
	}
	user, err1 := strconv.Atoi(words[11]) // utime and stime, proc(5)
	system, err2 := strconv.Atoi(words[12])
	return float64(user+system) / ticks, errors.Join(err1, err2)
}

// rss is a process's resident memory in KiB.
func rss(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
		}
	}
	return 0, fmt.Errorf("process %d has no memory", pid)
}

// outcome is a measurement with what it cost the processes that carried it.
type outcome struct {
	result
	network, qemu float64 // seconds of processor time
	// others is the share of the machine that everything else used meanwhile.
	others float64
}

// client measures t from a process of its own.
func (b *bench) client(ctx context.Context, t *target, args ...string) (outcome, error) {
	if err := b.calm(ctx); err != nil {
		return outcome{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, b.span+2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.self, append([]string{"client", "-to", t.addr, "-span", b.span.String()}, args...)...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var o outcome
	net0, err1 := cpu(t.network)
	qemu0, err2 := cpu(t.qemu)
	all0, err3 := busy()
	began := time.Now()
	if err := errors.Join(err1, err2, err3, t.ns.do(cmd.Start)); err != nil {
		return o, fmt.Errorf("%s: %w", t.name, err)
	}
	if err := cmd.Wait(); err != nil {
		return o, fmt.Errorf("%s: %s: %w: %s", t.name, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	net1, err1 := cpu(t.network)
	qemu1, err2 := cpu(t.qemu)
	all1, err3 := busy()
	o.network, o.qemu = net1-net0, qemu1-qemu0
	own := o.network + o.qemu + (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	o.others = max(0, share(all1-all0-own, time.Since(began)))
	return o, errors.Join(err1, err2, err3, json.Unmarshal([]byte(stdout.String()), &o.result))
}

// holding opens n connections to t, calls f and closes them.
func (b *bench) holding(ctx context.Context, t *target, n int, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.self, "client", "-to", t.addr, "-test", "hold", "-conns", strconv.Itoa(n))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := t.ns.do(cmd.Start); err != nil {
		return err
	}
	word := make([]byte, len("open\n"))
	if _, err := io.ReadFull(out, word); err != nil {
		_ = cmd.Wait()
		return fmt.Errorf("hold %d connections to %s: %w: %s", n, t.name, err, stderr.String())
	}
	err = f()
	in.Close()
	return errors.Join(err, cmd.Wait())
}
