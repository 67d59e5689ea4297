package grpc

import (
	"path/filepath"

	"google.golang.org/protobuf/types/known/timestamppb"

	arcboxv1 "arcbox/api/arcbox/v1"
)

func (s *MachineService) summary(m machine) *arcboxv1.MachineSummary {
	name := string(m.status.Machine)
	out := &arcboxv1.MachineSummary{Id: name, Name: name, State: string(m.status.State), Cpus: uint32(m.status.CPUs),
		Memory: m.status.Memory.Bytes(), DiskSize: m.diskSize()}
	if m.status.State.Ready() && len(s.network.Guest) > 0 {
		out.IpAddress = s.network.Guest[0].String()
	}
	if !m.record.CreatedAt.IsZero() {
		out.Created = m.record.CreatedAt.Unix()
	}
	return out
}

func (s *MachineService) info(m machine) *arcboxv1.MachineInfo {
	short := s.summary(m)
	out := &arcboxv1.MachineInfo{Id: short.Id, Name: short.Name, State: short.State,
		Hardware: &arcboxv1.MachineHardware{Cpus: short.Cpus, Memory: short.Memory, Arch: uname()},
		Network:  &arcboxv1.MachineNetwork{IpAddress: short.IpAddress, Gateway: s.network.Gateway.String(), DnsServers: []string{s.network.Gateway.String()}},
		Storage:  &arcboxv1.MachineStorage{DiskSize: short.DiskSize, DiskFormat: "raw", DiskPath: m.diskPath()},
		Os:       &arcboxv1.MachineOS{Kernel: m.status.Hello.Kernel}}
	if !m.record.CreatedAt.IsZero() {
		out.Created = timestamppb.New(m.record.CreatedAt)
	}
	if !m.status.StartedAt.IsZero() {
		out.StartedAt = timestamppb.New(m.status.StartedAt)
	}
	return out
}

// diskSize is what the disk is, else what it is to be; bytes.
func (m machine) diskSize() uint64 {
	if m.status.Image.Size > 0 {
		return m.status.Image.Size
	}
	return m.record.Disk.Bytes()
}

// diskPath is where the disk is on the host, "" before the first boot.
func (m machine) diskPath() string {
	for _, d := range m.record.Disks {
		if filepath.Base(d.Path) == m.role.DataImage() {
			return d.Path
		}
	}
	return ""
}
