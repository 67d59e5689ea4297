//go:build linux

package disk

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Kernel is the System of a real machine.
type Kernel struct {
	// Execute runs a command to its end.
	Execute func(*exec.Cmd) error
}

// Run implements System.
func (k Kernel) Run(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := k.Execute(cmd)
	return out.String(), err
}

// Mount implements System. Of the options, those that the kernel takes as flags
// are noatime and ro.
func (Kernel) Mount(source, target, fstype, options string) error {
	if err := os.MkdirAll(target, 0o711); err != nil {
		return err
	}
	if fstype == "" {
		return unix.Mount(source, target, "", unix.MS_BIND, "")
	}
	var flags uintptr
	var data []string
	for _, o := range strings.Split(options, ",") {
		switch o {
		case "noatime":
			flags |= unix.MS_NOATIME
		case "ro":
			flags |= unix.MS_RDONLY
		default:
			data = append(data, o)
		}
	}
	return unix.Mount(source, target, fstype, flags, strings.Join(data, ","))
}

// extResize is EXT4_IOC_RESIZE_FS, _IOW('f', 16, __u64).
// Source: Linux, include/uapi/linux/ext4.h.
const extResize = 1<<30 | 8<<16 | 'f'<<8 | 16

// Resize implements System.
func (Kernel) Resize(target string, blocks uint64) error {
	d, err := os.Open(target)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, d.Fd(), extResize, uintptr(unsafe.Pointer(&blocks))); errno != 0 {
		return fmt.Errorf("grow the file system to %d blocks: %w", blocks, errno)
	}
	return nil
}
