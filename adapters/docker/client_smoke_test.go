package docker

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"testing"

	moby "github.com/moby/moby/client"
	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func smallEngine() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{version}/containers/json", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode([]map[string]any{{"Id": "0123456789abcdef", "Image": r.PathValue("version"), "Names": []string{"/web"}}})
	})
	mux.HandleFunc("/", http.NotFound)
	return mux
}

// TestDockerClientWakesTheMachine: ping is answered here, the list by the
// engine that boots for it.
func TestDockerClientWakesTheMachine(t *testing.T) {
	engine := httpEngine(t, 1, smallEngine())
	engines := &fakeEngines{known: domain.EngineInfo{Version: "29.0.0", APIVersion: "1.52"}}
	engines.boot = bootsTo(engine)
	s := serve(t, engines, Options{})
	cli, err := moby.New(moby.WithHost("unix://" + s.opts.Path))
	require.NoError(t, err)
	defer cli.Close()
	ping, err := cli.Ping(t.Context(), moby.PingOptions{NegotiateAPIVersion: true})
	require.NoError(t, err)
	require.Equal(t, "1.52", ping.APIVersion)
	require.Equal(t, "linux", ping.OSType)
	require.Zero(t, engines.boots.Load())
	list, err := cli.ContainerList(t.Context(), moby.ContainerListOptions{})
	require.NoError(t, err)
	require.Equal(t, "v1.52", list.Items[0].Image, "the negotiated version")
	require.EqualValues(t, 1, engines.boots.Load())
	engines.breakDown()
	_, err = cli.ContainerList(t.Context(), moby.ContainerListOptions{})
	require.ErrorContains(t, err, "the virtual machine is not running")
}

func TestDockerCLI(t *testing.T) {
	docker, err := exec.LookPath("docker")
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("no docker client here")
	}
	engine := httpEngine(t, 1, smallEngine())
	engines := &fakeEngines{known: domain.EngineInfo{APIVersion: "1.47"}}
	engines.boot = bootsTo(engine)
	s := serve(t, engines, Options{})
	run := func() (string, error) {
		cmd := exec.CommandContext(t.Context(), docker, "ps", "--format", "{{.Names}} {{.Image}}")
		cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+s.opts.Path, "DOCKER_CONFIG="+t.TempDir())
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		return out.String(), err
	}
	out, err := run()
	require.NoError(t, err, out)
	require.Equal(t, "web v1.47\n", out)
	engines.breakDown()
	out, err = run()
	require.Error(t, err)
	require.Contains(t, out, "wait for the Docker engine: the virtual machine is not running")
}
