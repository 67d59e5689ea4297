// Package vsock is the host side of the virtual machines' vsock on Linux: the
// kernel's vhost-vsock when this host offers it, and otherwise a device of our
// own (package device) that this process serves to the hypervisor. On macOS
// the hypervisor framework has a vsock device, and this package is empty.
package vsock
