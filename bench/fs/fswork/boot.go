//go:build linux

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// boot is process 1. Words of the kernel command line that it knows:
//
//	peer.fs=TYPE           virtiofs or 9p, with the tag "peer"
//	peer.options=OPTIONS   of the mount, "" for none
//	peer.mib=N peer.files=N peer.random=N peer.only=PART,...
func boot() error {
	for _, m := range []struct{ source, at, kind string }{
		{"proc", "/proc", "proc"}, {"sysfs", "/sys", "sysfs"}, {"devtmpfs", "/dev", "devtmpfs"}, {"tmpfs", "/run", "tmpfs"}, {"tmpfs", "/tmp", "tmpfs"},
	} {
		if err := syscall.Mount(m.source, m.at, m.kind, 0, ""); err != nil && err != syscall.EBUSY {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	text, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	words := map[string]string{}
	for _, w := range strings.Fields(string(text)) {
		key, value, _ := strings.Cut(w, "=")
		words[key] = value
	}
	o := options{dir: "/srv"}
	for key, to := range map[string]*int{"peer.mib": &o.mib, "peer.files": &o.files, "peer.random": &o.random} {
		if *to, err = strconv.Atoi(words[key]); err != nil {
			return fmt.Errorf("%s=%s: %w", key, words[key], err)
		}
	}
	if words["peer.only"] != "" {
		o.only = strings.Split(words["peer.only"], ",")
	}
	if err := syscall.Mount("peer", o.dir, words["peer.fs"], 0, words["peer.options"]); err != nil {
		return fmt.Errorf("mount %s with %q: %w", words["peer.fs"], words["peer.options"], err)
	}
	if err := os.Setenv("PATH", "/opt/dev/node_modules/.bin:/usr/bin:/usr/sbin:/bin"); err != nil {
		return err
	}
	fmt.Println("\nfswork: ready")
	return measure(o, os.Stdout)
}
