//go:build linux

// Command agent stands in for the guest agent in images/smoke.sh: it says that
// it runs, runs the runtime disk's test script if there is one, says how that
// ended, and switches the machine off.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

const script = "/arcbox/test/run.sh"

func main() {
	uptime, _ := os.ReadFile("/proc/uptime")
	seconds, _, _ := strings.Cut(string(uptime), " ")
	fmt.Printf("arcbox-smoke: agent runs as process %d, %s s after the kernel started\n", os.Getpid(), seconds)

	if _, err := os.Stat(script); err == nil {
		cmd := exec.Command("/bin/sh", script)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			fmt.Println("arcbox-smoke: test failed:", err)
		} else {
			fmt.Println("arcbox-smoke: test passed")
		}
	}

	syscall.Sync()
	if err := syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Println("arcbox-smoke: cannot power off:", err)
	}
	select {}
}
