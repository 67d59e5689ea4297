package domain

import (
	"fmt"
	"strings"
)

// Role says what a utility virtual machine is for.
type Role string

// Roles. Rosetta exists only on macOS with Apple silicon.
const (
	RoleNative  Role = "native"
	RoleRosetta Role = "rosetta"
)

// Roles lists every role.
func Roles() []Role { return []Role{RoleNative, RoleRosetta} }

// ParseRole reads a role's name in any case.
func ParseRole(s string) (Role, error) {
	for _, r := range Roles() {
		if strings.EqualFold(s, string(r)) {
			return r, nil
		}
	}
	return "", fmt.Errorf("role %q: want native or rosetta: %w", s, ErrInvalid)
}

// Machine returns the name of the virtual machine that fills the role.
func (r Role) Machine() MachineName {
	if r == RoleRosetta {
		return RosettaMachine
	}
	return DefaultMachine
}

// DataImage returns the file name of the role's data disk.
func (r Role) DataImage() string {
	if r == RoleRosetta {
		return "docker-rosetta.img"
	}
	return "docker.img"
}
