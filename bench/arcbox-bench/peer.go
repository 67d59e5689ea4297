package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// peer is QEMU with Debian's own kernel, initramfs and systemd. It is booted
// without boot loader and cloud-init, with a quiet console, and off a disk that
// has booted before: all of that is in its favour.
type peer struct {
	program string
	shared  []string // the options that are ArcBox's
	dir     string
	release string
}

// newPeer takes machine, processor and memory from the QEMU of ArcBox's run.
func newPeer(dir string, pid int) (*peer, error) {
	if dir == "" {
		return nil, errors.New("the boot's peer is missing: give -debian")
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return nil, err
	}
	release, err := os.ReadFile(filepath.Join(dir, "release"))
	if err != nil {
		return nil, err
	}
	argv := strings.Split(string(text), "\x00")
	p := &peer{program: argv[0], dir: dir, release: strings.TrimSpace(string(release))}
	for i := 1; i+1 < len(argv); i++ {
		value := argv[i+1]
		switch argv[i] {
		case "-machine", "-accel", "-cpu", "-smp", "-m":
			p.shared = append(p.shared, argv[i], value)
		case "-object":
			if strings.HasPrefix(value, "memory-backend") {
				p.shared = append(p.shared, argv[i], value)
			}
		}
	}
	return p, nil
}

type peerBoot struct {
	ready     float64 // seconds from QEMU's start
	userspace float64 // seconds of the guest's clock until systemd started
}

var userspaceAt = regexp.MustCompile(`UserspaceTimestampMonotonic=(\d+)`)

func (p *peer) boot(ctx context.Context) (peerBoot, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	args := append([]string{"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"}, p.shared...)
	args = append(args,
		"-kernel", filepath.Join(p.dir, "kernel"), "-initrd", filepath.Join(p.dir, "initrd"),
		"-append", "root=/dev/vda ro console=ttyS0 quiet",
		"-drive", "if=none,id=disk,format=raw,snapshot=on,file="+filepath.Join(p.dir, "disk.img"), "-device", "virtio-blk-pci,drive=disk",
		"-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=",
		"-object", "rng-builtin,id=rng", "-device", "virtio-rng-pci,rng=rng",
		"-serial", "stdio",
	)
	cmd := exec.CommandContext(ctx, p.program, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return peerBoot{}, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return peerBoot{}, err
	}
	var boot peerBoot
	var last []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		line := lines.Text()
		last = append(last[max(0, len(last)-9):], line)
		if strings.Contains(line, "bench-ready") {
			boot.ready = time.Since(began).Seconds()
		}
		if m := userspaceAt.FindStringSubmatch(line); m != nil {
			us, _ := strconv.Atoi(m[1]) // digits
			boot.userspace = float64(us) / 1e6
		}
		if strings.Contains(line, "bench-end") {
			break
		}
	}
	_ = cmd.Process.Kill() // its disk is a snapshot
	_ = cmd.Wait()
	if boot.ready == 0 || boot.userspace == 0 {
		return boot, fmt.Errorf("the peer did not boot; its console ends with\n%s", strings.Join(last, "\n"))
	}
	return boot, nil
}
