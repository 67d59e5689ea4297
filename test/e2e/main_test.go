// Package e2e drives a real virtual machine (our kernel, agent and engine) with
// the real docker client. One machine serves all tests that leave it as they
// found it; those that break it bring it back, or have a daemon of their own.
package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// binEnv names the directory with arcbox, docker and cli-plugins.
const binEnv = "ARCBOX_TEST_BIN"

// shared is the daemon of the tests that need none of their own.
var shared *daemon

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Getenv(binEnv) == "" {
		fmt.Fprintln(os.Stderr, "set "+binEnv+" to the clone's bin directory, or use make e2e")
		return 1
	}
	d, err := newDaemon("shared")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer d.remove()
	began := time.Now()
	if err := d.start("--wait"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		d.show(os.Stderr)
		return 1
	}
	fmt.Fprintf(os.Stderr, "machine and engine after %.1f s\n", time.Since(began).Seconds())
	for _, image := range []string{"demo", "busybox", "web"} {
		if out, err := d.docker(context.Background(), "load", "-i", d.image(image)); err != nil {
			fmt.Fprintln(os.Stderr, out, err)
			d.show(os.Stderr)
			return 1
		}
	}
	shared = d
	code := m.Run()
	if code != 0 {
		d.show(os.Stderr)
	}
	return code
}

// daemon is one daemon on a data directory of its own.
type daemon struct {
	bin, data, config string
	dnsPort           string
	extra             []string // environment, K=V
}

// newDaemon makes a data directory whose path is short enough for sockets.
func newDaemon(name string) (*daemon, error) {
	dir, err := os.MkdirTemp("", "arcbox-e2e-"+name+"-")
	if err != nil {
		return nil, err
	}
	port, err := freeUDP()
	if err != nil {
		return nil, err
	}
	return &daemon{bin: os.Getenv(binEnv), data: filepath.Join(dir, "d"), config: filepath.Join(dir, "docker"), dnsPort: port}, nil
}

// freeUDP returns a datagram port of the host's loopback that nobody has.
func freeUDP() (string, error) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer c.Close()
	_, port, err := net.SplitHostPort(c.LocalAddr().String())
	return port, err
}

func (d *daemon) remove() {
	if out, err := d.arcbox(context.Background(), "daemon", "stop"); err != nil {
		fmt.Fprintln(os.Stderr, out, err)
		_, _ = d.arcbox(context.Background(), "daemon", "stop", "--force")
	}
	_ = os.RemoveAll(filepath.Dir(d.data))
}

func (d *daemon) image(name string) string {
	return filepath.Join(filepath.Dir(d.bin), "build", "images", name+".tar")
}

func (d *daemon) socket() string { return filepath.Join(d.data, "run", "docker.sock") }

func (d *daemon) env() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "DOCKER_") && !strings.HasPrefix(kv, "ARCBOX_") {
			env = append(env, kv)
		}
	}
	return append(append(env, "ARCBOX_DATA_DIR="+d.data, "DOCKER_HOST=unix://"+d.socket(), "DOCKER_CONFIG="+d.config, "DOCKER_CLI_HINTS=false", "ARCBOX_NETWORK__DNS_PORT="+d.dnsPort), d.extra...)
}

// command is a client's process, ready to start.
func (d *daemon) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(d.bin, program), args...)
	cmd.Env = d.env()
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// commandTimeout bounds one client command; machines are emulated here.
const commandTimeout = 5 * time.Minute

func (d *daemon) run(ctx context.Context, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	var stdout, stderr strings.Builder
	cmd := d.command(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w\n%s%s", program, strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

func (d *daemon) arcbox(ctx context.Context, args ...string) (string, error) {
	return d.run(ctx, "arcbox", args...)
}

func (d *daemon) docker(ctx context.Context, args ...string) (string, error) {
	return d.run(ctx, "docker", args...)
}

func (d *daemon) start(flags ...string) error {
	_, err := d.arcbox(context.Background(), append([]string{"daemon", "start"}, flags...)...)
	return err
}

// status is the output of arcbox daemon status --format json.
type status struct {
	Running       bool   `json:"running"`
	PID           int    `json:"pid"`
	Phase         string `json:"phase"`
	State         string `json:"state"`
	UptimeSeconds *int64 `json:"uptime_seconds"`
	DockerSocket  string `json:"docker_socket"`
	GRPCSocket    string `json:"grpc_socket"`
	Error         string `json:"error"`
}

// status returns the state and the exit code of the command.
func (d *daemon) status() (status, int, error) {
	out, err := d.arcbox(context.Background(), "daemon", "status", "--format", "json")
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		return status{}, 0, err
	}
	var st status
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		return status{}, code, fmt.Errorf("status %q: %w", out, err)
	}
	return st, code, nil
}

// show writes what one wants to see of a daemon that a test failed on.
func (d *daemon) show(w *os.File) {
	for _, component := range []string{"daemon", "agent", "dockerd", "containerd", "kernel"} {
		fmt.Fprintf(w, "==== %s\n", component)
		out, err := d.arcbox(context.Background(), "logs", "-c", component, "-n", "60")
		fmt.Fprintln(w, out, err)
	}
}

// docker runs the docker client on the shared machine and returns its output;
// anything but success ends the test.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := shared.docker(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// refused runs the docker client, which has to fail, and returns its error.
func refused(t *testing.T, args ...string) error {
	t.Helper()
	out, err := shared.docker(t.Context(), args...)
	if err == nil {
		t.Fatalf("docker %s succeeded: %s", strings.Join(args, " "), out)
	}
	return err
}

// started runs a container in the background until the test ends.
func started(t *testing.T, args ...string) (id string) {
	t.Helper()
	id = strings.TrimSpace(docker(t, append([]string{"run", "-d"}, args...)...))
	t.Cleanup(func() { _, _ = shared.docker(context.WithoutCancel(t.Context()), "rm", "-f", "-v", id) })
	return id
}

// afterwards runs the docker client when the test has ended; it may fail, as
// the test may have done so before.
func afterwards(t *testing.T, args ...string) {
	t.Helper()
	t.Cleanup(func() { _, _ = shared.docker(context.WithoutCancel(t.Context()), args...) })
}

// eventually waits until f is content; f says what is missing meanwhile.
func eventually(t *testing.T, within time.Duration, f func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s: %v", within, err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}
