package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// memory is a directory in memory, where fsync costs nothing.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "fsx-test-") //nolint:usetesting // not on the disk
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// One of the two is on a disk, so that two kinds of file system are compared.
func TestTwoDirectoriesAgree(t *testing.T) {
	for seed := range uint64(2) {
		require.NoError(t, runOne(t.TempDir(), memory(t), seed, 0, 1000))
	}
}

func TestTheSameSeedGivesTheSameOperations(t *testing.T) {
	a, b, other := newGenerator(7, 1), newGenerator(7, 1), newGenerator(7, 2)
	differ := 0
	for range 1000 {
		o := a.next()
		require.Equal(t, o, b.next())
		if o != other.next() {
			differ++
		}
	}
	require.Greater(t, differ, 900, "another process has its own")
}

func TestEveryKindOfOperationComesAndMostSucceed(t *testing.T) {
	d := newDirTree(memory(t))
	defer d.close()
	g := newGenerator(1, 0)
	var did [kinds]int
	for range 8_000 {
		o := g.next()
		out := d.apply(o)
		require.Empty(t, out.Broken, o)
		if out.Err == 0 && out.Text != "nothing open" && out.Text != "beyond the end" {
			did[o.Kind]++
		}
	}
	for k, n := range did {
		require.Greater(t, n, 2, kindNames[k])
	}
}

// faulty is a file system with a mistake.
type faulty struct {
	*dirTree
	fault func(op) (outcome, bool)
}

func (f faulty) apply(o op) outcome {
	if out, done := f.fault(o); done {
		return out
	}
	return f.dirTree.apply(o)
}

// once applies a fault to the nth operation of a kind that would do something.
func once(d *dirTree, k kind, n int, answer func(op) outcome) func(op) (outcome, bool) {
	return func(o op) (outcome, bool) {
		if o.Kind != k || d.open[o.Slot] == nil && (k == opWrite || k == opSync) {
			return outcome{}, false
		}
		n--
		return answer(o), n == 0
	}
}

func TestAMistakeIsFound(t *testing.T) {
	lostWrite := func(o op) outcome { return counted(o.Length, nil) }
	success := func(op) outcome { return outcome{} }
	for name, fault := range map[string]func(*dirTree) func(op) (outcome, bool){
		"a lost mkdir": func(d *dirTree) func(op) (outcome, bool) { return once(d, opMkdir, 1, success) },
		"an error of a sync": func(d *dirTree) func(op) (outcome, bool) {
			return once(d, opSync, 1, func(op) outcome { return failed(io.ErrShortWrite) })
		},
		"all writes lost": func(d *dirTree) func(op) (outcome, bool) {
			return func(o op) (outcome, bool) { return lostWrite(o), o.Kind == opWrite && d.open[o.Slot] != nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := memory(t), memory(t)
			d := newDirTree(a)
			err := torture(faulty{d, fault(d)}, newDirTree(b), newGenerator(3, 0), 1000)
			if err == nil {
				err = same(a, b)
			}
			require.Error(t, err)
			var m *mismatch
			if errors.As(err, &m) {
				require.Contains(t, err.Error(), m.log[len(m.log)-1])
			}
		})
	}
}

// Some lost writes nobody can see: to files that are gone or written over.
func TestALostWriteIsFoundIfItCanBeSeen(t *testing.T) {
	found := 0
	for n := 1; n < 9; n++ {
		a, b := memory(t), memory(t)
		d := newDirTree(a)
		lost := once(d, opWrite, n, func(o op) outcome { return counted(o.Length, nil) })
		err := torture(faulty{d, lost}, newDirTree(b), newGenerator(3, 0), 1000)
		if err == nil {
			err = same(a, b)
		}
		if err != nil {
			found++
		}
	}
	require.GreaterOrEqual(t, found, 4)
}

func TestDifferencesAtTheEndAreFound(t *testing.T) {
	a, b := memory(t), memory(t)
	write := func(dir, name, content string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	write(a, "f", "one")
	write(b, "f", "one")
	require.NoError(t, same(a, b))
	write(a, "f", "two")
	require.ErrorContains(t, same(a, b), "content of f")
	write(a, "f", "one")
	write(a, "more", "")
	require.ErrorContains(t, same(a, b), "more")
	write(b, "more", "")
	write(b, "less", "")
	require.ErrorContains(t, same(a, b), "less")
}

func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(memory(t), "fsx")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	return program
}

func TestProcessesAgreeAndCountTogether(t *testing.T) {
	program := build(t)
	out, err := exec.CommandContext(t.Context(), program, "-dir", memory(t), "-reference", memory(t), "-ops", "500", "-procs", "3", "-seed", "5").CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "500 operations of 3 processes agree, seed 5")
}

func TestWithoutALockCountsAreLost(t *testing.T) {
	program := build(t)
	const times = 20_000
	for _, lock := range []string{"none", "flock", "fcntl"} {
		file := filepath.Join(memory(t), lock)
		both := []*exec.Cmd{nil, nil}
		for i := range both {
			both[i] = exec.CommandContext(t.Context(), program, "count", "-file", file, "-lock", lock, "-times", strconv.Itoa(times))
			require.NoError(t, both[i].Start())
		}
		for _, cmd := range both {
			require.NoError(t, cmd.Wait())
		}
		n, err := countIn(file)
		require.NoError(t, err)
		if lock == "none" {
			require.Less(t, n, 2*times)
		} else {
			require.Equal(t, 2*times, n, lock)
		}
	}
}

func TestServerAnswers(t *testing.T) {
	in, requests := io.Pipe()
	answers, out := io.Pipe()
	served := make(chan error, 1)
	go func() { served <- serve(in, out) }()
	encoder, decoder := json.NewEncoder(requests), json.NewDecoder(answers)
	ask := func(r request) answer {
		require.NoError(t, encoder.Encode(r))
		var a answer
		require.NoError(t, decoder.Decode(&a))
		return a
	}
	dir := memory(t)
	file := filepath.Join(dir, "f")
	require.Empty(t, ask(request{Do: "watch", Name: "w", Path: dir}).Error)
	require.Empty(t, ask(request{Do: "write", Path: file, Data: "hello"}).Error)
	require.Equal(t, "hello", ask(request{Do: "read", Path: file}).Data)
	require.Contains(t, ask(request{Do: "event", Name: "w", Data: "10s"}).Data, "CREATE f\n")
	require.Equal(t, int64(5), ask(request{Do: "stat", Path: file}).Stat.Size)
	require.Empty(t, ask(request{Do: "open", Name: "o", Path: file}).Error)
	require.Empty(t, ask(request{Do: "lock", Name: "o"}).Error)
	require.Empty(t, ask(request{Do: "lock", Name: "o", Data: "fcntl"}).Error)
	require.Equal(t, "hello", ask(request{Do: "readopen", Name: "o"}).Data)
	require.NotEmpty(t, ask(request{Do: "read", Path: filepath.Join(dir, "absent")}).Error)
	require.NotEmpty(t, ask(request{Do: "nonsense", Name: "o"}).Error)
	require.NoError(t, requests.Close())
	require.NoError(t, <-served)
}
