package bootstrap

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"arcbox/adapters/cli"
)

const hostCommandTimeout = 3 * time.Second

// lowDisk is how little free space is told as a problem, in bytes.
const lowDisk = 2 << 30

// hostFacts are what a bug report says of this computer.
type hostFacts struct{ config Config }

// Home is the user's directory, "" for none.
func (h *hostFacts) Home() string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return home
}

// Facts starts nothing that lasts: version commands, and files that are read.
func (h *hostFacts) Facts(ctx context.Context) []cli.Fact {
	var facts []cli.Fact
	add := func(name, value, problem string) {
		if value != "" {
			facts = append(facts, cli.Fact{Name: name, Value: value, Problem: problem})
		}
	}
	add("system", osName(), "")
	add("kernel", commandLine(ctx, "uname", "-srm"), "")
	add("processors", fmt.Sprint(runtime.NumCPU()), "")
	add("memory", fmt.Sprintf("%d MiB", hostMemory()), "")
	var fs unix.Statfs_t
	if dir := existing(h.config.DataDir); unix.Statfs(dir, &fs) == nil {
		free, problem := fs.Bavail*uint64(fs.Bsize), ""
		if free < lowDisk {
			problem = "little space is left for the machine's disk"
		}
		add("free disk space", fmt.Sprintf("%d MiB in %s", free>>20, dir), problem)
	}
	if runtime.GOOS == "linux" {
		value, problem := kvmState()
		add("/dev/kvm", value, problem)
		qemu := map[string]string{"amd64": "qemu-system-x86_64", "arm64": "qemu-system-aarch64"}[runtime.GOARCH]
		if version := firstLine(commandLine(ctx, qemu, "--version")); version != "" {
			add(qemu, version, "")
		} else {
			add(qemu, "not found", "the virtual machine needs it")
		}
	}
	add("docker client", firstLine(commandLine(ctx, "docker", "--version")), "")
	return facts
}

func kvmState() (value, problem string) {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return "not usable", err.Error() + ", so the processor is emulated"
	}
	_ = f.Close()
	return "can be opened", ""
}

// existing is the nearest directory of path that exists.
func existing(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

func osName() string {
	data, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return runtime.GOOS
	}
	for line := range strings.Lines(string(data)) {
		if name, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			return strings.Trim(strings.TrimSpace(name), `"`)
		}
	}
	return runtime.GOOS
}

// commandLine is what a program prints; "" when it fails or takes long.
func commandLine(ctx context.Context, name string, args ...string) string {
	ctx, cancel := context.WithTimeout(ctx, hostCommandTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
