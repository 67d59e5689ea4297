package kvm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"arcbox/domain"
)

// bootIDFile names the host's boot (proc_sys_kernel(5), random/boot_id).
const bootIDFile = "/proc/sys/kernel/random/boot_id"

const versionTimeout = 10 * time.Second

// finding is what a start needs to know of the host.
type finding struct {
	binary  string
	verdict verdict
	// device is nil when the KVM device can be opened.
	device error
}

// kvm says whether KVM is worth trying, and why not.
func (f finding) kvm() (usable bool, reason string) {
	switch {
	case f.device != nil:
		return false, "KVM is not available: " + f.device.Error()
	case f.verdict.KVM == kvmUnusable:
		return false, "KVM does not work on this host: " + f.verdict.Reason
	default:
		return true, ""
	}
}

// find probes the host, or remembers. A wish for KVM tries again what an
// earlier probe found unusable: the user knows better.
func (h *Hypervisor) find(ctx context.Context, wish domain.Accelerator) (finding, error) {
	binary, err := findBinary(h.options.Binary, hostArch(), os.Getenv)
	if err != nil {
		return finding{}, err
	}
	s, err := describe(binary, h.options.KVMDevice)
	if err != nil {
		return finding{}, err
	}
	select {
	case h.probing <- struct{}{}:
		defer func() { <-h.probing }()
	case <-ctx.Done():
		return finding{}, fmt.Errorf("waiting for another probe of QEMU: %w", contextError(ctx))
	}
	v, known := h.verdicts.load(s)
	if !known {
		v = verdict{Subject: s}
		if v.Version, err = askVersion(ctx, binary); err != nil {
			if errors.Is(err, domain.ErrUnsupported) {
				err = domain.WithHint(err, installHint(hostArch()))
			}
			return finding{}, err
		}
		h.save(v)
	}
	if v.Version.less(oldest) {
		return finding{}, domain.WithHint(
			fmt.Errorf("%s is QEMU %s, ArcBox needs %s or newer: %w", binary, v.Version, oldest, domain.ErrUnsupported),
			installHint(hostArch()))
	}
	f := finding{binary: binary, verdict: v}
	if wish == domain.AcceleratorTCG {
		return f, nil
	}
	// Rights to the device come and go within a boot, and asking costs nothing.
	if f.device = openDevice(h.options.KVMDevice); f.device != nil {
		return f, nil
	}
	untested := v.KVM == kvmUnknown || v.KVM == kvmUnusable && wish == domain.AcceleratorKVM
	if !untested {
		return f, nil
	}
	if err := h.tryKVM(ctx, binary); err != nil {
		if ctx.Err() != nil {
			return finding{}, fmt.Errorf("probing KVM: %w", contextError(ctx))
		}
		f.verdict.KVM, f.verdict.Reason = kvmUnusable, firstLine(err)
	} else {
		f.verdict.KVM, f.verdict.Reason = kvmStarts, ""
	}
	h.save(f.verdict)
	return f, nil
}

// note records what a real boot showed of KVM.
func (h *Hypervisor) note(v verdict, state kvmState, reason string) {
	h.probing <- struct{}{}
	defer func() { <-h.probing }()
	v.KVM, v.Reason = state, reason
	h.save(v)
}

func (h *Hypervisor) save(v verdict) {
	if err := h.verdicts.save(v); err != nil {
		h.log.Warn("the next start of the daemon will probe again", "error", err)
	}
}

// findBinary returns the path of QEMU for guests of arch.
func findBinary(given string, arch Arch, env func(string) string) (string, error) {
	name := binaryName(arch)
	if given == "" {
		given = env("QEMU_SYSTEM_" + strings.ToUpper(strings.TrimPrefix(name, "qemu-system-")))
	}
	if given == "" {
		given = name
	}
	path, err := exec.LookPath(given)
	if err != nil {
		return "", domain.WithHint(fmt.Errorf("looking for QEMU: %w: %w", err, domain.ErrUnsupported), installHint(arch))
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", fmt.Errorf("looking for QEMU: %w: %w", err, domain.ErrUnsupported)
	}
	return path, nil
}

func binaryName(arch Arch) string {
	if arch == ArchARM64 {
		return "qemu-system-aarch64"
	}
	return "qemu-system-x86_64"
}

func installHint(arch Arch) string {
	pkg := "qemu-system-x86"
	if arch == ArchARM64 {
		pkg = "qemu-system-arm"
	}
	return fmt.Sprintf("install QEMU %s or newer, for example: sudo apt-get install %s", oldest, pkg)
}

func describe(binary, device string) (subject, error) {
	boot, err := os.ReadFile(bootIDFile)
	if err != nil {
		return subject{}, fmt.Errorf("reading the host's boot id: %w: %w", err, domain.ErrUnsupported)
	}
	info, err := os.Stat(binary)
	if err != nil {
		return subject{}, fmt.Errorf("looking at QEMU: %w: %w", err, domain.ErrUnsupported)
	}
	return subject{
		BootID:  strings.TrimSpace(string(boot)),
		Binary:  binary,
		Size:    info.Size(),
		ModTime: info.ModTime(),
		Device:  device,
		Arch:    hostArch(),
	}, nil
}

// askVersion runs QEMU for its version.
func askVersion(ctx context.Context, binary string) (version, error) {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	p, err := startProcess(binary, []string{"-version"}, nil)
	if err != nil {
		return version{}, fmt.Errorf("%w: %w", spawnError(err), domain.ErrUnsupported)
	}
	select {
	case <-p.exited:
	case <-ctx.Done():
		p.kill()
		<-p.exited
		return version{}, fmt.Errorf("waiting for the answer of %s -version: %w", binary, contextError(ctx))
	}
	if !p.success() {
		return version{}, fmt.Errorf("%s -version: %s%s: %w", binary, p.status(), quoteStderr(p.output.String()), domain.ErrUnsupported)
	}
	v, err := parseVersion(p.output.String())
	if err != nil {
		return version{}, fmt.Errorf("%s -version: %w: %w", binary, err, domain.ErrUnsupported)
	}
	return v, nil
}

// openDevice opens the KVM device as QEMU will. That it exists means little.
func openDevice(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

// tryKVM makes a paused machine with the processor that real ones get. It
// catches hosts that offer KVM and cannot set up a processor.
func (h *Hypervisor) tryKVM(ctx context.Context, binary string) error {
	plan := domain.VMPlan{Name: "probe", CPUs: 1, Memory: 64}
	q, err := startQEMU(ctx, binary, h.options, new(inheritance), func(fd int) []string {
		return Args(plan, Resources{Arch: hostArch(), Accelerator: domain.AcceleratorKVM, MonitorFD: fd})
	})
	if err != nil {
		return err
	}
	defer q.monitor.Close()
	// It proved what it had to; there is nothing in it to end in good order.
	q.kill()
	<-q.exited
	return nil
}

// firstLine is the most telling line of a failed start.
func firstLine(err error) string {
	var e *startError
	if errors.As(err, &e) && e.first != "" {
		return e.first
	}
	return err.Error()
}

// kvmHint says what a user can do about a KVM that is wished for and not usable.
func kvmHint(f finding) string {
	switch {
	case errors.Is(f.device, fs.ErrPermission):
		return "add yourself to the group of the device and log in again: sudo usermod -aG kvm \"$USER\"; or set vm.accelerator = \"auto\""
	case errors.Is(f.device, fs.ErrNotExist):
		return "enable virtualization in the firmware and load the module kvm_intel or kvm_amd; or set vm.accelerator = \"auto\""
	default:
		return "set vm.accelerator = \"auto\" to run without KVM"
	}
}
