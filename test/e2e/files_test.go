package e2e

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFiles is one machine with little memory and directories of the host. The
// subtests are in the files files_*_test.go.
func TestFiles(t *testing.T) {
	f := newFiles(t)
	for _, part := range []struct {
		name string
		test func(*files, *testing.T)
	}{
		{"what a container makes is the user's on the host", (*files).ownership},
		{"edits on the host are seen at once", (*files).edits},
		{"fsync puts content onto the host", (*files).syncs},
		{"a rename over an open file", (*files).renames},
		{"locks between containers", (*files).locks},
		{"a single file", (*files).singleFile},
		{"symbolic links", (*files).links},
		{"spaces and other letters in paths", (*files).oddPaths},
		{"read-only", (*files).readOnly},
		{"propagation of mounts", (*files).propagation},
		{"a source that is missing", (*files).missing},
		{"a source outside the shares", (*files).outside},
		{"the data directory of the daemon", (*files).dataDirectory},
		{"a Unix socket of the host", (*files).socket},
		{"the engine's socket", (*files).engineSocket},
		{"the SSH agent", (*files).sshAgent},
		{"watchers see changes on the host", (*files).watchers},
		{"git in a container", (*files).git},
		{"torture", (*files).torture},
		{"many small files", (*files).manyFiles},
		{"a file larger than the machine's memory", (*files).bigFile},
	} {
		began := time.Now()
		t.Run(part.name, func(t *testing.T) { part.test(f, t) })
		t.Logf("%s: %.1f s", part.name, time.Since(began).Seconds())
	}
}

// files is a daemon whose machine has three directories of the host.
type files struct {
	*daemon
	dir   string // of all of them
	home  string // the share "~"
	fixed string // a share that is read-only
	odd   string // a share with a strange name
	agent string // where the SSH agent's socket is to be
}

// fsx is the image of the inside of the tests of files.
const (
	fsx        = "e2e/fsx"
	devImage   = "arcbox/test-dev"
	filesMiB   = "512" // memory of the machine
	oddName    = "Größe & 日本 語's"
	dirMode    = 0o755
	sharedMode = 0o644
)

func newFiles(t *testing.T) *files {
	t.Helper()
	d := own(t, "files")
	f := &files{daemon: d, dir: filepath.Dir(d.data)}
	f.home, f.fixed, f.odd = filepath.Join(f.dir, "home"), filepath.Join(f.dir, "fixed"), filepath.Join(f.dir, oddName)
	f.agent = filepath.Join(f.dir, "agent.sock")
	for _, dir := range []string{f.home, f.fixed, f.odd} {
		require.NoError(t, os.Mkdir(dir, dirMode))
	}
	d.extra = []string{"HOME=" + f.home, "ARCBOX_VM__MOUNTS=~," + f.fixed + ":ro," + f.odd, "ARCBOX_VM__MEMORY_MB=" + filesMiB,
		"ARCBOX_DOCKER__SSH_AGENT=" + f.agent}
	require.NoError(t, d.start("--wait"))
	d.load(t)
	d.loadFsx(t)
	return f
}

// fsxProgram builds test/fsx once.
var fsxProgram = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "arcbox-fsx-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "fsx")
	build := exec.CommandContext(context.Background(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, "arcbox/test/fsx")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, errors.Join(err, errors.New(string(out)))
	}
	return os.ReadFile(file)
})

// loadFsx puts the image of test/fsx into the engine.
func (d *daemon) loadFsx(t *testing.T) {
	t.Helper()
	program, err := fsxProgram()
	require.NoError(t, err)
	var root bytes.Buffer
	w := tar.NewWriter(&root)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "fsx", Mode: 0o755, Size: int64(len(program))}))
	_, err = w.Write(program)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	cmd := d.command(t.Context(), "docker", "import", "-c", `ENTRYPOINT ["/fsx"]`, "-", fsx)
	cmd.Stdin = &root
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

// loadDev builds the image with git, Node.js and air, which only few tests
// need, and puts it into the engine. The build's result is in the cache of
// images/build.sh.
func (d *daemon) loadDev(t *testing.T) {
	t.Helper()
	if out, err := d.docker(t.Context(), "images", "-q", devImage); err == nil && out != "" {
		return
	}
	build := exec.CommandContext(t.Context(), "images/build.sh", "test-images")
	build.Dir = filepath.Dir(d.bin)
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	d.must(t, "load", "-i", d.image("dev"))
}

// makeDir makes a directory in the share for a test.
func (f *files) makeDir(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(f.home, name)
	require.NoError(t, os.Mkdir(dir, dirMode))
	return dir
}

// inside is a container in which fsx serve answers.
type inside struct {
	t       *testing.T
	encoder *json.Encoder
	decoder *json.Decoder
	stderr  *bytes.Buffer
}

// The protocol of fsx serve.
type (
	question struct{ Do, Path, Name, Data string }
	fileStat struct {
		Mode         uint32
		Size         int64
		UID, GID     uint32
		Links, Inode uint64
	}
	reply struct {
		Data, Error string
		Stat        *fileStat
	}
)

// inside runs a container until the test ends; args are those of docker run.
func (d *daemon) inside(t *testing.T, args ...string) *inside {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	cmd := d.command(ctx, "docker", append(append([]string{"run", "-i", "--rm"}, args...), fsx, "serve")...)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	i := &inside{t: t, encoder: json.NewEncoder(in), decoder: json.NewDecoder(bufio.NewReader(out)), stderr: &bytes.Buffer{}}
	cmd.Stderr = i.stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
		cancel()
	})
	return i
}

func (i *inside) try(q question) reply {
	i.t.Helper()
	require.NoError(i.t, i.encoder.Encode(q), q.Do)
	var r reply
	if err := i.decoder.Decode(&r); err != nil {
		i.t.Fatalf("%s: %v: %s", q.Do, err, i.stderr)
	}
	return r
}

func (i *inside) ask(do, path, data string) string {
	i.t.Helper()
	r := i.try(question{Do: do, Path: path, Data: data})
	require.Empty(i.t, r.Error, do+" "+path)
	return r.Data
}

// on asks about what is open or watched by a name.
func (i *inside) on(do, name, data string) string {
	i.t.Helper()
	r := i.try(question{Do: do, Name: name, Data: data})
	require.Empty(i.t, r.Error, do+" "+name)
	return r.Data
}

func (i *inside) open(do, name, path string) {
	i.t.Helper()
	r := i.try(question{Do: do, Name: name, Path: path})
	require.Empty(i.t, r.Error, do+" "+path)
}

func (i *inside) stat(path string) fileStat {
	i.t.Helper()
	r := i.try(question{Do: "stat", Path: path})
	require.Empty(i.t, r.Error, path)
	return *r.Stat
}

// write writes a file on the host.
func write(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), sharedMode))
}

func bind(source, target string, options ...string) string {
	return "-v=" + strings.Join(append([]string{source, target}, options...), ":")
}
