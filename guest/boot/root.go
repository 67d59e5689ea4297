//go:build linux

package boot

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// rootLimits bound what changes to the root take: they are in memory, and are
// no more than mount points and small files of /etc.
const rootLimits = "mode=0755,size=64m,nr_inodes=65536"

// The places of the new root before it is the root.
const (
	scratch   = "/mnt"
	upperDir  = scratch + "/upper"
	workDir   = scratch + "/work"
	nextRoot  = scratch + "/root"
	rootInfo  = "lowerdir=/,upperdir=" + upperDir + ",workdir=" + workDir
	oldRoot   = "." // below the new one, for a moment
	mountInfo = "/proc/self/mountinfo"
)

// WritableRoot replaces a root that cannot be written by one that keeps changes
// in memory, with what is mounted on the old one: the host's directories are
// mounted where the host has them, and the image cannot know where. It is called
// once, before anything else runs; where the root can be written, it does
// nothing. On failure the old root stays.
func WritableRoot() error {
	if writable("/") {
		return nil
	}
	if err := replaceRoot(); err != nil {
		return fmt.Errorf("make the root file system writable: %w", err)
	}
	return nil
}

func replaceRoot() error {
	text, err := os.ReadFile(mountInfo)
	if err != nil {
		return err
	}
	if err := unix.Mount("root", scratch, "tmpfs", 0, rootLimits); err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", scratch, err)
	}
	undo := func(err error) error { _ = unix.Unmount(scratch, unix.MNT_DETACH); return err }
	for _, d := range []string{upperDir, workDir, nextRoot} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return undo(err)
		}
	}
	if err := unix.Mount("overlay", nextRoot, "overlay", 0, rootInfo); err != nil {
		return undo(fmt.Errorf("mount overlay on %s: %w", nextRoot, err))
	}
	var moved []string
	back := func(err error) error {
		for _, m := range moved {
			_ = unix.Mount(nextRoot+m, m, "", unix.MS_MOVE, "")
		}
		return undo(err)
	}
	for _, m := range tops(ParseMountinfo(string(text))) {
		if err := unix.Mount(m, nextRoot+m, "", unix.MS_MOVE, ""); err != nil {
			return back(fmt.Errorf("move %s: %w", m, err))
		}
		moved = append(moved, m)
	}
	// With the same directory twice the old root ends up over the new one, from
	// where it is taken away; see pivot_root(2).
	if err := os.Chdir(nextRoot); err != nil {
		return back(err)
	}
	if err := unix.PivotRoot(".", oldRoot); err != nil {
		return back(errors.Join(fmt.Errorf("pivot_root: %w", err), os.Chdir("/")))
	}
	if err := unix.Unmount(oldRoot, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("take the old root away: %w", err)
	}
	return os.Chdir("/")
}

// tops returns where mounts are that are on no other one but the root's: those
// that take all the others along.
func tops(mounts []Mount) []string {
	var out []string
	for _, m := range mounts {
		if m.Target == "/" {
			continue
		}
		inner := false
		for _, o := range out {
			inner = inner || len(under([]Mount{m}, o)) > 0
		}
		if !inner {
			out = append(out, m.Target)
		}
	}
	return out
}

// ownDir is the agent's.
const ownDir = "/run/arcbox"

// ShareMounts lets mounts that the guest makes later, and containers that ask
// for it, see each other's, as every distribution has it: the kernel starts with
// none shared. What is mounted below the agent's own directory is left out:
// binds of it, such as dockerd's directory on the data disk, would see each
// other's, and every mount of a container would be there twice. Nothing can
// replace the root after it.
func ShareMounts() error {
	if err := os.MkdirAll(ownDir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(ownDir, ownDir, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", ownDir, err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share mounts: %w", err)
	}
	if err := unix.Mount("", ownDir, "", unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts below %s apart: %w", ownDir, err)
	}
	return nil
}
