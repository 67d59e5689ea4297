package tun

import "os"

// Installer makes and removes the device. Its methods are for one process at a
// time.
type Installer struct {
	node    string // the tun device node
	units   string // where systemd looks for units
	systemd string // is there when systemd runs
}

// NewInstaller returns the installer of this host.
func NewInstaller() *Installer {
	return &Installer{node: node, units: "/etc/systemd/system", systemd: "/run/systemd/system"}
}

// Install makes the host have s and returns the steps that it took, none when
// it had. With dryRun it changes nothing and needs no root. The error wraps
// domain.ErrPermission without root, and domain.ErrConflict when the host uses
// the addresses, the interface's or the unit's name otherwise; nothing is
// changed then.
func (i *Installer) Install(s Settings, dryRun bool) ([]string, error) {
	return i.run(func(st State) ([]Action, error) { return Plan(st, s) }, dryRun, "arcbox network install")
}

// Uninstall removes what Install made and nothing else, with the same errors.
func (i *Installer) Uninstall(dryRun bool) ([]string, error) {
	return i.run(PlanRemoval, dryRun, "arcbox network uninstall")
}

func (i *Installer) run(plan func(State) ([]Action, error), dryRun bool, command string) ([]string, error) {
	st, err := i.inspect()
	if err != nil {
		return nil, err
	}
	actions, err := plan(st)
	if err != nil {
		return nil, err
	}
	return execute(actions, i.unitPath(), dryRun, os.Geteuid() == 0, command, i.apply)
}

// Status looks at the host. It needs no root.
func (i *Installer) Status() (Status, error) {
	st, err := i.inspect()
	if err != nil {
		return Status{}, err
	}
	return st.status(), nil
}
