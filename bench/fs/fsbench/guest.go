//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"arcbox/adapters/kvm"
	"arcbox/domain"
)

// machine is what every guest has in common with ArcBox's.
type machine struct {
	program     string // QEMU
	kernel      string
	accelerator domain.Accelerator
	cpus        int
}

// peer is a guest without an engine that has a directory of the host.
type peer struct {
	name, fs, options string
	qemu              []string // what gives the machine the file system with the tag "peer"
}

const (
	bootLimit    = 2 * time.Minute
	measureLimit = 30 * time.Minute
)

// boot starts a peer's guest and returns its console once everything is
// measured. The machine is the one that the daemon would start, less what a
// guest without an engine does not need.
func (b *bench) boot(ctx context.Context, p peer) (string, error) {
	m := b.arcbox.machine
	cmdline := fmt.Sprintf("console=ttyS0 quiet root=/dev/vda ro rootfstype=erofs panic=-1 init=/init peer.fs=%s peer.options=%s peer.mib=%d peer.files=%d peer.random=%d peer.only=%s",
		p.fs, p.options, b.mib, b.files, b.random, b.only)
	var r kvm.Resources
	r.Arch, r.Accelerator = kvm.ArchAMD64, m.accelerator
	args := kvm.Args(domain.VMPlan{
		Name: domain.MachineName(p.name), CPUs: m.cpus, Memory: domain.MiB(b.memory), Kernel: m.kernel, Cmdline: cmdline, //nolint:gosec // a small number
		Disks: []domain.Disk{{Path: filepath.Join(b.out, "root.erofs"), ReadOnly: true}},
	}, r)
	args = slices.DeleteFunc(args, func(a string) bool { return a == "-S" })
	console := filepath.Join(b.dir, p.name+".console")
	_ = os.Remove(console)
	args = slices.Concat(args, p.qemu, []string{"-chardev", "file,id=console,path=" + console, "-serial", "chardev:console"})
	process, err := b.start(p.name+"-qemu", m.program, args...)
	if err != nil {
		return "", err
	}
	defer process.stop()
	says := func(word string) func() bool {
		return func() bool {
			text, _ := os.ReadFile(console)
			return strings.Contains(string(text), "fswork: "+word) || strings.Contains(string(text), "fswork: failed")
		}
	}
	if err := process.await(ctx, "the guest's first word", bootLimit, says("ready")); err != nil {
		return "", fmt.Errorf("%w; console: %s", err, tail(console))
	}
	if err := process.await(ctx, "the guest's last word", measureLimit, says("done")); err != nil {
		return "", fmt.Errorf("%w; console: %s", err, tail(console))
	}
	text, err := os.ReadFile(console)
	if err == nil && !strings.Contains(string(text), "fswork: done") {
		err = fmt.Errorf("the guest says: %s", tail(console))
	}
	return string(text), err
}
