package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

// fakeNetwork is an interface that any user may install.
type fakeNetwork struct {
	asked     NetworkInstall
	installed bool
	err       error
	status    NetworkStatus
}

func (f *fakeNetwork) Install(in NetworkInstall) ([]string, error) {
	f.asked = in
	if f.err != nil || f.installed {
		return nil, f.err
	}
	f.installed = !in.DryRun
	return []string{"ip tuntap add", "ip link set"}, nil
}

func (f *fakeNetwork) Uninstall(dryRun bool) ([]string, error) {
	was := f.installed
	f.installed = was && dryRun
	if !was {
		return nil, f.err
	}
	return []string{"ip link delete"}, f.err
}

func (f *fakeNetwork) Status() (NetworkStatus, error) { return f.status, f.err }

func (f *fakeNetwork) run(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = Execute(context.Background(), Deps{
		Network: func(Overrides) (Network, error) { return f, nil }, Stdout: &out, Stderr: &errs,
	}, append([]string{"network"}, args...))
	return code, out.String(), errs.String()
}

func TestNetworkInstall(t *testing.T) {
	f := &fakeNetwork{}
	code, out, _ := f.run("install", "--dry-run", "--user", "ann", "--pool", "172.18.0.0/15", "--pool", "172.20.0.0/14")
	require.Equal(t, ExitOK, code)
	require.Equal(t, NetworkInstall{User: "ann", Pools: []string{"172.18.0.0/15", "172.20.0.0/14"}, DryRun: true}, f.asked)
	require.Equal(t, "ip tuntap add\nip link set\n", out)
	require.False(t, f.installed)

	_, out, _ = f.run("install")
	require.Equal(t, "ip tuntap add\nip link set\n", out)
	_, out, _ = f.run("install")
	require.Equal(t, "nothing to do\n", out)
	_, out, _ = f.run("uninstall", "--dry-run", "--format", "json")
	require.JSONEq(t, `{"dry_run": true, "steps": ["ip link delete"]}`, out)
	_, _, _ = f.run("uninstall")
	_, out, _ = f.run("uninstall", "--format", "json")
	require.JSONEq(t, `{"dry_run": false, "steps": []}`, out)
}

func TestNetworkRefused(t *testing.T) {
	f := &fakeNetwork{err: domain.WithHint(fmt.Errorf("changing the host's network needs root: %w", domain.ErrPermission), "sudo arcbox network install")}
	code, out, errs := f.run("install")
	require.Equal(t, ExitError, code)
	require.Empty(t, out)
	require.Equal(t, "arcbox: changing the host's network needs root: not permitted (sudo arcbox network install)\n", errs)

	code, _, _ = f.run("install", "arcbox0")
	require.Equal(t, ExitUsage, code)
}

func TestNetworkStatus(t *testing.T) {
	f := &fakeNetwork{status: NetworkStatus{Interface: "arcbox0"}}
	_, out, _ := f.run("status")
	require.Equal(t, "interface arcbox0  not installed (sudo arcbox network install)\n", out)

	f.status = NetworkStatus{Installed: true, Interface: "arcbox0", Owner: "ann", Up: true, Attached: true, MTU: 65520,
		Addresses: []string{"10.0.2.254"}, Routes: []string{"172.16.0.0/12"}, AtBoot: true, Overlaps: []string{"172.17.0.0/16 dev docker0 overlaps 172.16.0.0/12"}}
	_, out, _ = f.run("status")
	for _, text := range []string{"in use by a daemon", "ann", "10.0.2.254", "172.16.0.0/12", "yes", "dev docker0"} {
		require.Contains(t, out, text)
	}
	_, out, _ = f.run("status", "--format", "json")
	var got NetworkStatus
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	require.Equal(t, f.status, got)

	f.status.Attached = false
	_, out, _ = f.run("status")
	require.Contains(t, out, "no daemon uses it")
}
