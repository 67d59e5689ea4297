package images_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The recipe of the step that is interrupted. It has half of its output when it
// says so, and then waits in a program that ends normally when interrupted, as
// some do. Only a second run, or one that is let go, comes to the end.
const slowStep = `
step_build() {
    echo half >"$1/out/product"
    : >"$STARTED"
    if [[ -z ${QUICK-} ]]; then
        bash -c 'trap "exit 0" INT TERM; for ((i = 0; i < 200; i++)); do echo "  CC      part$i.o"; sleep 0.1; done'
    fi
    echo whole >"$1/out/product"
}
`

// workshop is a copy of the step machinery with a step of its own.
type workshop struct {
	t       *testing.T
	dir     string
	started string
}

func newWorkshop(t *testing.T) workshop {
	t.Helper()
	dir := t.TempDir()
	images := filepath.Join(dir, "clone/images")
	require.NoError(t, os.MkdirAll(filepath.Join(images, "steps"), 0o755))
	lib, err := os.ReadFile("lib.sh")
	require.NoError(t, err)
	lib = bytes.Replace(lib, []byte("PROGRESS_SECONDS=15\n"), []byte("PROGRESS_SECONDS=1\n"), 1)
	require.NoError(t, os.WriteFile(filepath.Join(images, "lib.sh"), lib, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(images, "steps/slow.sh"), []byte(slowStep), 0o600))
	return workshop{t, dir, filepath.Join(dir, "started")}
}

// building is a run of the step, in a process group of its own.
type building struct {
	*exec.Cmd
	t     *testing.T
	group int
	log   string
}

func (w workshop) build(env ...string) building {
	w.t.Helper()
	log, err := os.CreateTemp(w.dir, "output")
	require.NoError(w.t, err)
	cmd := exec.CommandContext(w.t.Context(), "bash", "-c", "set -euo pipefail; source clone/images/lib.sh; run_step slow; echo after")
	cmd.Dir = w.dir
	cmd.Env = append(append(cmd.Environ(), "ARCBOX_CACHE="+filepath.Join(w.dir, "cache"), "STARTED="+w.started), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(w.t, cmd.Start())
	require.NoError(w.t, log.Close())
	b := building{cmd, w.t, cmd.Process.Pid, log.Name()}
	w.t.Cleanup(func() { _ = syscall.Kill(-b.group, syscall.SIGKILL) })
	return b
}

// buildHalf starts the step and returns when it has half of its product.
func (w workshop) buildHalf() building {
	w.t.Helper()
	b := w.build()
	require.Eventually(w.t, func() bool { _, err := os.Stat(w.started); return err == nil }, 20*time.Second, 20*time.Millisecond)
	return b
}

func (b building) signal(signal syscall.Signal) {
	b.t.Helper()
	require.NoError(b.t, syscall.Kill(-b.group, signal))
	require.Error(b.t, b.Wait())
}

func (b building) output() string {
	b.t.Helper()
	data, err := os.ReadFile(b.log)
	require.NoError(b.t, err)
	return string(data)
}

func (b building) requireSays(pattern string) {
	b.t.Helper()
	line := regexp.MustCompile(pattern)
	require.Eventually(b.t, func() bool { return line.MatchString(b.output()) }, 20*time.Second, 50*time.Millisecond, pattern)
}

func (w workshop) products() []string {
	w.t.Helper()
	found, err := filepath.Glob(filepath.Join(w.dir, "cache/guest/slow-????????????????/product"))
	require.NoError(w.t, err)
	return found
}

// requireWhole waits for a run that has to come to the end.
func (w workshop) requireWhole(b building) {
	w.t.Helper()
	require.NoError(w.t, b.Wait(), b.output())
	require.Contains(w.t, b.output(), "guest: slow: built in")
	products := w.products()
	require.Len(w.t, products, 1)
	data, err := os.ReadFile(products[0])
	require.NoError(w.t, err)
	require.Equal(w.t, "whole\n", string(data))
}

func TestInterruptedStepLeavesNoResultAndTheNextRunCompletes(t *testing.T) {
	for name, signal := range map[string]syscall.Signal{"ctrl-c": syscall.SIGINT, "terminated": syscall.SIGTERM, "killed": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorkshop(t)
			first := w.buildHalf()
			first.signal(signal)
			require.NotContains(t, first.output(), "built in")
			require.NotContains(t, first.output(), "after")
			require.Empty(t, w.products())
			w.requireWhole(w.build("QUICK=yes"))
		})
	}
}

// What a killed build leaves running still writes into the work directory, and
// would go on to the end and keep its result.
func TestStepWaitsForWhatAnEarlierBuildLeftRunning(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t)
	first := w.buildHalf()
	require.NoError(t, first.Process.Kill())

	second := w.build("QUICK=yes")
	second.requireSays(`guest: slow: waiting, \d+ s: \d+ objects, now CC part\d+\.o\n`)
	require.Empty(t, w.products(), "built beside the first")
	first.signal(syscall.SIGKILL)
	w.requireWhole(second)
}

func TestLongStepSaysHowFarItIs(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t)
	b := w.buildHalf()
	b.requireSays(`(?s)guest: slow: \d+ s: \d+ objects, now CC part\d+\.o\n.*guest: slow: \d+ s: \d+ objects, now CC part\d+\.o\n`)
	b.signal(syscall.SIGINT)
	require.Contains(t, b.output(), "guest: slow: interrupted")
}
