package darwin

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"strings"
	"sync"
)

// checker type-checks packages for macOS, dependencies first.
type checker struct {
	fset     *token.FileSet
	sizes    types.Sizes
	packages map[string]*types.Package
	// returned is called for each package of the module with what its functions
	// return, when it is set.
	returned func([]*ast.File, *types.Info)
}

func newChecker(arch string) *checker {
	return &checker{
		fset:     token.NewFileSet(),
		sizes:    types.SizesFor("gc", arch),
		packages: map[string]*types.Package{"unsafe": types.Unsafe},
	}
}

// check type-checks p, whose imports have been checked before. Bodies of
// functions are looked at in the module's own packages only: others have compiled
// elsewhere, and what they call through cgo is not known here.
//
// extra are further files of the package, name to source, which are not on the disk.
func (c *checker) check(p listed, extra map[string]string) []error {
	if p.ImportPath == "unsafe" {
		return nil
	}
	if p.Error != nil {
		return []error{fmt.Errorf("%s: %s", p.ImportPath, p.Error.Err)}
	}
	files, errs := c.parse(p.files(), extra)
	config := types.Config{
		FakeImportC:      true,
		IgnoreFuncBodies: !p.ours(),
		Importer:         resolver{c, p.ImportMap},
		Sizes:            c.sizes,
		Error:            func(err error) { errs = append(errs, err) },
	}
	if p.Module != nil && p.Module.GoVersion != "" {
		config.GoVersion = "go" + p.Module.GoVersion
	}
	// Every error has been collected by then; an incomplete package still helps
	// to check the others.
	path, _, _ := strings.Cut(p.ImportPath, " [")
	info := &types.Info{}
	if c.returned != nil && p.ours() {
		info.Types, info.Defs = map[ast.Expr]types.TypeAndValue{}, map[*ast.Ident]types.Object{}
	}
	checked, _ := config.Check(path, c.fset, files, info)
	if c.returned != nil && p.ours() {
		c.returned(files, info)
	}
	if len(extra) == 0 {
		c.packages[p.ImportPath] = checked
	}
	return errs
}

func (c *checker) parse(paths []string, extra map[string]string) ([]*ast.File, []error) {
	files := make([]*ast.File, len(paths))
	failures := make([]error, len(paths))
	var work sync.WaitGroup
	for i, path := range paths {
		work.Go(func() { files[i], failures[i] = parser.ParseFile(c.fset, path, nil, parser.SkipObjectResolution) })
	}
	work.Wait()
	var parsed []*ast.File
	var errs []error
	take := func(f *ast.File, err error) {
		if f != nil {
			parsed = append(parsed, f)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	for i, f := range files {
		take(f, failures[i])
	}
	for name, source := range extra {
		take(parser.ParseFile(c.fset, name, source, parser.SkipObjectResolution))
	}
	return parsed, errs
}

// resolver finds the imports of one package.
type resolver struct {
	c *checker
	// meant maps import paths in the source to packages: vendored ones, and those
	// with tests.
	meant map[string]string
}

// Import never loads anything: what is not there was not listed.
func (r resolver) Import(path string) (*types.Package, error) {
	if to, ok := r.meant[path]; ok {
		path = to
	}
	if p := r.c.packages[path]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("package %s is not part of the build", path)
}
