//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"arcbox/domain"
)

// image holds guestpeer.
const image = "arcbox/bench-netpeer"

// arcbox is a daemon on a data directory of its own.
type arcbox struct {
	bin     string
	dir     string
	env     []string
	process *process
	daemon  int // process id
	qemu    int
	machine machine
}

// startArcBox starts the daemon, waits for the engine and loads the image.
func startArcBox(ctx context.Context, b *bench) (_ *arcbox, err error) {
	dir, err := os.MkdirTemp("", "netbench-arcbox-")
	if err != nil {
		return nil, err
	}
	a := &arcbox{bin: b.bin, dir: dir}
	defer func() {
		if err != nil {
			a.remove()
		}
	}()
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "ARCBOX_") && !strings.HasPrefix(kv, "DOCKER_") {
			a.env = append(a.env, kv)
		}
	}
	data := filepath.Join(dir, "d")
	a.env = append(a.env, "ARCBOX_DATA_DIR="+data, "DOCKER_HOST=unix://"+filepath.Join(data, "run", "docker.sock"),
		"DOCKER_CONFIG="+filepath.Join(dir, "docker"), "ARCBOX_NETWORK__DNS_PORT=0")
	progress("starting ArcBox")
	daemon := exec.Command(filepath.Join(b.bin, "arcbox"), "daemon", "start", "--foreground")
	daemon.Env = a.env
	if a.process, err = b.startCommand(nil, "daemon", daemon); err != nil {
		return nil, err
	}
	a.daemon = a.process.pid()
	socket := filepath.Join(data, "run", "docker.sock")
	if err := a.process.await(ctx, "its socket", 30*time.Second, exists(socket)); err != nil {
		return nil, err
	}
	if _, err := a.do(ctx, "arcbox", "daemon", "start", "--wait"); err != nil {
		return nil, err
	}
	if a.qemu, err = onlyChild(a.daemon); err != nil {
		return nil, err
	}
	if err := a.findMachine(); err != nil {
		return nil, err
	}
	_, err = a.do(ctx, "docker", "import", "-c", `ENTRYPOINT ["/guestpeer"]`, filepath.Join(b.out, "image.tar"), image)
	return a, err
}

// remove ends the daemon and deletes its data, also after an interruption.
func (a *arcbox) remove() {
	if a.process != nil {
		if _, err := a.do(context.Background(), "arcbox", "daemon", "stop", "--force"); err != nil {
			fmt.Fprintln(os.Stderr, "netbench:", err)
		}
		a.process.stop()
	}
	_ = os.RemoveAll(a.dir)
}

// commandTimeout bounds one command: the machine may be emulated, and
// publishing hundreds of ports takes long.
const commandTimeout = 15 * time.Minute

func (a *arcbox) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(a.bin, program), args...)
	cmd.Env = a.env
	return cmd
}

func (a *arcbox) do(ctx context.Context, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	var stdout, stderr strings.Builder
	cmd := a.command(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(stdout.String()), nil
}

// findMachine takes from QEMU's arguments what the peers' guests are to have.
func (a *arcbox) findMachine() error {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", a.qemu))
	if err != nil {
		return err
	}
	argv := strings.Split(string(text), "\x00")
	a.machine = machine{program: argv[0], accelerator: domain.AcceleratorTCG}
	for i, word := range argv[:len(argv)-1] {
		switch value := argv[i+1]; word {
		case "-kernel":
			a.machine.kernel = value
		case "-smp":
			if a.machine.cpus, err = strconv.Atoi(value); err != nil {
				return fmt.Errorf("-smp %s: %w", value, err)
			}
		case "-accel":
			if value == "kvm" {
				a.machine.accelerator = domain.AcceleratorKVM
			}
		}
	}
	return nil
}

// arcboxName is the column of a published port, and of a container that shares
// the guest's network: the difference is the guest's bridge.
func arcboxName(hostNetwork bool) string {
	if hostNetwork {
		return "arcbox, --network host"
	}
	return "arcbox"
}

// publish runs guestpeer with one published port.
func (a *arcbox) publish(ctx context.Context, b *bench, hostNetwork bool) (*target, error) {
	t := &target{name: arcboxName(hostNetwork), network: a.daemon, qemu: a.qemu}
	port, err := t.onLoopback()
	if err != nil {
		return nil, err
	}
	at, inside := []string{"-p", fmt.Sprintf("127.0.0.1:%d:%d", port, guestPort)}, guestPort
	if hostNetwork {
		at, inside = []string{"--network", "host"}, port
	}
	id, err := a.do(ctx, "docker", append(append([]string{"run", "-d"}, at...), image, "serve", strconv.Itoa(inside))...)
	if err != nil {
		return nil, err
	}
	t.atStop(func() {
		if err := a.discard(context.WithoutCancel(ctx), id); err != nil {
			fmt.Fprintln(os.Stderr, "netbench:", err)
		}
	})
	if err := b.answers(ctx, t); err != nil {
		t.stop()
		return nil, err
	}
	return t, nil
}

func (a *arcbox) discard(ctx context.Context, id string) error {
	_, err := a.do(ctx, "docker", "rm", "-f", id)
	return err
}
