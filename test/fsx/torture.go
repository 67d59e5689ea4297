package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// history is how many operations a report of a mismatch shows.
const history = 200

// mismatch is what a torture run ends with when the trees disagree.
type mismatch struct {
	number    int
	got, want outcome
	log       []string // the last operations, with the reference's answers
}

func (m *mismatch) Error() string {
	return fmt.Sprintf("operation %d: %s, and it has to be %s\nthe operations before, the last one being it:\n%s",
		m.number, m.got, m.want, strings.Join(m.log, "\n"))
}

// torture gives the same operations to both trees until their answers differ.
func torture(subject, reference tree, g *generator, ops int) error {
	defer subject.close()
	defer reference.close()
	var log []string
	for i := range ops {
		o := g.next()
		want, got := reference.apply(o), subject.apply(o)
		log = append(log, fmt.Sprintf("%d %s = %s", i, o, want))
		if len(log) > history {
			log = log[1:]
		}
		if !got.equal(want) {
			return &mismatch{number: i, got: got, want: want, log: log}
		}
	}
	return nil
}

// same compares two directories completely.
func same(subject, reference string) error {
	seen := map[string]bool{}
	compare := func(path string) error {
		if seen[path] {
			return nil
		}
		seen[path] = true
		a, b := filepath.Join(subject, path), filepath.Join(reference, path)
		got, want := describe(a), describe(b)
		if path == "." {
			got, want = outcome{}, outcome{} // made by others
		}
		if !got.equal(want) {
			return fmt.Errorf("%s at the end: %s, and it has to be %s", path, got, want)
		}
		info, err := os.Lstat(b)
		if err != nil {
			return err
		}
		switch {
		case info.Mode().IsRegular():
			got, want = readWhole(a), readWhole(b)
		case info.Mode()&fs.ModeSymlink != 0:
			got, want = linkOf(a), linkOf(b)
		}
		if !got.equal(want) {
			return fmt.Errorf("content of %s at the end: %s, and it has to be %s", path, got, want)
		}
		return nil
	}
	var errs []error
	for _, root := range []string{reference, subject} {
		errs = append(errs, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			return compare(rel)
		}))
	}
	return errors.Join(errs...)
}

func readWhole(path string) outcome {
	data, err := os.ReadFile(path)
	out := failed(err)
	out.Bytes = data
	return out
}

func linkOf(path string) outcome {
	to, err := os.Readlink(path)
	out := failed(err)
	out.Text = to
	return out
}

// runOne tortures a directory of its own below dir, against one below
// reference, and removes both if all went well.
func runOne(dir, reference string, seed uint64, process, ops int) error {
	name := fmt.Sprintf("fsx-%d-%d", seed, process)
	a, b := filepath.Join(dir, name), filepath.Join(reference, name)
	for _, d := range []string{a, b} {
		if err := errors.Join(os.RemoveAll(d), os.Mkdir(d, 0o700)); err != nil {
			return err
		}
	}
	unix.Umask(0o022)
	if err := torture(newDirTree(a), newDirTree(b), newGenerator(seed, uint64(process)), ops); err != nil { //nolint:gosec // a small number
		return fmt.Errorf("seed %d, process %d, left in %s and %s: %w", seed, process, a, b, err)
	}
	if err := same(a, b); err != nil {
		return fmt.Errorf("seed %d, process %d, left in %s and %s: %w", seed, process, a, b, err)
	}
	return errors.Join(os.RemoveAll(a), os.RemoveAll(b))
}
