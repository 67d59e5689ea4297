// Package darwin type-checks on any system what is built for macOS. No compiler
// for it is at hand there: the library for Virtualization.framework needs cgo and Apple's
// headers. What a type-check cannot find is whether it runs.
package darwin

import (
	"go/constant"
	"go/types"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	vzLibrary = "github.com/Code-Hex/vz/v3"
	vzAdapter = module + "/adapters/vz"
)

func TestEverythingForMacOSTypeChecks(t *testing.T) {
	for _, arch := range []string{"arm64", "amd64"} {
		t.Run(arch, func(t *testing.T) {
			c := newChecker(arch)
			own, bodies := 0, 0
			for _, p := range list(t, arch, append([]string{"-test"}, roots...)...) {
				errs := c.check(p, nil)
				for _, err := range errs {
					if p.ours() {
						t.Errorf("%s", err)
					} else {
						t.Logf("dependency: %s", err)
					}
				}
				if p.ours() {
					own++
					bodies += len(p.files())
				} else if p.ImportPath == vzLibrary || strings.HasPrefix(p.ImportPath, vzLibrary+"/") {
					// Where the library has no types, every use of it would pass.
					assert.Empty(t, errs)
				}
			}
			t.Logf("%d packages of the module, %d files; %d packages in all", own, bodies, len(c.packages))
			assert.Contains(t, c.packages, vzLibrary)
			assert.Contains(t, c.packages, vzAdapter)
			assert.Contains(t, c.packages, module+"/bootstrap")
			assert.Greater(t, own, 10)
		})
	}
}

// What is for Linux only must not come along: it would be built into the program.
func TestLinuxAdaptersAreNotBuiltForMacOS(t *testing.T) {
	for _, p := range list(t, "arm64", "./cmd/arcbox") {
		for _, linux := range []string{"/adapters/kvm", "/adapters/vsock", "/guest"} {
			if p.ImportPath == module+linux || strings.HasPrefix(p.ImportPath, module+linux+"/") {
				t.Errorf("arcbox for macOS contains %s", p.ImportPath)
			}
		}
	}
}

// The check is only worth something if it finds what is wrong in our files for
// macOS, in bodies of functions, against the real library.
func TestTypeErrorsAreFound(t *testing.T) {
	c := newChecker("arm64")
	var adapter listed
	for _, p := range list(t, "arm64", "./adapters/vz") {
		if p.ImportPath == vzAdapter {
			adapter = p
			continue
		}
		c.check(p, nil)
	}
	require.True(t, slices.ContainsFunc(adapter.GoFiles, func(f string) bool { return strings.HasSuffix(f, "_darwin.go") }),
		"the adapter's own files for macOS are not in the check")
	require.Empty(t, c.check(adapter, nil))

	head := "package vz\nimport lib \"" + vzLibrary + "\"\n"
	for name, test := range map[string]struct{ source, want string }{
		"correct": {head + "func extra(m *lib.VirtualMachine) error { return m.Stop() }", ""},
		"wrong type in a body": {
			"package vz\nfunc extra() { var s string = 1; _ = s }", "cannot use 1"},
		"wrong argument to the library": {
			head + "func extra() { _, _ = lib.NewSharedDirectory(1, true) }", "cannot use 1"},
		"result of the library left out": {
			head + "func extra() { d := lib.NewSharedDirectory(\"/\", true); _ = d }", "assignment mismatch"},
		"no such method in the library": {
			head + "func extra(m *lib.VirtualMachine) { m.PowerOff() }", "PowerOff undefined"},
		"function literal in a body": {
			head + "func extra() { _ = func(m *lib.VirtualMachine) int { return m.State() } }", "cannot use m.State()"},
		"interface not implemented": {
			"package vz\ntype half struct{}\nfunc (half) Start() error { return nil }\nvar _ guest = half{}", "missing method"},
		"against our own file for macOS": {
			"package vz\nfunc extra() { New(1) }", "not enough arguments"},
		"unknown import": {"package vz\nimport _ \"arcbox/nothing\"", "not part of the build"},
		"unused import":  {head, "imported as lib and not used"},
		"syntax":         {"package vz\nfunc extra( {", "expected"},
	} {
		t.Run(name, func(t *testing.T) {
			errs := c.check(adapter, map[string]string{"extra_darwin.go": test.source})
			if test.want == "" {
				require.Empty(t, errs)
				return
			}
			require.NotEmpty(t, errs)
			require.ErrorContains(t, errs[0], test.want)
			require.ErrorContains(t, errs[0], "extra_darwin.go")
		})
	}
}

// The adapter reads one field that the library does not export, and counts on the
// numbers of its states.
func TestTheAdapterFitsTheLibrarysInside(t *testing.T) {
	c := newChecker("arm64")
	for _, p := range list(t, "arm64", "./adapters/vz") {
		c.check(p, nil)
	}
	lib, own := c.packages[vzLibrary].Scope(), c.packages[vzAdapter].Scope()

	field := constant.StringVal(own.Lookup("connField").(*types.Const).Val())
	conn := lib.Lookup("VirtioSocketConnection").Type().Underlying().(*types.Struct)
	found := map[string]string{}
	for f := range conn.Fields() {
		found[f.Name()] = f.Type().String()
	}
	require.Equal(t, "net.Conn", found[field], "fields: %v", slices.Sorted(maps.Keys(found)))

	for ours, theirs := range map[string]string{
		"stateStopped":   "VirtualMachineStateStopped",
		"stateRunning":   "VirtualMachineStateRunning",
		"statePaused":    "VirtualMachineStatePaused",
		"stateError":     "VirtualMachineStateError",
		"statePausing":   "VirtualMachineStatePausing",
		"stateResuming":  "VirtualMachineStateResuming",
		"stateSaving":    "VirtualMachineStateSaving",
		"stateRestoring": "VirtualMachineStateRestoring",

		"vzInvalidConfiguration": "ErrorInvalidVirtualMachineConfiguration",
		"vzInvalidState":         "ErrorInvalidVirtualMachineState",
		"vzInvalidTransition":    "ErrorInvalidVirtualMachineStateTransition",
		"vzSave":                 "ErrorSave",
		"vzRestore":              "ErrorRestore",
		"vzInvalidDiskImage":     "ErrorInvalidDiskImage",
		"vzLimitExceeded":        "ErrorVirtualMachineLimitExceeded",
		"vzOutOfDiskSpace":       "ErrorOutOfDiskSpace",
	} {
		assert.Equal(t, lib.Lookup(theirs).(*types.Const).Val().ExactString(),
			own.Lookup(ours).(*types.Const).Val().ExactString(), theirs)
	}
}
