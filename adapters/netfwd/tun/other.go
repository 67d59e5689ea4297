//go:build !linux

package tun

import (
	"context"
	"fmt"
	"log/slog"

	"arcbox/adapters/netfwd/usernet"
	"arcbox/domain"
)

var errLinuxOnly = fmt.Errorf("reaching containers by their own addresses works on Linux hosts only: %w", domain.ErrUnsupported)

// Installer is for Linux; elsewhere its methods return domain.ErrUnsupported.
type Installer struct{}

// NewInstaller returns the installer of this host.
func NewInstaller() *Installer { return &Installer{} }

// Install returns domain.ErrUnsupported.
func (*Installer) Install(Settings, bool) ([]string, error) { return nil, errLinuxOnly }

// Uninstall returns domain.ErrUnsupported.
func (*Installer) Uninstall(bool) ([]string, error) { return nil, errLinuxOnly }

// Status returns domain.ErrUnsupported.
func (*Installer) Status() (Status, error) { return Status{}, errLinuxOnly }

// Attacher is for Linux.
type Attacher struct{}

// NewAttacher returns an Attacher that never finds a device.
func NewAttacher(*slog.Logger) *Attacher { return &Attacher{} }

// Run returns at once.
func (*Attacher) Run(context.Context, *usernet.Network) {}
