package vz

import "github.com/Code-Hex/vz/v3"

func rosettaState() RosettaState {
	switch vz.LinuxRosettaDirectoryShareAvailability() {
	case vz.LinuxRosettaAvailabilityInstalled:
		return RosettaInstalled
	case vz.LinuxRosettaAvailabilityNotInstalled:
		return RosettaNotInstalled
	default:
		return RosettaUnsupported
	}
}

func rosettaShare() (vz.DirectoryShare, error) {
	share, err := vz.NewLinuxRosettaDirectoryShare()
	if err != nil {
		return nil, err
	}
	return share, nil
}
