package e2e

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const demo = "arcbox/demo"

func TestVersionAndInfoAreTheGuestsEngine(t *testing.T) {
	require.Regexp(t, `^\d+\.\d+`, docker(t, "version", "--format", "{{.Server.Version}}"))
	require.Equal(t, "linux", strings.TrimSpace(docker(t, "version", "--format", "{{.Server.Os}}")))
	require.Contains(t, docker(t, "info", "--format", "{{.OperatingSystem}}"), "ArcBox")
	require.Equal(t, "2", strings.TrimSpace(docker(t, "info", "--format", "{{.CgroupVersion}}")))
	require.Contains(t, docker(t, "info", "--format", "{{.SecurityOptions}}"), "seccomp")
}

func TestRunPrintsAndPassesTheExitCode(t *testing.T) {
	require.Regexp(t, `^Linux .* 6\.12\.`, docker(t, "run", "--rm", demo, "uname", "-a"))
	err := refused(t, "run", "--rm", demo, "sh", "-c", "exit 42")
	require.ErrorContains(t, err, "exit status 42")
	err = refused(t, "run", "--rm", demo, "no-such-program")
	require.ErrorContains(t, err, "exit status 127")
}

func TestRunWithInputThatEndsEarlyKeepsAllOutput(t *testing.T) {
	cmd := shared.command(t.Context(), "docker", "run", "--rm", "-i", demo, "sh", "-c", "cat; sleep 1; echo after; sha256sum /bin/busybox | wc -c")
	cmd.Stdin = strings.NewReader(strings.Repeat("line of input\n", 20000))
	out, err := cmd.Output()
	require.NoError(t, err)
	require.Equal(t, 20000, strings.Count(string(out), "line of input\n"))
	require.Contains(t, string(out), "after\n", "the answer goes on when the input has ended")
}

func TestExecWithInputAndEnvironment(t *testing.T) {
	id := started(t, demo, "sleep", "600")
	cmd := shared.command(t.Context(), "docker", "exec", "-i", "-e", "WHO=world", id, "sh", "-c", "read x; echo hello $WHO $x")
	cmd.Stdin = strings.NewReader("again\n")
	out, err := cmd.Output()
	require.NoError(t, err)
	require.Equal(t, "hello world again\n", string(out))
	require.ErrorContains(t, refused(t, "exec", id, "sh", "-c", "exit 7"), "exit status 7")
}

func TestAttachAndDetach(t *testing.T) {
	id := started(t, "-i", demo, "sh", "-c", "while read x; do echo got $x; done; echo end")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	first := shared.command(ctx, "docker", "attach", "--sig-proxy=false", id)
	in, err := first.StdinPipe()
	require.NoError(t, err)
	out, err := first.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, first.Start())
	_, err = io.WriteString(in, "one\n")
	require.NoError(t, err)
	buf := make([]byte, len("got one\n"))
	_, err = io.ReadFull(out, buf)
	require.NoError(t, err)
	require.Equal(t, "got one\n", string(buf))
	// A client that vanishes is a detach: the container goes on.
	require.NoError(t, first.Process.Kill())
	_ = first.Wait()
	require.Equal(t, "true\n", docker(t, "inspect", "-f", "{{.State.Running}}", id))
	require.Equal(t, "got one\n", docker(t, "logs", id))
}

func TestLogsFollowUntilTheEnd(t *testing.T) {
	id := started(t, demo, "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.3; done; echo err >&2")
	cmd := shared.command(t.Context(), "docker", "logs", "-f", id)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Run())
	require.Equal(t, "1\n2\n3\n", stdout.String())
	require.Equal(t, "err\n", stderr.String())
}

func TestCopyBothWays(t *testing.T) {
	id := started(t, demo, "sleep", "600")
	dir := t.TempDir()
	content := bytes.Repeat([]byte("arcbox "), 1<<18)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "in"), content, 0o640))
	docker(t, "cp", filepath.Join(dir, "in"), id+":/tmp/copy")
	docker(t, "cp", id+":/tmp/copy", filepath.Join(dir, "out"))
	back, err := os.ReadFile(filepath.Join(dir, "out"))
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, back))
	require.ErrorContains(t, refused(t, "cp", id+":/absent", dir), "absent")
}

func TestCommitSaveLoadImport(t *testing.T) {
	id := started(t, demo, "sh", "-c", "echo kept > /kept; sleep 600")
	eventually(t, time.Minute, func() error { _, err := shared.docker(t.Context(), "exec", id, "cat", "/kept"); return err })
	t.Cleanup(func() {
		_, _ = shared.docker(context.WithoutCancel(t.Context()), "rmi", "-f", "e2e/kept", "e2e/imported")
	})
	docker(t, "commit", id, "e2e/kept")
	require.Equal(t, "kept\n", docker(t, "run", "--rm", "e2e/kept", "cat", "/kept"))

	saved := filepath.Join(t.TempDir(), "kept.tar")
	docker(t, "save", "-o", saved, "e2e/kept")
	docker(t, "rmi", "-f", "e2e/kept")
	docker(t, "load", "-i", saved)
	require.Equal(t, "kept\n", docker(t, "run", "--rm", "e2e/kept", "cat", "/kept"))

	var root bytes.Buffer
	w := tar.NewWriter(&root)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "only", Mode: 0o644, Size: 5}))
	_, err := io.WriteString(w, "file\n")
	require.NoError(t, err)
	require.NoError(t, w.Close())
	cmd := shared.command(t.Context(), "docker", "import", "-", "e2e/imported")
	cmd.Stdin = &root
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	made := strings.TrimSpace(docker(t, "create", "e2e/imported", "/only"))
	docker(t, "cp", made+":/only", filepath.Join(filepath.Dir(saved), "only"))
	docker(t, "rm", made)
}

func TestBuildWithBuildKit(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM arcbox/demo\nARG WHAT\nCOPY message /message\nRUN echo $WHAT >> /message\nCMD [\"cat\", \"/message\"]\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "message"), []byte("from the host\n"), 0o600))
	require.NoError(t, os.MkdirAll(filepath.Join(shared.config, "cli-plugins"), 0o700))
	plugin := filepath.Join(shared.config, "cli-plugins", "docker-buildx")
	_ = os.Remove(plugin)
	require.NoError(t, os.Symlink(filepath.Join(shared.bin, "cli-plugins", "docker-buildx"), plugin))
	docker(t, "buildx", "build", "--load", "--build-arg", "WHAT=from the build", "-t", "e2e/built", dir)
	t.Cleanup(func() { _, _ = shared.docker(context.WithoutCancel(t.Context()), "rmi", "-f", "e2e/built") })
	require.Equal(t, "from the host\nfrom the build\n", docker(t, "run", "--rm", "e2e/built"))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM arcbox/demo\nRUN exit 9\n"), 0o600))
	require.ErrorContains(t, refused(t, "buildx", "build", dir), "exit code: 9")
}

func TestEventsStatsTopWaitKill(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	events := shared.command(ctx, "docker", "events", "--filter", "type=container", "--format", "{{.Action}} {{.Actor.Attributes.name}}")
	out, err := events.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, events.Start())
	seen := make(chan string, 64)
	go func() {
		defer close(seen)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			seen <- lines.Text()
		}
	}()
	t.Cleanup(func() { _ = events.Process.Kill(); _ = events.Wait() })

	id := started(t, "--name", "e2e-signals", demo, "sh", "-c", "trap 'echo hup' HUP; trap 'exit 3' TERM; while :; do sleep 0.2; done")
	require.Contains(t, docker(t, "top", id), "sleep 0.2")
	require.Regexp(t, regexp.MustCompile(`\d+(\.\d+)?[KM]iB`), docker(t, "stats", "--no-stream", "--format", "{{.MemUsage}}", id))
	docker(t, "kill", "-s", "HUP", id)
	eventually(t, 30*time.Second, func() error {
		if !strings.Contains(docker(t, "logs", id), "hup") {
			return io.EOF
		}
		return nil
	})
	require.Equal(t, "true\n", docker(t, "inspect", "-f", "{{.State.Running}}", id), "HUP did not end it")
	waiting := shared.command(ctx, "docker", "wait", id)
	var code bytes.Buffer
	waiting.Stdout = &code
	require.NoError(t, waiting.Start())
	docker(t, "kill", "-s", "TERM", id)
	require.NoError(t, waiting.Wait())
	require.Equal(t, "3\n", code.String())

	for _, want := range []string{"start e2e-signals", "kill e2e-signals", "die e2e-signals"} {
		for got := ""; got != want; {
			var ok bool
			got, ok = <-seen // ends with the client's deadline
			require.True(t, ok, "no event %q", want)
		}
	}
}

func TestRestartPolicies(t *testing.T) {
	always := started(t, "--restart", "always", demo, "sh", "-c", "sleep 0.3; exit 1")
	eventually(t, time.Minute, func() error {
		if docker(t, "inspect", "-f", "{{.RestartCount}}", always) == "0\n" {
			return io.EOF
		}
		return nil
	})
	twice := started(t, "--restart", "on-failure:2", demo, "sh", "-c", "exit 5")
	eventually(t, time.Minute, func() error {
		if docker(t, "inspect", "-f", "{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}", twice) != "2 exited 5\n" {
			return io.EOF
		}
		return nil
	})
}

func TestVolumesOutliveContainers(t *testing.T) {
	docker(t, "volume", "create", "e2e-data")
	t.Cleanup(func() { _, _ = shared.docker(context.WithoutCancel(t.Context()), "volume", "rm", "-f", "e2e-data") })
	docker(t, "run", "--rm", "-v", "e2e-data:/data", demo, "sh", "-c", "echo persistent > /data/f")
	require.Equal(t, "persistent\n", docker(t, "run", "--rm", "-v", "e2e-data:/data:ro", demo, "cat", "/data/f"))
	err := refused(t, "run", "--rm", "-v", "e2e-data:/data:ro", demo, "touch", "/data/g")
	require.ErrorContains(t, err, "Read-only file system")
}

func TestContainersOfANetworkReachEachOtherByName(t *testing.T) {
	docker(t, "network", "create", "e2e-net")
	t.Cleanup(func() { _, _ = shared.docker(context.WithoutCancel(t.Context()), "network", "rm", "e2e-net") })
	started(t, "--name", "e2e-web", "--network", "e2e-net", demo, "sh", "-c", "mkdir -p /www; echo page > /www/index.html; exec httpd -f -p 80 -h /www")
	var out string
	eventually(t, time.Minute, func() (err error) {
		out, err = shared.docker(t.Context(), "run", "--rm", "--network", "e2e-net", demo, "wget", "-q", "-O", "-", "http://e2e-web/")
		return err
	})
	require.Equal(t, "page\n", out)
	err := refused(t, "run", "--rm", demo, "wget", "-q", "-O", "-", "http://e2e-web/")
	require.ErrorContains(t, err, "bad address", "another network does not know the name")
}

func TestManyClientsAtOnce(t *testing.T) {
	id := started(t, demo, "sleep", "600")
	results := make(chan error, 40)
	for range cap(results) {
		go func() {
			text, err := shared.docker(t.Context(), "exec", id, "echo", "ok")
			if err == nil && text != "ok\n" {
				err = io.ErrUnexpectedEOF
			}
			results <- err
		}()
	}
	for range cap(results) {
		require.NoError(t, <-results)
	}
}
