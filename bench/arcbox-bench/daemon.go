package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// bench is a daemon on a data directory of its own, and what was measured.
type bench struct {
	options
	dir    string
	env    []string
	report *report
}

func newBench(o options) (*bench, error) {
	dir, err := os.MkdirTemp("", "arcbox-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{options: o, dir: dir, report: newReport()}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "ARCBOX_") && !strings.HasPrefix(kv, "DOCKER_") {
			b.env = append(b.env, kv)
		}
	}
	b.env = append(b.env, "ARCBOX_DATA_DIR="+b.data(), "DOCKER_HOST=unix://"+b.socket(), "DOCKER_CONFIG="+filepath.Join(dir, "docker"))
	version, err := b.do(context.Background(), "arcbox", "version")
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	b.report.Machine["arcbox"] = strings.TrimSpace(version)
	return b, nil
}

// remove ends the daemon and deletes its data, also after an interruption.
func (b *bench) remove() {
	if _, err := b.do(context.Background(), "arcbox", "daemon", "stop", "--force"); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	_ = os.RemoveAll(b.dir)
}

func (b *bench) data() string   { return filepath.Join(b.dir, "d") }
func (b *bench) socket() string { return filepath.Join(b.data(), "run", "docker.sock") }
func (b *bench) log(component string) string {
	return filepath.Join(b.data(), "log", component+".log")
}

// image is the path of an image that the guest's build leaves.
func (b *bench) image(name string) string {
	return filepath.Join(filepath.Dir(filepath.Clean(b.bin)), "build", "images", name+".tar")
}

func (b *bench) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(b.bin, program), args...)
	cmd.Env = b.env
	return cmd
}

// commandTimeout bounds one command: the machine is emulated here.
const commandTimeout = 10 * time.Minute

func (b *bench) do(ctx context.Context, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	var stdout, stderr strings.Builder
	cmd := b.command(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

// up starts the daemon if it does not run, and waits until the engine answers.
func (b *bench) up(ctx context.Context) error {
	_, err := b.do(ctx, "arcbox", "daemon", "start", "--wait")
	return err
}

// down stops the daemon, and deletes its logs so that the next start's are alone.
func (b *bench) down(ctx context.Context) error {
	if _, err := b.do(ctx, "arcbox", "daemon", "stop"); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(b.data(), "log"))
}

// event is a line of the daemon's log.
type event struct {
	Time  time.Time `json:"time"`
	Msg   string    `json:"msg"`
	To    string    `json:"to"`
	Event string    `json:"event"`
	PID   int       `json:"pid"`
}

// events are those of the daemon's log so far.
func (b *bench) events() ([]event, error) {
	text, err := os.ReadFile(b.log("daemon"))
	if err != nil {
		return nil, err
	}
	var events []event
	for line := range strings.Lines(string(text)) {
		var e event
		if json.Unmarshal([]byte(line), &e) == nil {
			events = append(events, e)
		}
	}
	return events, nil
}

// find waits until the daemon has logged an event that f takes.
func (b *bench) find(ctx context.Context, what string, f func(event) bool) (event, error) {
	var found event
	err := poll(ctx, what, 2*time.Minute, func() bool {
		events, err := b.events()
		if err != nil {
			return false
		}
		for _, e := range events {
			if f(e) {
				found = e
				return true
			}
		}
		return false
	})
	return found, err
}

// poll asks every few milliseconds until f is true.
func poll(ctx context.Context, what string, within time.Duration, f func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// pause waits without doing anything, which is what an idle figure is about.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
