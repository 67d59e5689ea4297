//go:build linux

package kmsg

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFormat(t *testing.T) {
	for in, want := range map[string]string{
		"6,339,5140900,-;NET: Registered protocol family 10\n":               "[    5.140900] NET: Registered protocol family 10",
		"7,160,424069,-;pci_root PNP0A03:00: host bridge\n SUBSYSTEM=acpi\n": "[    0.424069] pci_root PNP0A03:00: host bridge",
		"30,1,1,-,caller=T1;a;b\n":                                           "[    0.000001] a;b",
		"":                                                                   "",
		"no record":                                                          "",
		"6,1;short":                                                          "",
		"6,1,x,-;no time":                                                    "",
	} {
		got, ok := Format(in)
		require.Equal(t, want, got)
		require.Equal(t, want != "", ok)
	}
}

func FuzzFormat(f *testing.F) {
	f.Add("6,339,5140900,-;NET\n")
	f.Fuzz(func(t *testing.T, in string) {
		got, ok := Format(in)
		require.Equal(t, ok, got != "")
		require.False(t, strings.Contains(got, "\n"))
	})
}
