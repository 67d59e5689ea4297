package vz

import (
	"fmt"
	"net"
	"runtime"

	"github.com/Code-Hex/vz/v3"

	"arcbox/domain"
)

// Build makes the framework's objects. They keep each other alive; the files must be
// kept open by the caller.
func (apple) Build(c Configuration, r resources) (guest, error) {
	loader, err := vz.NewLinuxBootLoader(c.Kernel, vz.WithCommandLine(c.Cmdline))
	if err != nil {
		return nil, fmt.Errorf("boot loader: %w", translate(err))
	}
	v, err := vz.NewVirtualMachineConfiguration(loader, uint(c.CPUs), c.Memory.Bytes())
	runtime.KeepAlive(loader)
	if err != nil {
		return nil, translate(err)
	}
	identifier, err := setPlatform(v, c.Identifier)
	if err != nil {
		return nil, fmt.Errorf("machine identifier: %w", translate(err))
	}
	for _, part := range []struct {
		name string
		set  func(*vz.VirtualMachineConfiguration, Configuration, resources) error
	}{
		{"disk", setDisks},
		{"network", setNetwork},
		{"console", setConsole},
		{"vsock", setVsock},
		{"entropy", setEntropy},
		{"balloon", setBalloon},
		{"directory sharing", setDirectories},
	} {
		if err := part.set(v, c, r); err != nil {
			return nil, fmt.Errorf("%s device: %w", part.name, translate(err))
		}
	}
	if ok, err := v.Validate(); err != nil {
		return nil, fmt.Errorf("configuration: %w", translate(err))
	} else if !ok {
		return nil, fmt.Errorf("the framework refuses the configuration: %w", domain.ErrInvalid)
	}
	machine, err := vz.NewVirtualMachine(v)
	if err != nil {
		return nil, translate(err)
	}
	g, err := newAppleGuest(machine, c, v, identifier)
	if err != nil {
		return nil, err // not a nil *appleGuest in an interface
	}
	return g, nil
}

func setDisks(v *vz.VirtualMachineConfiguration, c Configuration, _ resources) error {
	var devices []vz.StorageDeviceConfiguration
	for _, d := range c.Disks {
		caching, sync, err := diskModes(d)
		if err != nil {
			return err
		}
		attachment, err := vz.NewDiskImageStorageDeviceAttachmentWithCacheAndSync(d.Path, d.ReadOnly, caching, sync)
		if err != nil {
			return fmt.Errorf("%s: %w", d.Path, err)
		}
		device, err := vz.NewVirtioBlockDeviceConfiguration(attachment)
		if err != nil {
			return fmt.Errorf("%s: %w", d.Path, err)
		}
		devices = append(devices, device)
	}
	v.SetStorageDevicesVirtualMachineConfiguration(devices)
	return nil
}

func diskModes(d Disk) (vz.DiskImageCachingMode, vz.DiskImageSynchronizationMode, error) {
	if d.Caching != CachingCached || d.Sync != SyncFsync {
		return 0, 0, fmt.Errorf("disk modes %q and %q: %w", d.Caching, d.Sync, domain.ErrUnsupported)
	}
	return vz.DiskImageCachingModeCached, vz.DiskImageSynchronizationModeFsync, nil
}

func setNetwork(v *vz.VirtualMachineConfiguration, c Configuration, r resources) error {
	if c.Network == nil {
		return nil
	}
	attachment, err := vz.NewFileHandleNetworkDeviceAttachment(r.Link)
	if err != nil {
		return err
	}
	if c.Network.MTU != 0 {
		if err := attachment.SetMaximumTransmissionUnit(c.Network.MTU); err != nil {
			return err
		}
	}
	device, err := vz.NewVirtioNetworkDeviceConfiguration(attachment)
	if err != nil {
		return err
	}
	hardware, err := net.ParseMAC(c.Network.MAC)
	if err != nil {
		return fmt.Errorf("%w: %w", domain.ErrInvalid, err)
	}
	mac, err := vz.NewMACAddress(hardware)
	if err != nil {
		return err
	}
	device.SetMACAddress(mac)
	v.SetNetworkDevicesVirtualMachineConfiguration([]*vz.VirtioNetworkDeviceConfiguration{device})
	return nil
}

func setConsole(v *vz.VirtualMachineConfiguration, c Configuration, r resources) error {
	if c.Console == "" {
		return nil
	}
	attachment, err := vz.NewFileHandleSerialPortAttachment(r.ConsoleInput, r.ConsoleOutput)
	if err != nil {
		return err
	}
	device, err := vz.NewVirtioConsoleDeviceSerialPortConfiguration(attachment)
	if err != nil {
		return err
	}
	v.SetSerialPortsVirtualMachineConfiguration([]*vz.VirtioConsoleDeviceSerialPortConfiguration{device})
	return nil
}

func setVsock(v *vz.VirtualMachineConfiguration, c Configuration, _ resources) error {
	if !c.Vsock {
		return nil
	}
	device, err := vz.NewVirtioSocketDeviceConfiguration()
	if err != nil {
		return err
	}
	v.SetSocketDevicesVirtualMachineConfiguration([]vz.SocketDeviceConfiguration{device})
	return nil
}

func setEntropy(v *vz.VirtualMachineConfiguration, c Configuration, _ resources) error {
	if !c.Entropy {
		return nil
	}
	device, err := vz.NewVirtioEntropyDeviceConfiguration()
	if err != nil {
		return err
	}
	v.SetEntropyDevicesVirtualMachineConfiguration([]*vz.VirtioEntropyDeviceConfiguration{device})
	return nil
}

func setBalloon(v *vz.VirtualMachineConfiguration, c Configuration, _ resources) error {
	if !c.Balloon {
		return nil
	}
	device, err := vz.NewVirtioTraditionalMemoryBalloonDeviceConfiguration()
	if err != nil {
		return err
	}
	v.SetMemoryBalloonDevicesVirtualMachineConfiguration([]vz.MemoryBalloonDeviceConfiguration{device})
	return nil
}

// setDirectories gives the machine its shares and Rosetta, a device each.
func setDirectories(v *vz.VirtualMachineConfiguration, c Configuration, _ resources) error {
	var devices []vz.DirectorySharingDeviceConfiguration
	add := func(tag string, share vz.DirectoryShare) error {
		device, err := vz.NewVirtioFileSystemDeviceConfiguration(tag)
		if err != nil {
			return fmt.Errorf("tag %q: %w", tag, err)
		}
		device.SetDirectoryShare(share)
		devices = append(devices, device)
		return nil
	}
	if c.Shares != nil {
		share, err := sharedDirectories(c.Shares.Directories)
		if err != nil {
			return err
		}
		if err := add(c.Shares.Tag, share); err != nil {
			return err
		}
	}
	if c.Rosetta != "" {
		share, err := rosettaShare()
		if err != nil {
			return err
		}
		if err := add(c.Rosetta, share); err != nil {
			return err
		}
	}
	v.SetDirectorySharingDevicesVirtualMachineConfiguration(devices)
	return nil
}

func sharedDirectories(directories []SharedDirectory) (*vz.MultipleDirectoryShare, error) {
	named := make(map[string]*vz.SharedDirectory, len(directories))
	for _, d := range directories {
		directory, err := vz.NewSharedDirectory(d.Path, d.ReadOnly)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.Path, err)
		}
		named[d.Name] = directory
	}
	share, err := vz.NewMultipleDirectoryShare(named)
	runtime.KeepAlive(named) // the library passes pointers that Go does not see
	return share, err
}
