package kvm

import (
	"runtime"
	"time"

	"arcbox/adapters/kvm/qmp"
	"arcbox/domain"
)

// Options configure a Hypervisor. Zero values take the defaults.
type Options struct {
	// Binary is QEMU's path. Empty takes the environment's QEMU_SYSTEM_X86_64 (or
	// QEMU_SYSTEM_AARCH64), then looks in PATH.
	Binary string
	// Accelerator is the wish for plans that have none: auto, kvm or tcg.
	Accelerator domain.Accelerator
	// VerdictFile keeps what a probe found, for one boot of the host and one QEMU binary.
	// Empty keeps it in memory only.
	VerdictFile string
	// KVMDevice is the file whose rights tell whether KVM can be used, by default
	// /dev/kvm, which is what QEMU itself opens.
	KVMDevice string
	// StartTimeout bounds QEMU's start until its processor runs (20 s); it is
	// the bound of a probe's start too.
	StartTimeout time.Duration
	// FirstByteTimeout is how long a guest on KVM that was chosen by a probe may be silent
	// before it counts as hanging (5 s).
	FirstByteTimeout time.Duration
	// QuitTimeout bounds QEMU's orderly exit at a Kill, before SIGKILL (3 s).
	QuitTimeout time.Duration
	// ConsoleLimit is the size, bytes, at which a console log is set aside as
	// <path>.1 and started anew (8 MiB).
	ConsoleLimit int64
	// Limits are the deadlines of monitor commands.
	Limits qmp.Limits
}

func (o Options) withDefaults() Options {
	if o.Accelerator == "" {
		o.Accelerator = domain.AcceleratorAuto
	}
	if o.KVMDevice == "" {
		o.KVMDevice = "/dev/kvm"
	}
	if o.StartTimeout <= 0 {
		o.StartTimeout = 20 * time.Second
	}
	if o.FirstByteTimeout <= 0 {
		o.FirstByteTimeout = 5 * time.Second
	}
	if o.QuitTimeout <= 0 {
		o.QuitTimeout = 3 * time.Second
	}
	if o.ConsoleLimit <= 0 {
		o.ConsoleLimit = 8 << 20
	}
	return o
}

// hostArch is the architecture of this program, and so of its guests.
func hostArch() Arch { return Arch(runtime.GOARCH) }
