package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

type fakeDNS struct {
	steps []DNSStep
	err   error
	dry   []bool
	st    DNSStatus
}

func (d *fakeDNS) Install(_ context.Context, dry bool) (DNSChange, error) {
	d.dry = append(d.dry, dry)
	return DNSChange{Method: "m", Steps: d.steps}, d.err
}

func (d *fakeDNS) Uninstall(ctx context.Context, dry bool) (DNSChange, error) {
	return d.Install(ctx, dry)
}
func (d *fakeDNS) Status(context.Context) (DNSStatus, error) { return d.st, d.err }

func runDNS(t *testing.T, d *fakeDNS, args ...string) (code int, keys Overrides, stdout, stderr string) {
	w := newWorld(t)
	deps := w.deps()
	deps.DNS = func(o Overrides) (DNS, error) { keys = o; return d, nil }
	code = Execute(t.Context(), deps, append([]string{"dns"}, args...))
	return code, keys, w.stdout.String(), w.stderr.String()
}

func TestFlagsOfDNSThatMakeNoSense(t *testing.T) {
	for flag, want := range map[string]string{
		"--port=0": "--port 0: want 1 to 65535", "--port=99999": "--port 99999: want 1 to 65535",
		"--domain=a_b": `--domain: domain "a_b": want letters`, "--port=x": "invalid argument",
	} {
		code, _, _, stderr := runDNS(t, &fakeDNS{}, "status", flag)
		require.Equal(t, ExitUsage, code, flag)
		require.Contains(t, stderr, want)
		require.NotContains(t, stderr, "configuration key", "nobody wrote one")
	}
}

func TestDNSInstallSaysWhatItDoes(t *testing.T) {
	d := &fakeDNS{steps: []DNSStep{{Remove: "/etc/old"}, {Write: "/etc/x", Content: "# ours\nDNS=1\n"}, {Command: []string{"systemctl", "restart", "x"}}}}
	code, keys, stdout, _ := runDNS(t, d, "install", "--dry-run", "--domain", "box.test", "--port", "99")
	require.Equal(t, ExitOK, code)
	require.Equal(t, Overrides{"network.domain": "box.test", "network.dns_port": 99}, keys)
	require.Equal(t, "would remove /etc/old\nwould write /etc/x:\n    # ours\n    DNS=1\nwould run systemctl restart x\n", stdout)
	require.Equal(t, []bool{true}, d.dry)

	_, keys, stdout, _ = runDNS(t, d, "uninstall")
	require.Empty(t, keys)
	require.Contains(t, stdout, "removed /etc/old\nwrote /etc/x:")
	require.Equal(t, []bool{true, false}, d.dry)

	d.steps = nil
	_, _, stdout, _ = runDNS(t, d, "install")
	require.Equal(t, "installed already\n", stdout)
	_, _, stdout, _ = runDNS(t, d, "uninstall")
	require.Equal(t, "nothing is installed\n", stdout)
	_, _, stdout, _ = runDNS(t, d, "install", "--format", "json")
	require.JSONEq(t, `{"dry_run":false,"method":"m","steps":[]}`, stdout)
}

func TestDNSInstallWithoutRootNamesTheCommand(t *testing.T) {
	d := &fakeDNS{err: domain.WithHint(fmt.Errorf("files of root: %w", domain.ErrPermission), "run: sudo arcbox dns install")}
	code, _, stdout, stderr := runDNS(t, d, "install")
	require.Equal(t, ExitError, code)
	require.Empty(t, stdout)
	require.Equal(t, "arcbox: files of root: not permitted (run: sudo arcbox dns install)\n", stderr)
}

func TestDNSStatus(t *testing.T) {
	d := &fakeDNS{st: DNSStatus{Domain: "arcbox.local", Server: "127.0.0.1:5553", Answers: true, Method: "systemd-resolved", Files: []string{}}}
	code, _, stdout, _ := runDNS(t, d, "status")
	require.Equal(t, ExitOK, code)
	require.Contains(t, stdout, "127.0.0.1:5553 (answers)")
	require.Contains(t, stdout, "arcbox dns install makes")
	d.st.Files = []string{"/etc/x"}
	_, _, stdout, _ = runDNS(t, d, "status")
	require.Contains(t, stdout, "another domain or port is installed")
	d.st.Installed, d.st.Answers = true, false
	_, _, stdout, _ = runDNS(t, d, "status")
	require.Contains(t, stdout, "yes, systemd-resolved")
	require.Contains(t, stdout, "does not answer")
	d.st.Problem, d.st.Hint = "neither", "dig"
	_, _, stdout, _ = runDNS(t, d, "status")
	require.Contains(t, stdout, "neither")
	require.Contains(t, stdout, "dig")
	_, _, stdout, _ = runDNS(t, d, "status", "--format", "json")
	var got DNSStatus
	require.NoError(t, json.Unmarshal([]byte(stdout), &got))
	require.Equal(t, d.st, got)
}
