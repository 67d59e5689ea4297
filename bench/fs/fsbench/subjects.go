//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// subject is a file system inside a machine.
type subject struct {
	name, note string
	// measure returns the output of fswork measure.
	measure func(context.Context, *bench) (string, error)
}

// Names of the subjects that goals speak of.
const (
	ownShare  = "share"
	ownDisk   = "disk"
	ninePLima = "9p"
)

func subjects() []subject {
	return []subject{
		{ownShare, "a directory of the host in a container of ArcBox", func(ctx context.Context, b *bench) (string, error) {
			return b.arcbox.measure(ctx, b, b.share(ownShare))
		}},
		{ownDisk, "a volume in a container of ArcBox: the machine's own disk", func(ctx context.Context, b *bench) (string, error) {
			return b.arcbox.measure(ctx, b, volume)
		}},
		{ninePLima, "QEMU's 9p as Lima mounts what is writable: 128 KiB a message, cache=mmap", ninep("9p", "trans=virtio,version=9p2000.L,msize=131072,cache=mmap")},
		{"9p-loose", "QEMU's 9p with 512 KiB a message and cache=loose, which does not see edits on the host", ninep("9p-loose", "trans=virtio,version=9p2000.L,msize=512000,cache=loose")},
		{"virtiofsd", "the distribution's virtiofsd with cache=auto", virtiofsd("auto")},
		{"virtiofsd-none", "the same with cache=none", virtiofsd("none")},
	}
}

func subjectNames() []string {
	var names []string
	for _, s := range subjects() {
		names = append(names, s.name)
	}
	return names
}

// share is the directory of the host that a subject has.
func (b *bench) share(name string) string { return filepath.Join(b.dir, "shares", name) }

// prepareTrees makes the tree for git once, and a copy for each subject that
// has a directory of the host.
func (b *bench) prepareTrees(ctx context.Context) error {
	master := filepath.Join(b.dir, "master")
	if err := os.Mkdir(master, 0o755); err != nil { //nolint:gosec // read by guests
		return err
	}
	progress("making a tree of %d files", b.tree)
	if err := execute(ctx, filepath.Join(b.out, "fswork"), "tree", "-dir", master, "-files", fmt.Sprint(b.tree)); err != nil {
		return err
	}
	for _, s := range subjects() {
		dir := b.share(s.name)
		if s.name == ownDisk {
			continue
		}
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // read by guests
			return err
		}
		if err := execute(ctx, "cp", "-a", master+"/.", dir); err != nil {
			return err
		}
	}
	return nil
}

func execute(ctx context.Context, program string, args ...string) error {
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, out)
	}
	return nil
}

func ninep(name, options string) func(context.Context, *bench) (string, error) {
	return func(ctx context.Context, b *bench) (string, error) {
		return b.boot(ctx, peer{name: name, fs: "9p", options: options, qemu: []string{
			"-fsdev", "local,id=fs,path=" + b.share(name) + ",security_model=none,multidevs=remap",
			"-device", "virtio-9p-pci,fsdev=fs,mount_tag=peer",
		}})
	}
}

// virtiofsd is the program of Debian's package: one in C with QEMU, up to
// Debian 12, or the newer one in Rust.
func virtiofsd(cache string) func(context.Context, *bench) (string, error) {
	return func(ctx context.Context, b *bench) (string, error) {
		name := "virtiofsd"
		if cache != "auto" {
			name += "-" + cache
		}
		if os.Geteuid() != 0 {
			return "", fmt.Errorf("virtiofsd runs as root only")
		}
		socket := filepath.Join(b.dir, name+".sock")
		_ = os.Remove(socket)
		program, args := "/usr/libexec/virtiofsd", []string{"--socket-path", socket, "--shared-dir", b.share(name), "--cache", cache}
		if _, err := os.Stat(program); err != nil {
			program, args = "/usr/lib/qemu/virtiofsd", []string{"--socket-path=" + socket, "-o", "source=" + b.share(name), "-o", "cache=" + cache}
		}
		p, err := b.start(name, program, args...)
		if err != nil {
			return "", err
		}
		defer p.stop()
		err = p.await(ctx, "its socket", 10*time.Second, func() bool { _, err := os.Stat(socket); return err == nil })
		if err != nil {
			return "", err
		}
		return b.boot(ctx, peer{name: name, fs: "virtiofs", qemu: []string{
			"-chardev", "socket,id=fs,path=" + socket, "-device", "vhost-user-fs-pci,chardev=fs,tag=peer,queue-size=1024",
		}})
	}
}
