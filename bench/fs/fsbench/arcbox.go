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

// image holds fswork, git and Node.js; volume is on the machine's own disk.
const (
	image  = "arcbox/bench-files"
	volume = "bench-files"
)

// arcbox is a daemon on a data directory of its own.
type arcbox struct {
	bin, dir string
	env      []string
	process  *process
	machine  machine
}

// startArcBox starts the daemon, waits for the engine, loads the image and
// unpacks the tree into the volume.
func startArcBox(ctx context.Context, b *bench) (_ *arcbox, err error) {
	dir, err := os.MkdirTemp("", "fsbench-arcbox-")
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
		"DOCKER_CONFIG="+filepath.Join(dir, "docker"), "ARCBOX_NETWORK__DNS_PORT=0", "ARCBOX_VM__MOUNTS="+filepath.Join(b.dir, "shares"),
		"ARCBOX_VM__MEMORY_MB="+strconv.Itoa(b.memory))
	progress("starting ArcBox")
	if a.process, err = b.startCommand("daemon", a.command(context.WithoutCancel(ctx), "arcbox", "daemon", "start", "--foreground")); err != nil {
		return nil, err
	}
	socket := filepath.Join(data, "run", "docker.sock")
	if err := a.process.await(ctx, "its socket", 30*time.Second, func() bool { _, err := os.Stat(socket); return err == nil }); err != nil {
		return nil, err
	}
	if _, err := a.do(ctx, nil, "arcbox", "daemon", "start", "--wait"); err != nil {
		return nil, err
	}
	if err := a.findMachine(); err != nil {
		return nil, err
	}
	if _, err := a.do(ctx, nil, "docker", "import", "-c", "ENV PATH=/opt/dev/node_modules/.bin:/usr/bin:/usr/sbin:/bin", filepath.Join(b.out, "image.tar"), image); err != nil {
		return nil, err
	}
	progress("unpacking the tree into the volume")
	pack := exec.CommandContext(ctx, "tar", "-C", filepath.Join(b.dir, "master"), "-c", ".")
	_, err = a.do(ctx, pack, "docker", "run", "--rm", "-i", "-v", volume+":/srv", image, "tar", "-x", "-C", "/srv")
	return a, err
}

// measure runs all measurements in a container that has source at /srv. It may
// drop the guest's caches, so it is privileged.
func (a *arcbox) measure(ctx context.Context, b *bench, source string) (string, error) {
	return a.do(ctx, nil, "docker", "run", "--rm", "--privileged", "-v", source+":/srv", image, "/init", "measure", "-dir", "/srv",
		"-mib", strconv.Itoa(b.mib), "-files", strconv.Itoa(b.files), "-random", strconv.Itoa(b.random), "-only", b.only)
}

// remove ends the daemon and deletes its data, also after an interruption.
func (a *arcbox) remove() {
	if a.process != nil {
		if _, err := a.do(context.Background(), nil, "arcbox", "daemon", "stop", "--force"); err != nil {
			fmt.Fprintln(os.Stderr, "fsbench:", err)
		}
		a.process.stop()
	}
	_ = os.RemoveAll(a.dir)
}

func (a *arcbox) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(a.bin, program), args...)
	cmd.Env = a.env
	return cmd
}

// do runs a program, with the output of another one as its input.
func (a *arcbox) do(ctx context.Context, input *exec.Cmd, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, measureLimit)
	defer cancel()
	var stdout, stderr strings.Builder
	cmd := a.command(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if input != nil {
		pipe, err := input.StdoutPipe()
		if err != nil {
			return "", err
		}
		cmd.Stdin = pipe
		if err := input.Start(); err != nil {
			return "", err
		}
		defer func() { _ = input.Wait() }()
	}
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// findMachine takes from the arguments of the daemon's QEMU what the peers'
// guests are to have.
func (a *arcbox) findMachine() error {
	pid := a.process.pid()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return err
	}
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	for _, f := range files {
		line, err := os.ReadFile(f)
		if err == nil && strings.Contains(string(line), "qemu-system") && strings.Contains(string(line), a.dir) {
			return a.readMachine(strings.Split(string(line), "\x00"))
		}
	}
	return fmt.Errorf("the daemon, process %d with the children %q, has no QEMU", pid, text)
}

func (a *arcbox) readMachine(argv []string) (err error) {
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
