package darwin

import (
	"go/ast"
	"go/types"
	"testing"

	"github.com/stretchr/testify/require"
)

// The library returns (*T)(nil) with an error, and such a pointer in an interface is
// not nil: whoever tests the result would use it. So no function of the adapter puts a
// pointer into an interface in a return that may carry an error.
func TestNoTypedNilLeavesTheAdapter(t *testing.T) {
	for _, arch := range []string{"arm64", "amd64"} {
		t.Run(arch, func(t *testing.T) {
			adapter, c := adapterOnly(t, arch)
			returns := 0
			c.returned = func(files []*ast.File, info *types.Info) {
				for _, f := range files {
					for _, r := range typedNils(f, info, &returns) {
						t.Errorf("%s: a pointer becomes an interface beside an error", c.fset.Position(r.Pos()))
					}
				}
			}
			require.Empty(t, c.check(adapter, nil))
			require.Greater(t, returns, 100, "the returns were looked at")
		})
	}
}

func TestTypedNilsAreFound(t *testing.T) {
	adapter, c := adapterOnly(t, "arm64")
	head := "package vz\nimport lib \"" + vzLibrary + "\"\n"
	for name, test := range map[string]struct {
		source string
		found  int
	}{
		"call passed on": {head + "func extra() (lib.DirectoryShare, error) { return lib.NewLinuxRosettaDirectoryShare() }", 1},
		"pair passed on": {head + "func extra() (lib.DirectoryShare, error) { s, err := lib.NewLinuxRosettaDirectoryShare(); return s, err }", 1},
		"in a literal":   {head + "var extra = func() (lib.DirectoryShare, error) { return lib.NewLinuxRosettaDirectoryShare() }", 1},
		"error alone":    {head + "func extra(e *lib.NSError) error { return e }", 1},
		"error tested":   {head + "func extra(s *lib.MultipleDirectoryShare) (lib.DirectoryShare, error) { return s, nil }", 0},
		"still a pointer": {
			head + "func extra() (*lib.LinuxRosettaDirectoryShare, error) { return lib.NewLinuxRosettaDirectoryShare() }", 0},
		"outer of a literal": {
			head + "func extra() (lib.DirectoryShare, error) { _ = func() (*int, error) { return nil, nil }; return nil, nil }", 0},
		"made there": {"package vz\nfunc extra() error { return &frameworkError{} }", 0},
	} {
		t.Run(name, func(t *testing.T) {
			found := 0
			c.returned = func(files []*ast.File, info *types.Info) {
				found = len(typedNils(files[len(files)-1], info, new(int)))
			}
			require.Empty(t, c.check(adapter, map[string]string{"extra_darwin.go": test.source}))
			require.Equal(t, test.found, found)
		})
	}
}

// adapterOnly has everything checked that the adapter needs.
func adapterOnly(t *testing.T, arch string) (listed, *checker) {
	t.Helper()
	c := newChecker(arch)
	var adapter listed
	for _, p := range list(t, arch, "./adapters/vz") {
		if p.ImportPath == vzAdapter {
			adapter = p
			continue
		}
		c.check(p, nil)
	}
	return adapter, c
}

// typedNils finds the returns of f that may put a nil pointer into an interface: one
// that is an error itself, or that goes with an error other than the literal nil.
// seen counts all returns.
func typedNils(f *ast.File, info *types.Info, seen *int) []*ast.ReturnStmt {
	var found []*ast.ReturnStmt
	var within func(ast.Node, *types.Signature)
	within = func(n ast.Node, sig *types.Signature) {
		ast.Inspect(n, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Body != nil {
					within(n.Body, info.Defs[n.Name].Type().(*types.Signature))
				}
				return false
			case *ast.FuncLit:
				within(n.Body, info.Types[n].Type.(*types.Signature))
				return false
			case *ast.ReturnStmt:
				*seen++
				if sig != nil && mayBeTypedNil(n, sig.Results(), info) {
					found = append(found, n)
				}
			}
			return true
		})
	}
	within(f, nil)
	return found
}

func mayBeTypedNil(r *ast.ReturnStmt, results *types.Tuple, info *types.Info) bool {
	var given []types.Type
	safe := func(int) bool { return false }
	if len(r.Results) == 1 && results.Len() > 1 {
		for v := range info.Types[r.Results[0]].Type.(*types.Tuple).Variables() {
			given = append(given, v.Type())
		}
	} else {
		for _, e := range r.Results {
			given = append(given, info.Types[e].Type)
		}
		last := len(r.Results) - 1
		noError := last > 0 && info.Types[r.Results[last]].IsNil()
		safe = func(i int) bool {
			address, ok := r.Results[i].(*ast.UnaryExpr) // &T{} is never nil
			return noError || ok && address.Op.String() == "&"
		}
	}
	for i, g := range given {
		_, pointer := g.Underlying().(*types.Pointer)
		if pointer && types.IsInterface(results.At(i).Type()) && !safe(i) {
			return true
		}
	}
	return false
}
