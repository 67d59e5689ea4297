// Package rules checks what no compiler checks: which layer may import which.
package rules

import (
	"encoding/json"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "arcbox"

type pkg struct {
	ImportPath string
	Imports    []string
	Standard   bool
	Deps       []string
}

// load lists the module's packages and their imports on both hosts: a rule
// that holds on Linux only is none.
func load(t *testing.T) map[string]map[string]pkg {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]map[string]pkg{}
	for _, goos := range []string{"linux", "darwin"} {
		cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-deps", "-json=ImportPath,Imports,Standard,Deps", "./...")
		cmd.Dir = root
		cmd.Env = append(cmd.Environ(), "GOOS="+goos, "CGO_ENABLED=1")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list for %s: %v", goos, err)
		}
		pkgs := map[string]pkg{}
		for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
			var p pkg
			if err := dec.Decode(&p); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			pkgs[p.ImportPath] = p
		}
		all[goos] = pkgs
	}
	return all
}

// yaml is the one library that the domain may use besides the standard one:
// kubeconfig files are rewritten as YAML nodes.
const yaml = "go.yaml.in/yaml/v3"

// doesIO are standard packages that a pure layer has no use for.
var doesIO = []string{"os", "os/exec", "os/signal", "net", "net/http", "syscall", "io/ioutil", "log/slog", "database/sql"}

// forTests are packages that only tests import.
var forTests = []string{
	module + "/application/port/mock", module + "/application/lifecycle/lifecycletest",
	module + "/adapters/internal/vhostuser/vhosttest",
}

// shared is no adapter: it holds mechanisms that several adapters need.
const shared = "adapters/internal"

// layer is the part of the hexagon that a package belongs to: "domain",
// "application", "adapters/kvm", "bootstrap", ...
func layer(path string) string {
	rest, ok := strings.CutPrefix(path, module+"/")
	if !ok {
		return ""
	}
	parts := strings.Split(rest, "/")
	if parts[0] == "adapters" && len(parts) > 1 {
		return parts[0] + "/" + parts[1]
	}
	return parts[0]
}

// allowed says whether a package of one layer may import another of the module.
func allowed(from, to string) bool {
	a, b := layer(from), layer(to)
	switch {
	case a == shared: // before the rest: one mechanism does not need another
		return b == "domain" || slices.Contains(forTests, from) && strings.HasPrefix(from, to+"/")
	case a == b:
		return true
	case a == "domain":
		return false
	case a == "application":
		return b == "domain"
	case strings.HasPrefix(a, "adapters/") && b == shared:
		return true
	case a == "adapters/cli" || a == "adapters/grpc" || a == "adapters/agent":
		return b == "domain" || b == "api" || to == module+"/application/port"
	case strings.HasPrefix(a, "adapters/"):
		return b == "domain" || to == module+"/application/port"
	case a == "guest":
		return b == "domain" || b == "api"
	case a == "api":
		return false
	case a == "bootstrap":
		return b != "cmd" && b != "test" && b != "guest"
	case a == "cmd":
		return b != "test"
	case a == "images":
		return b == "domain"
	default: // tests and benchmarks see everything
		return true
	}
}

func TestImportsPointInwards(t *testing.T) {
	for goos, pkgs := range load(t) {
		for path, p := range pkgs {
			if layer(path) == "" {
				continue
			}
			for _, to := range p.Imports {
				if layer(to) != "" && !allowed(path, to) {
					t.Errorf("%s: %s imports %s", goos, path, to)
				}
			}
		}
	}
}

func TestTheDomainIsPure(t *testing.T) {
	for goos, pkgs := range load(t) {
		for path, p := range pkgs {
			l := layer(path)
			if l != "domain" && l != "application" {
				continue
			}
			for _, to := range p.Imports {
				outside := layer(to) == "" && !pkgs[to].Standard
				switch {
				case l == "domain" && outside && to != yaml:
					t.Errorf("%s: %s imports %s: the domain uses the standard library", goos, path, to)
				case l == "domain" && slices.Contains(doesIO, to):
					t.Errorf("%s: %s imports %s: the domain does no I/O", goos, path, to)
				case l == "application" && outside && !slices.Contains(forTests, path):
					t.Errorf("%s: %s imports %s: the application uses ports", goos, path, to)
				}
			}
		}
	}
}

func TestSharedMechanismsNeedNoLibraries(t *testing.T) {
	found := false
	for goos, pkgs := range load(t) {
		for path, p := range pkgs {
			if layer(path) != shared || slices.Contains(forTests, path) {
				continue
			}
			found = true
			for _, to := range p.Imports {
				if layer(to) == "" && !pkgs[to].Standard && !strings.HasPrefix(to, "golang.org/x/sys/") {
					t.Errorf("%s: %s imports %s: it may use the standard library, golang.org/x/sys and the domain", goos, path, to)
				}
			}
		}
	}
	if !found {
		t.Errorf("nothing is in %s", shared)
	}
}

func TestAllowed(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"adapters/store", "adapters/internal/hostfile", true},
		{"adapters/store", "adapters/assets", false},
		{"adapters/kvm", "adapters/kvm/qmp", true},
		{"adapters/internal/hostfile", "domain", true},
		{"adapters/internal/hostfile", "adapters/internal/localsocket", false},
		{"adapters/internal/hostfile", "adapters/store", false},
		{"adapters/internal/hostfile", "application/port", false},
		{"adapters/internal/hostfile", "api/arcbox/v1", false},
		{"application/system", "adapters/internal/hostfile", false},
		{"domain", "adapters/internal/hostfile", false},
		{"guest/engine", "adapters/internal/hostfile", false},
	} {
		if allowed(module+"/"+c.from, module+"/"+c.to) != c.want {
			t.Errorf("%s imports %s: allowed is not %t", c.from, c.to, c.want)
		}
	}
}

func TestOnlyTelemetryAndTheEdgesKnowOpenTelemetry(t *testing.T) {
	for goos, pkgs := range load(t) {
		for path, p := range pkgs {
			if l := layer(path); l != "domain" && l != "application" {
				continue
			}
			for _, to := range p.Imports {
				if strings.HasPrefix(to, "go.opentelemetry.io/") {
					t.Errorf("%s: %s imports %s", goos, path, to)
				}
			}
		}
	}
}
