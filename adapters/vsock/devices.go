//go:build linux

package vsock

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"arcbox/adapters/vsock/device"
	"arcbox/application/port"
	"arcbox/domain"
)

// vhostNode is the kernel's vhost-vsock device node.
const vhostNode = "/dev/vhost-vsock"

// userspaceCID is the context id of a guest whose device this process serves.
// It is not visible outside the pair of guest and device, so all may have the
// same.
const userspaceCID = 3

var _ port.VsockDevices = (*Devices)(nil)

// Devices makes vsock devices. It is safe for concurrent use.
type Devices struct {
	log       *slog.Logger
	node      string
	userspace bool
}

// Option changes how devices are made.
type Option func(*Devices)

// InProcess serves devices in this process also where the kernel has
// vhost-vsock.
func InProcess() Option { return func(d *Devices) { d.userspace = true } }

// New makes a factory of devices. It looks for the kernel's device at each
// Open, so a module that is loaded later is used by the next machine.
func New(log *slog.Logger, options ...Option) *Devices {
	d := &Devices{log: log, node: vhostNode}
	for _, o := range options {
		o(d)
	}
	return d
}

// Open implements port.VsockDevices. The context id of a device that the
// kernel serves was free when Open looked; when the hypervisor finds it taken,
// the caller closes the device and opens another.
func (d *Devices) Open(name domain.MachineName) (port.VsockDevice, error) {
	log := d.log.With("machine", string(name))
	if !d.userspace {
		node, err := os.OpenFile(d.node, os.O_RDWR, 0)
		if err == nil {
			defer node.Close()
			cid, err := freeCID(node)
			if err != nil {
				return nil, fmt.Errorf("vsock device of machine %s: %w", name, err)
			}
			log.Debug("vsock device in the kernel", "cid", cid)
			return newKernelDevice(cid), nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			log.Info("the kernel's vsock device cannot be used, serving our own", "error", err)
		}
	}
	dev, err := device.New(log, userspaceCID)
	if err != nil {
		return nil, fmt.Errorf("vsock device of machine %s: %w", name, err)
	}
	log.Debug("vsock device in this process")
	return inProcess{dev}, nil
}

// inProcess adapts a device of package device to the port.
type inProcess struct{ *device.Device }

func (d inProcess) Dial(ctx context.Context, p uint32) (port.Stream, error) {
	s, err := d.Device.Dial(ctx, p)
	if err != nil {
		return nil, err // a nil *Stream in the interface would not be nil
	}
	return s, nil
}
