package vz

import (
	"fmt"

	"github.com/Code-Hex/vz/v3"

	"arcbox/domain"
)

// An Intel Mac runs amd64 programs without translation.

func rosettaState() RosettaState { return RosettaUnsupported }

func rosettaShare() (vz.DirectoryShare, error) {
	return nil, fmt.Errorf("translating amd64 programs with Rosetta: %w", domain.ErrUnsupported)
}
