//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// perDirectory is how many files a directory holds, as in source trees at most.
const perDirectory = 500

func smallName(dir string, i int) string {
	return filepath.Join(dir, fmt.Sprint(i/perDirectory), fmt.Sprintf("file-%05d.txt", i))
}

// small makes many small files, looks at all of them in different ways, and
// removes them.
func small(o options, say func(string, string, float64)) error {
	dir := filepath.Join(o.dir, "small")
	defer os.RemoveAll(dir)
	n := o.files
	each := func(name string, cold bool, f func(path string) error) error {
		if cold {
			if err := dropCaches(); err != nil {
				return err
			}
		}
		began := time.Now()
		for i := range n {
			if err := f(smallName(dir, i)); err != nil {
				return err
			}
		}
		say(name, "/s", float64(n)/time.Since(began).Seconds())
		return nil
	}
	for i := 0; i < n; i += perDirectory {
		if err := os.MkdirAll(filepath.Dir(smallName(dir, i)), 0o755); err != nil { //nolint:gosec // a benchmark's directory
			return err
		}
	}
	content := make([]byte, 100)
	if err := each("create", false, func(path string) error { return os.WriteFile(path, content, 0o644) }); err != nil { //nolint:gosec // a benchmark's file
		return err
	}
	stat := func(path string) error { _, err := os.Stat(path); return err }
	if err := each("stat, cold", true, stat); err != nil {
		return err
	}
	if err := each("stat again", false, stat); err != nil {
		return err
	}
	if err := each("read whole files, cold", true, func(path string) error { _, err := os.ReadFile(path); return err }); err != nil {
		return err
	}
	if err := dropCaches(); err != nil {
		return err
	}
	began, found := time.Now(), 0
	for i := 0; i < n; i += perDirectory {
		entries, err := os.ReadDir(filepath.Dir(smallName(dir, i)))
		if err != nil {
			return err
		}
		found += len(entries)
	}
	if found != n {
		return fmt.Errorf("%d of %d files are listed", found, n)
	}
	say("readdir, cold, entries", "/s", float64(n)/time.Since(began).Seconds())
	return each("delete", false, os.Remove)
}
