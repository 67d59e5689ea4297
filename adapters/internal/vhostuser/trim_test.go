//go:build linux

package vhostuser

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestTrimmerWaitsForTheEndOfATransfer(t *testing.T) {
	var tr trimmer
	for i, step := range []struct {
		pushed uint64
		due    bool
	}{
		{100, false},                       // heartbeats: nothing worth it
		{100 + 5*worthChains, false},       // a transfer is under way
		{100 + 9*worthChains, false},       // still
		{150 + 9*worthChains, true},        // it is over
		{200 + 9*worthChains, false},       // given up already
		{20, false},                        // the queues began anew
		{30, true},                         // unknown what that touched
		{30 + quietChains, false},          // quiet, not yet worth it
		{30 + 2*quietChains, true},         // many quiet looks add up
		{31 + 3*quietChains, false},        // one too many to be quiet
		{31 + 3*quietChains + 600, false},  // still
		{31 + 3*quietChains + 601, true},   // quiet again
		{31 + 3*quietChains + 602, false},  // and done
		{31 + 3*quietChains + 1000, false}, // nothing worth it
	} {
		require.Equal(t, step.due, tr.due(step.pushed), "step %d", i)
	}
}

// mapped is how many kB of a mapping this process's page table holds.
func mapped(t *testing.T, m []byte) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/smaps")
	require.NoError(t, err)
	start := fmt.Sprintf("%08x-", addressOf(m))
	_, rest, ok := strings.Cut("\n"+string(text), "\n"+start)
	require.True(t, ok, "no mapping at %s", start)
	_, rest, ok = strings.Cut(rest, "\nRss:")
	require.True(t, ok)
	var kb int
	_, err = fmt.Sscan(rest, &kb)
	require.NoError(t, err)
	return kb
}

func TestTrimGivesUpPagesAndKeepsWhatTheyHold(t *testing.T) {
	const size = 4 << 20
	fd, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, unix.Ftruncate(fd, size))
	table, err := mapTable([]regionSpec{{gpa: baseGPA, size: size, uva: baseUVA}}, []int{fd})
	require.NoError(t, err)
	defer table.unmap()
	mem := table.at(baseGPA, size)
	copy(mem, bytes.Repeat([]byte{7}, size))
	require.GreaterOrEqual(t, mapped(t, mem), size>>10)

	q := newQueue(0)
	q.Trim() // without memory there is nothing to do
	q.setTable(table)
	q.Trim()
	require.Zero(t, mapped(t, mem))
	require.Equal(t, bytes.Repeat([]byte{7}, size), mem)
}

func addressOf(m []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(m))) }
