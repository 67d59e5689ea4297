// Package images_test runs the scripts of this directory with stand-ins for the
// programs that they ask about the machine.
package images_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// machine is what deps.sh is made to see.
type machine struct {
	osRelease string   // contents; "" for no such file
	arch      string   // of uname; x86_64 if empty
	freeGB    string   // of df; plenty if empty
	missing   string   // the package that dpkg does not have
	user      string   // user id; 0 if empty
	sudo      string   // "": there is none, "refuses", "works"
	mirror    string   // ARCBOX_DEBIAN_MIRROR
	cached    []string // steps that the cache has results of
}

const (
	bookworm = "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n"
	trixie   = "ID=debian\nVERSION_ID=\"13\"\nVERSION_CODENAME=trixie\n"
	noble    = "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"24.04\"\nVERSION_CODENAME=noble\n"
)

var debianSteps = []string{"kernel", "rootfs", "init", "images"}

func TestDepsRefusesInOneLineBeforeAnythingIsInstalled(t *testing.T) {
	elsewhere := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(elsewhere, "dists/trixie"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(elsewhere, "dists/trixie/InRelease"), []byte("<html>welcome to the hotel</html>\n"), 0o600))

	for name, c := range map[string]struct {
		machine
		says []string
	}{
		"another distribution": {machine{osRelease: "ID=fedora\nVERSION_ID=42\n", missing: "socat"}, []string{"this is fedora", "images/packages.txt"}},
		"no os-release":        {machine{missing: "socat"}, []string{"neither Debian nor Ubuntu"}},
		"an old Debian":        {machine{osRelease: "ID=debian\nVERSION_ID=\"11\"\nVERSION_CODENAME=bullseye\n", missing: "socat"}, []string{"debian 11", "too old"}},
		"an old Ubuntu":        {machine{osRelease: "ID=ubuntu\nVERSION_ID=\"22.04\"\nVERSION_CODENAME=jammy\n", missing: "socat"}, []string{"ubuntu 22.04", "too old"}},
		"arm64":                {machine{osRelease: bookworm, arch: "aarch64", missing: "socat"}, []string{"arm64 is not supported"}},
		"another architecture": {machine{osRelease: bookworm, arch: "riscv64", missing: "socat"}, []string{"riscv64 is not supported", "x86_64"}},
		"a full disk":          {machine{osRelease: bookworm, freeGB: "3", missing: "socat"}, []string{"3 GB are free", "needs 12", "ARCBOX_CACHE"}},
		"Ubuntu has no mirror": {machine{osRelease: noble, missing: "socat"}, []string{"ARCBOX_DEBIAN_MIRROR"}},
		"a mirror's bare name": {machine{osRelease: noble, mirror: "mirror.example", missing: "socat"}, []string{`"mirror.example"`, "no address"}},
		"nobody at the mirror": {machine{osRelease: noble, mirror: "http://127.0.0.1:1/debian", missing: "socat"}, []string{"http://127.0.0.1:1/debian", "no Debian trixie"}},
		"no Debian there":      {machine{osRelease: bookworm, mirror: "file:" + elsewhere, missing: "socat"}, []string{elsewhere, "something else"}},
		"no sudo":              {machine{osRelease: bookworm, cached: debianSteps, user: "1000", missing: "socat"}, []string{"missing: socat;", "apt-get install -y --no-install-recommends socat"}},
		"sudo refuses":         {machine{osRelease: bookworm, cached: debianSteps, user: "1000", sudo: "refuses", missing: "socat"}, []string{"missing: socat;", "apt-get install -y --no-install-recommends socat"}},
	} {
		t.Run(name, func(t *testing.T) {
			run := c.machine.deps(t)
			require.Error(t, run.err)
			require.Equal(t, 1, strings.Count(run.stderr, "\n"), "one line: %s", run.stderr)
			require.True(t, strings.HasPrefix(run.stderr, "guest: error: "), run.stderr)
			for _, part := range c.says {
				require.Contains(t, run.stderr, part)
			}
			require.Empty(t, run.installed)
		})
	}
}

func TestDepsInstallsWhatIsMissing(t *testing.T) {
	debian := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(debian, "dists/trixie"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(debian, "dists/trixie/InRelease"), []byte("Origin: Debian\nCodename: trixie\n"), 0o600))

	for name, c := range map[string]struct {
		machine
		installs string
	}{
		"nothing":                  {machine{osRelease: bookworm, cached: debianSteps}, ""},
		"nothing, as a user":       {machine{osRelease: bookworm, cached: debianSteps, user: "1000"}, ""},
		"nothing, disk full since": {machine{osRelease: bookworm, cached: debianSteps, freeGB: "1"}, ""},
		"as root":                  {machine{osRelease: trixie, cached: debianSteps, missing: "socat"}, "socat"},
		"as a user with sudo":      {machine{osRelease: trixie, cached: debianSteps, missing: "socat", user: "1000", sudo: "works"}, "socat"},
		"on Ubuntu":                {machine{osRelease: noble, mirror: "file:" + debian, missing: "socat"}, "socat"},
		"on Ubuntu, all cached":    {machine{osRelease: noble, cached: debianSteps, missing: "socat"}, "socat"},
		"virtiofsd on 13":          {machine{osRelease: trixie, cached: debianSteps, missing: "virtiofsd"}, "virtiofsd"},
		"virtiofsd on Ubuntu":      {machine{osRelease: noble, cached: debianSteps, missing: "virtiofsd"}, "virtiofsd"},
		"virtiofsd not on 12":      {machine{osRelease: bookworm, cached: debianSteps, missing: "virtiofsd"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			run := c.machine.deps(t)
			require.NoError(t, run.err, run.stderr)
			require.Equal(t, c.installs, run.installed)
		})
	}
}

type depsRun struct {
	err       error
	stderr    string
	installed string // what apt-get was told to install
}

// deps runs deps.sh with no programs in its path but the harmless ones and
// stand-ins for those that tell about the machine or change it.
func (m machine) deps(t *testing.T) depsRun {
	t.Helper()
	if strings.Contains(m.mirror, ":/") {
		if _, err := os.Stat("/usr/lib/apt/apt-helper"); err != nil {
			t.Skip("the mirror is asked with apt's download program, which is not here")
		}
	}
	dir := t.TempDir()
	bin, cache := filepath.Join(dir, "bin"), filepath.Join(dir, "cache")
	require.NoError(t, os.MkdirAll(bin, 0o755))
	for _, step := range m.cached {
		require.NoError(t, os.MkdirAll(filepath.Join(cache, "guest", step+"-0123456789abcdef"), 0o755))
	}
	for _, tool := range []string{"bash", "awk", "cat", "dirname", "env", "grep", "mktemp", "rm", "sed", "sort"} {
		path, err := exec.LookPath(tool)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(path, filepath.Join(bin, tool)))
	}
	log := filepath.Join(dir, "installed")
	for tool, script := range map[string]string{
		"uname":      "echo " + or(m.arch, "x86_64"),
		"df":         "echo Avail; echo " + or(m.freeGB, "500"),
		"id":         "[ \"$1\" = -u ] && echo " + or(m.user, "0") + " || echo someone",
		"dpkg":       "", // --audit finds nothing
		"dpkg-query": `for last; do :; done; [ "$last" = "` + m.missing + `" ] && [ ! -e "` + log + `" ] || printf installed`,
		// Without sudo it works for root only.
		"apt-get": `[ "` + or(m.user, "0") + `" = 0 ] || [ -n "$AS_ROOT" ] || exit 100
			for last; do :; done; case " $* " in *" install "*) printf %s "$last" >"` + log + `";; esac`,
	} {
		writeScript(t, filepath.Join(bin, tool), script)
	}
	switch m.sudo {
	case "refuses":
		writeScript(t, filepath.Join(bin, "sudo"), "exit 1")
	case "works":
		writeScript(t, filepath.Join(bin, "sudo"), `[ "$1" = -n ] && shift; AS_ROOT=yes exec "$@"`)
	}
	release := filepath.Join(dir, "os-release")
	if m.osRelease != "" {
		require.NoError(t, os.WriteFile(release, []byte(m.osRelease), 0o600))
	}

	cmd := exec.CommandContext(t.Context(), "bash", "deps.sh", "--os-release", release)
	cmd.Env = []string{"PATH=" + bin, "HOME=" + dir, "ARCBOX_CACHE=" + cache, "ARCBOX_DEBIAN_MIRROR=" + m.mirror}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	installed, _ := os.ReadFile(log)
	return depsRun{err: err, stderr: stderr.String(), installed: string(installed)}
}

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

func writeScript(t *testing.T, path, script string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755)) //nolint:gosec // a program
}
