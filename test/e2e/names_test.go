package e2e

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// digs runs dig against the host's resolver of a daemon and returns its output.
func digs(t *testing.T, d *daemon, args ...string) string {
	t.Helper()
	args = append([]string{"@127.0.0.1", "-p", d.dnsPort, "+tries=1", "+time=10"}, args...)
	out, err := exec.CommandContext(t.Context(), "dig", args...).CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

// dig returns the answers to a question.
func dig(t *testing.T, d *daemon, name, kind string) []string {
	t.Helper()
	return strings.Fields(digs(t, d, "+short", name, kind))
}

// answers waits until a name has exactly these addresses.
func answers(t *testing.T, name string, want ...string) {
	t.Helper()
	eventually(t, 10*time.Second, func() error {
		if got := dig(t, shared, name, "A"); strings.Join(got, " ") != strings.Join(want, " ") {
			return fmt.Errorf("%s is %q, want %q", name, got, want)
		}
		return nil
	})
}

func addressOf(t *testing.T, id string) string {
	t.Helper()
	return strings.TrimSpace(docker(t, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", id))
}

func TestNamesOfContainers(t *testing.T) {
	id := started(t, "--name", "e2e-named", demo, "sleep", "600")
	addr := addressOf(t, id)
	answers(t, "e2e-named.arcbox.local", addr)
	require.Equal(t, []string{addr}, dig(t, shared, "E2E-Named.ArcBox.Local", "A"), "any case")
	require.Equal(t, []string{addr}, dig(t, shared, "api.v2.e2e-named.arcbox.local", "A"), "names below it are its own")
	require.Equal(t, []string{addr}, strings.Fields(digs(t, shared, "+short", "+tcp", "e2e-named.arcbox.local")))
	require.Equal(t, []string{"e2e-named.arcbox.local."}, strings.Fields(digs(t, shared, "+short", "-x", addr)))

	aaaa := digs(t, shared, "e2e-named.arcbox.local", "AAAA")
	require.Contains(t, aaaa, "status: NOERROR")
	require.Contains(t, aaaa, "ANSWER: 0")
	require.Contains(t, digs(t, shared, "e2e-absent.arcbox.local"), "status: NXDOMAIN")

	require.Contains(t, docker(t, "run", "--rm", demo, "nslookup", "e2e-named.arcbox.local"), addr, "containers know it as well")
	require.Contains(t, docker(t, "run", "--rm", demo, "nslookup", "gateway.docker.internal"), "10.0.2.1")
	require.Equal(t, []string{"127.0.0.1"}, dig(t, shared, "host.docker.internal", "A"), "for the host, the host is here")

	docker(t, "rename", "e2e-named", "e2e-renamed")
	answers(t, "e2e-renamed.arcbox.local", addr)
	answers(t, "e2e-named.arcbox.local")
	docker(t, "kill", id)
	answers(t, "e2e-renamed.arcbox.local")
	docker(t, "start", id)
	answers(t, "e2e-renamed.arcbox.local", addressOf(t, id))
	docker(t, "rm", "-f", id)
	answers(t, "e2e-renamed.arcbox.local")
}

func TestNamesFollowNetworks(t *testing.T) {
	docker(t, "network", "create", "e2e-names")
	afterwards(t, "network", "rm", "e2e-names")
	id := started(t, "--name", "e2e-moving", demo, "sleep", "600")
	docker(t, "network", "connect", "--alias", "e2e-alias", "e2e-names", id)
	var there string
	eventually(t, 10*time.Second, func() error {
		there = strings.TrimSpace(docker(t, "inspect", "-f", `{{(index .NetworkSettings.Networks "e2e-names").IPAddress}}`, id))
		if got := dig(t, shared, "e2e-alias.arcbox.local", "A"); len(got) != 1 || got[0] != there {
			return fmt.Errorf("alias is %q, want %s", got, there)
		}
		return nil
	})
	docker(t, "network", "disconnect", "e2e-names", id)
	answers(t, "e2e-alias.arcbox.local")
	answers(t, "e2e-moving.arcbox.local", addressOf(t, id))
	docker(t, "network", "disconnect", "bridge", id)
	answers(t, "e2e-moving.arcbox.local")
}

func TestNamesOfTheWorldPassThroughTheGuest(t *testing.T) {
	// The host's own hosts file is what the guest gets, whatever else this host can resolve.
	out := docker(t, "run", "--rm", demo, "nslookup", "localhost")
	require.Contains(t, out, "127.0.0.1")
	if _, err := shared.docker(t.Context(), "run", "--rm", demo, "nslookup", "no-such-host.invalid"); err == nil {
		t.Fatal(errors.New("a name below .invalid has an address"))
	}
}
