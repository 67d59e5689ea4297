package vz

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestJudge(t *testing.T) {
	for name, test := range map[string]struct {
		facts facts
		hint  string // empty when machines can run
	}{
		"macOS 13":        {facts{Version: "13.0", Hypervisor: true}, ""},
		"macOS 26":        {facts{Version: "26.3.1", Hypervisor: true}, ""},
		"macOS 12":        {facts{Version: "12.7.6", Hypervisor: true}, "update to macOS 13"},
		"10.15":           {facts{Version: "10.15.7", Hypervisor: true}, "update to macOS 13"},
		"virtual Mac":     {facts{Version: "14.1"}, "nested virtualization"},
		"old and virtual": {facts{Version: "12.1"}, "update to macOS 13"},
	} {
		t.Run(name, func(t *testing.T) {
			info, err := judge(test.facts)
			if test.hint == "" {
				require.NoError(t, err)
				require.Equal(t, domain.HypervisorInfo{Driver: "vz", Version: test.facts.Version, Accelerator: domain.AcceleratorHVF}, info)
				return
			}
			require.ErrorIs(t, err, domain.ErrUnsupported)
			require.Contains(t, domain.Hint(err), test.hint)
			require.Empty(t, info)
		})
	}
	for _, version := range []string{"", "x", "-13", "0", "thirteen.1"} {
		_, err := judge(facts{Version: version, Hypervisor: true})
		require.ErrorIs(t, err, domain.ErrUnsupported, version)
	}
}

func TestCheckRosetta(t *testing.T) {
	require.NoError(t, checkRosetta(RosettaInstalled))
	for state, hint := range map[RosettaState]string{RosettaNotInstalled: "softwareupdate", RosettaUnsupported: "Apple silicon", "": "Apple silicon"} {
		err := checkRosetta(state)
		require.ErrorIs(t, err, domain.ErrUnsupported)
		require.Contains(t, domain.Hint(err), hint)
	}
}

func TestLimitsAreRoundedToTheSafeSide(t *testing.T) {
	require.Equal(t, domain.MiB(2), ceilMiB(1<<20+1))
	require.Equal(t, domain.MiB(1), ceilMiB(1<<20))
	require.Equal(t, domain.MiB(1), floorMiB(2<<20-1))
	require.Equal(t, domain.MiB(0), ceilMiB(0))
}

func TestExplain(t *testing.T) {
	require.NoError(t, explain("x", nil))
	for name, test := range map[string]struct {
		err  error
		kind error
		hint string
	}{
		"not signed":    {&frameworkError{vzDomain, vzInvalidConfiguration, "needs “" + entitlement + "”"}, domain.ErrPermission, entitlement},
		"configuration": {&frameworkError{vzDomain, vzInvalidConfiguration, "memory"}, domain.ErrInvalid, ""},
		"disk image":    {&frameworkError{vzDomain, vzInvalidDiskImage, "x"}, domain.ErrInvalid, "raw image"},
		"limit":         {&frameworkError{vzDomain, vzLimitExceeded, "x"}, domain.ErrUnavailable, "stop another"},
		"disk full":     {&frameworkError{vzDomain, vzOutOfDiskSpace, "x"}, domain.ErrUnavailable, "free space"},
		"internal":      {&frameworkError{vzDomain, 1, "x"}, domain.ErrUnavailable, ""},
		"other domain":  {&frameworkError{"NSCocoaErrorDomain", vzInvalidDiskImage, "x"}, domain.ErrUnavailable, ""},
		"permission":    {&frameworkError{posixDomain, darwinEACCES, "x"}, domain.ErrPermission, ""},
		"descriptors":   {&frameworkError{posixDomain, darwinEMFILE, "x"}, domain.ErrUnavailable, "open files"},
		"no such file":  {fs.ErrNotExist, domain.ErrNotFound, ""},
		"the domain's":  {domain.ErrUnsupported, domain.ErrUnsupported, ""},
		"anything else": {errors.New("x"), domain.ErrUnavailable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := explain("doing it", test.err)
			require.ErrorIs(t, err, test.kind)
			require.ErrorIs(t, err, test.err)
			require.ErrorContains(t, err, "doing it: ")
			if test.hint == "" {
				require.Empty(t, domain.Hint(err))
			} else {
				require.Contains(t, domain.Hint(err), test.hint)
			}
		})
	}
	require.NotErrorIs(t, explain("x", domain.ErrUnsupported), domain.ErrUnavailable)
}

func TestDialError(t *testing.T) {
	for _, code := range []int{54, 61} {
		require.ErrorIs(t, dialError(1024, &frameworkError{posixDomain, code, "x"}), syscall.ECONNREFUSED)
	}
	for _, err := range []error{&frameworkError{posixDomain, 60, "x"}, &frameworkError{vzDomain, 54, "x"}, errors.New("x")} {
		got := dialError(1024, err)
		require.NotErrorIs(t, got, syscall.ECONNREFUSED)
		require.ErrorIs(t, got, domain.ErrUnavailable)
		require.ErrorContains(t, got, "1024")
	}
}

func TestDescribe(t *testing.T) {
	require.Equal(t, "a b { c = d; }", describe("a b", "{\n    c = d;\n}\n"))
	long := describe(strings.Repeat("é", 4096), "")
	require.LessOrEqual(t, len(long), 1<<10+3)
	require.Equal(t, long, strings.ToValidUTF8(long, "?"))
}

func TestContextError(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	<-ctx.Done()
	require.Equal(t, domain.ErrTimeout, contextError(ctx))
	why := errors.New("why")
	ended, end := context.WithCancelCause(t.Context())
	end(why)
	require.ErrorIs(t, contextError(ended), domain.ErrCanceled)
	require.ErrorIs(t, contextError(ended), why)
}
