package darwin

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "arcbox"

// roots are the packages of the module that are built for macOS.
var roots = []string{"./cmd/arcbox", "./bootstrap", "./adapters/...", "./application/...", "./domain/..."}

// listed is what the go command says of a package.
type listed struct {
	Dir        string
	ImportPath string
	Name       string
	Standard   bool
	GoFiles    []string
	CgoFiles   []string
	ImportMap  map[string]string
	Module     *struct{ Path, GoVersion string }
	Error      *struct{ Err string }
}

func (p listed) ours() bool { return p.Module != nil && p.Module.Path == module }

// files are the Go sources of p that a build for macOS has, absolute.
func (p listed) files() []string {
	var out []string
	for _, f := range append(append([]string(nil), p.GoFiles...), p.CgoFiles...) {
		out = append(out, filepath.Join(p.Dir, f))
	}
	return out
}

// list returns packages and all that they need for macOS on arch, dependencies before
// what needs them. args are patterns, and "-test" before them to have tests too: a
// package with tests then comes twice, as others import it and as
// "path [path.test]" with its tests.
func list(t *testing.T, arch string, args ...string) []listed {
	t.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	// Without -compiled the go command does not run cgo, which needs the headers
	// of a Mac.
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-e", "-deps",
		"-json=Dir,ImportPath,Name,Standard,GoFiles,CgoFiles,ImportMap,Module,Error"}, args...)...)
	cmd.Dir = root
	cmd.Env = append(cmd.Environ(), "GOOS=darwin", "GOARCH="+arch, "CGO_ENABLED=1")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "go list: %s", stderr.String())
	var packages []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else {
			require.NoError(t, err)
		}
		if !strings.HasSuffix(p.ImportPath, ".test") { // the generated main
			packages = append(packages, p)
		}
	}
}
