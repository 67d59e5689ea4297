// Package kvm runs virtual machines on Linux with QEMU: on KVM where it really
// works, emulated (TCG) otherwise.
//
// The command line is a pure function of a plan (Args); a probe finds out what
// the host can run and keeps the verdict in a file; a machine is one QEMU
// process with everything that belongs to it: monitor, console, vsock device.
// QEMU is connected to the rest of the program by inherited descriptors only,
// so there are no paths, no permissions and no races of acceptance, and either
// side sees the other one's end.
package kvm
