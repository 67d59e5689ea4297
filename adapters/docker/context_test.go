package docker

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

const configBefore = `{
	"auths": {
		"https://registry.example/v1/": {"auth": "dTpw"}
	},
	"zeta"  :  [1,2,   3],
	"credsStore": "desktop",
	"alpha": 1.50
}
`

func newTestContext(t *testing.T, config string) (*Context, string) {
	t.Helper()
	t.Setenv("DOCKER_HOST", "")
	t.Setenv("DOCKER_CONTEXT", "")
	dir := t.TempDir()
	if config != "" {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o640))
	}
	return NewContext(dir, "/data/run/docker.sock"), dir
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	require.NoError(t, err)
	return string(b)
}

func TestEnableAndDisable(t *testing.T) {
	c, dir := newTestContext(t, configBefore)
	require.NoError(t, c.Enable())
	want := strings.Replace(configBefore, "1.50\n", "1.50,\n\t\"currentContext\": \"arcbox\"\n", 1)
	require.Empty(t, cmp.Diff(want, read(t, dir, "config.json")))
	info, err := os.Stat(filepath.Join(dir, "config.json"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode().Perm())
	st, err := c.Status()
	require.NoError(t, err)
	require.Equal(t, ContextStatus{Exists: true, Current: true, CurrentName: "arcbox", SocketPath: "/data/run/docker.sock"}, st)

	require.NoError(t, c.Enable(), "again")
	require.NoError(t, c.Disable())
	require.Empty(t, cmp.Diff(configBefore, read(t, dir, "config.json")), "as if nothing had been")
	require.NoFileExists(t, filepath.Join(dir, previousFile))
	st, err = c.Status()
	require.NoError(t, err)
	require.Equal(t, ContextStatus{Exists: true, CurrentName: "default", SocketPath: "/data/run/docker.sock"}, st)
	require.NoError(t, c.Disable(), "again")
}

func TestPreviousContext(t *testing.T) {
	for name, tc := range map[string]struct {
		before, after string // values of currentContext; "" none
		there         bool
	}{
		"restored":            {"colima", "colima", true},
		"gone meanwhile":      {"colima", "", false},
		"default, literally":  {"default", "default", false},
		"none":                {"", "", false},
		"ours, without trace": {"arcbox", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			config := "{}"
			if tc.before != "" {
				config = `{"currentContext":"` + tc.before + `","x":1}`
			}
			c, dir := newTestContext(t, config)
			if tc.there {
				require.NoError(t, replaceFile(c.metaPath(tc.before), []byte("{}"), 0o644))
			}
			require.NoError(t, c.Enable())
			require.Contains(t, read(t, dir, "config.json"), `"arcbox"`)
			require.NoError(t, c.Disable())
			got, _ := topString([]byte(read(t, dir, "config.json")), currentKey)
			require.Equal(t, tc.after, got)
		})
	}
}

func TestDisableLeavesTheChoiceOfOthers(t *testing.T) {
	c, dir := newTestContext(t, `{"currentContext": "colima"}`)
	require.NoError(t, c.Enable())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"currentContext": "orbstack"}`), 0o600))
	require.NoError(t, c.Disable())
	require.Equal(t, `{"currentContext": "orbstack"}`, read(t, dir, "config.json"))
	require.NoFileExists(t, filepath.Join(dir, previousFile))
}

func TestSymbolicLinksStay(t *testing.T) {
	c, dir := newTestContext(t, "")
	dotfiles := t.TempDir()
	target := filepath.Join(dotfiles, "docker.json")
	require.NoError(t, os.Symlink("../"+filepath.Base(dotfiles)+"/docker.json", filepath.Join(dir, "link")))
	require.NoError(t, os.Symlink("link", filepath.Join(dir, "config.json")))
	require.NoError(t, c.Enable(), "leads nowhere yet")
	require.JSONEq(t, `{"currentContext":"arcbox"}`, read(t, target))
	require.NoError(t, os.WriteFile(target, []byte(configBefore), 0o600))
	require.NoError(t, c.Enable())
	require.Contains(t, read(t, target), "arcbox")
	to, err := os.Readlink(filepath.Join(dir, "config.json"))
	require.NoError(t, err)
	require.Equal(t, "link", to)
	loop := filepath.Join(dir, "loop")
	require.NoError(t, os.Symlink("loop", loop))
	require.ErrorIs(t, replaceFile(loop, nil, 0o600), domain.ErrInvalid)
}

func TestBrokenConfigIsLeftAlone(t *testing.T) {
	for _, config := range []string{"{", `["a"]`, "null", `{"a":1} trailing`, `{"a":1,}`} {
		c, dir := newTestContext(t, config)
		for _, act := range []func() error{c.Enable, c.Disable, func() error { _, err := c.Status(); return err }} {
			err := act()
			require.ErrorIs(t, err, domain.ErrInvalid, config)
			require.Contains(t, err.Error(), "config.json")
			require.NotEmpty(t, domain.Hint(err))
		}
		require.Equal(t, config, read(t, dir, "config.json"))
		list, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, list, 1, "nothing else was made")
	}
}

func TestNothingIsWrittenWithoutAChange(t *testing.T) {
	c, dir := newTestContext(t, configBefore)
	require.NoError(t, c.Enable())
	files := []string{filepath.Join(dir, "config.json"), c.metaPath(ContextName)}
	inode := func() (list []os.FileInfo) {
		for _, f := range files {
			info, err := os.Stat(f)
			require.NoError(t, err)
			list = append(list, info)
		}
		return list
	}
	before := inode()
	require.NoError(t, c.Enable())
	require.NoError(t, c.Ensure())
	for i, info := range inode() {
		require.True(t, os.SameFile(before[i], info), files[i])
	}
	other := NewContext(dir, "/elsewhere/docker.sock")
	require.NoError(t, other.Ensure())
	require.Contains(t, read(t, files[1]), "/elsewhere/docker.sock", "the endpoint is refreshed")
	st, err := c.Status()
	require.NoError(t, err)
	require.False(t, st.Exists, "it points elsewhere")
}

func TestStatusOfEnvironmentAndSocket(t *testing.T) {
	c, _ := newTestContext(t, "")
	c.socket = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", c.socket)
	require.NoError(t, err)
	defer l.Close()
	for _, tc := range []struct{ host, context, want string }{
		{"", "", ""}, {"tcp://elsewhere:1", "", "DOCKER_HOST"}, {"", "colima", "DOCKER_CONTEXT"}, {"", "arcbox", ""},
		{"unix://" + c.socket, "colima", ""}, {"tcp://x:1", "arcbox", "DOCKER_HOST"},
	} {
		t.Setenv("DOCKER_HOST", tc.host)
		t.Setenv("DOCKER_CONTEXT", tc.context)
		st, err := c.Status()
		require.NoError(t, err)
		require.Equal(t, tc.want, st.OverriddenBy, tc)
		require.True(t, st.SocketExists)
	}
}

func TestDirectoryOfConfiguration(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", "/from/environment")
	require.Equal(t, "/from/environment", NewContext("", "s").dir)
	t.Setenv("DOCKER_CONFIG", "")
	t.Setenv("HOME", "/home/somebody")
	require.Equal(t, "/home/somebody/.docker", NewContext("", "s").dir)
}

// FuzzConfigEdit: setting and removing a member changes nothing else.
func FuzzConfigEdit(f *testing.F) {
	for _, seed := range []string{configBefore, "{}", " { \n } ", `{"currentContext":"x"}`, `{"a":{"currentContext":"in"},"currentContext" : "x" , "b":[]}`,
		`{"CURRENTCONTEXT":1,"currentContext":"y"}`, `{"a":1}`, "{\r\n  \"a\": \"}\"\r\n}", `{"\u0063urrentContext":"x","c":"\""}`} {
		f.Add([]byte(seed), "colima")
	}
	f.Fuzz(func(t *testing.T, text []byte, value string) {
		if checkObject(text) != nil {
			return
		}
		rest := func(p []byte) map[string]json.RawMessage {
			var m map[string]json.RawMessage
			if err := json.Unmarshal(p, &m); err != nil {
				t.Fatalf("%q became %q: %v", text, p, err)
			}
			for k := range m {
				if strings.EqualFold(k, currentKey) {
					delete(m, k)
				}
			}
			return m
		}
		before := rest(text)
		set := setTopString(bytes.Clone(text), currentKey, value)
		if diff := cmp.Diff(before, rest(set)); diff != "" {
			t.Fatal(diff)
		}
		var want string
		quoted, _ := json.Marshal(value)
		_ = json.Unmarshal(quoted, &want)
		if got, found := topString(set, currentKey); !found || got != want {
			t.Fatalf("%q: read %q, want %q", set, got, want)
		}
		removed := removeTop(bytes.Clone(set), currentKey)
		if diff := cmp.Diff(before, rest(removed)); diff != "" {
			t.Fatal(diff)
		}
		if _, found := topString(removed, currentKey); found {
			t.Fatalf("%q still has it", removed)
		}
	})
}

// TestDockerCLIAcceptsTheContext asks the real client, where there is one.
func TestDockerCLIAcceptsTheContext(t *testing.T) {
	docker, err := exec.LookPath("docker")
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("no docker client here")
	}
	c, dir := newTestContext(t, configBefore)
	require.NoError(t, c.Enable())
	cmd := exec.CommandContext(t.Context(), docker, "context", "inspect", "--format", "{{.Name}} {{.Endpoints.docker.Host}}")
	cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+dir)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Equal(t, "arcbox unix:///data/run/docker.sock\n", string(out))
}
