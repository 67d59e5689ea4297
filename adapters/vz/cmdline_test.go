package vz

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestConsoleOnHVC(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"", "console=hvc0"},
		{"quiet", "console=hvc0 quiet"},
		{"console=ttyS0", "console=hvc0"},
		{"root=/dev/vda console=ttyS0,115200n8 ro", "root=/dev/vda console=hvc0 ro"},
		{"console=ttyAMA0 ro", "console=hvc0 ro"},
		{"console=hvc0 ro", "console=hvc0 ro"},
		{"console=ttyS0 console=ttyS1 ro", "console=hvc0 ro"},
		{"console=ttyS0 console=hvc0", "console=hvc0"},
		{"console=tty0 console=ttyS0", "console=tty0 console=hvc0"},
		{"console=tty1", "console=hvc0 console=tty1"},
		{"console=tty", "console=hvc0 console=tty"},
		{"console=null", "console=hvc0 console=null"},
		{"earlyprintk=ttyS0 earlycon=uart8250,io,0x3f8 earlycon console=ttyS0", "console=hvc0"},
		{"a=ttyS0 console.x=ttyS0", "console=hvc0 a=ttyS0 console.x=ttyS0"},
		{`arcbox.x="a console=ttyS0 b" console=ttyS0`, `arcbox.x="a console=ttyS0 b" console=hvc0`},
		{"  a \t b\n", "console=hvc0 a b"},
		{"console=ttyS0 -- console=ttyS0", "console=hvc0 --"},
	} {
		require.Equal(t, test.want, consoleOnHVC(test.in), test.in)
	}
}

func FuzzConsoleOnHVC(f *testing.F) {
	f.Add("console=ttyS0 ro")
	f.Add(`a="b c" console=tty0`)
	f.Add(`"`)
	f.Fuzz(func(t *testing.T, in string) {
		out := consoleOnHVC(in)
		require.Equal(t, out, consoleOnHVC(out), "twice is the same as once")
		consoles := 0
		for _, token := range tokens(out) {
			require.False(t, strings.HasPrefix(token, "console=ttyS"), out)
			if token == hvcConsole {
				consoles++
			}
		}
		require.Equal(t, 1, consoles, out)
	})
}
