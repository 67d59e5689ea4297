//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// command runs a program to its end; the output is for errors only.
func command(dir, program string, args ...string) error {
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME=/tmp", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*", "NO_UPDATE_NOTIFIER=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.Join(lines[max(0, len(lines)-5):], " / "))
	}
	return nil
}

// treeDir is where makeTree makes its tree.
const treeDir = "tree"

// makeTree makes a repository with a large work tree, as a benchmark finds it:
// committed, packed, and comparing files by size and time alone, because the
// host that made the index sees other numbers of devices and inodes.
func makeTree(dir string, files int) error {
	tree := filepath.Join(dir, treeDir)
	for i := range files {
		name := filepath.Join(tree, fmt.Sprintf("package-%02d", i/1000), fmt.Sprintf("directory-%02d", i/50%20), fmt.Sprintf("source-%05d.go", i))
		if i%50 == 0 {
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil { //nolint:gosec // a benchmark's directory
				return err
			}
		}
		text := fmt.Sprintf("package p%d\n\n// F%d is one of many.\nfunc F%d() int { return %d }\n", i/50, i, i, i)
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil { //nolint:gosec // a benchmark's file
			return err
		}
	}
	for _, args := range [][]string{
		{"init", "-q"}, {"config", "core.checkStat", "minimal"}, {"config", "core.trustctime", "false"}, {"config", "gc.auto", "0"},
		{"config", "core.untrackedCache", "false"}, {"config", "core.fsmonitor", "false"},
		{"add", "."}, {"-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "-q", "-m", "all"}, {"gc", "-q"}, {"status"},
	} {
		if err := command(tree, "git", args...); err != nil {
			return err
		}
	}
	return nil
}

func gitStatus(o options, say func(string, string, float64)) error {
	tree := filepath.Join(o.dir, treeDir)
	if _, err := os.Stat(tree); err != nil {
		return err
	}
	// The first run may write the index anew.
	if err := command(tree, "git", "status", "--porcelain"); err != nil {
		return err
	}
	for _, name := range []string{"git status, cold", "git status again"} {
		if name == "git status, cold" {
			if err := dropCaches(); err != nil {
				return err
			}
		}
		began := time.Now()
		if err := command(tree, "git", "status", "--porcelain"); err != nil {
			return err
		}
		say(name, "s", time.Since(began).Seconds())
	}
	return nil
}

// npmInstall installs the image's small project from the image's cache, which is
// on the guest's own file system everywhere.
func npmInstall(o options, say func(string, string, float64)) error {
	const cache = "/tmp/npm-cache"
	if _, err := os.Stat(cache); errors.Is(err, os.ErrNotExist) {
		if err := command("/", "cp", "-r", "/opt/npm-cache", cache); err != nil {
			return err
		}
	}
	project := filepath.Join(o.dir, "project")
	if err := os.RemoveAll(project); err != nil {
		return err
	}
	defer os.RemoveAll(project)
	if err := command("/", "cp", "-r", "/opt/project", project); err != nil {
		return err
	}
	began := time.Now()
	err := command(project, "npm", "ci", "--offline", "--cache", cache, "--no-audit", "--no-fund", "--no-update-notifier", "--ignore-scripts")
	if err != nil {
		return err
	}
	say("npm ci, 72 packages, warm cache", "s", time.Since(began).Seconds())
	return nil
}
