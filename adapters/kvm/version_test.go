package kvm

import (
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestParseVersion(t *testing.T) {
	tests := map[string]struct {
		want  version
		older bool
	}{
		"QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright": {version{7, 2, 22}, false},
		"QEMU emulator version 7.2.0":                       {version{7, 2, 0}, false},
		"QEMU emulator version 7.1.91 (v7.2.0-rc1)":         {version{7, 1, 91}, true},
		"warning: something\nQEMU emulator version 10.0":    {version{10, 0, 0}, false},
		"QEMU emulator version 6.2.0 (Debian 1:6.2+dfsg-2)": {version{6, 2, 0}, true},
	}
	for text, tt := range tests {
		got, err := parseVersion(text)
		require.NoError(t, err, text)
		require.Equal(t, tt.want, got, text)
		require.Equal(t, tt.older, got.less(oldest), text)
	}
	for _, bad := range []string{"", "QEMU", "version 7.2.0", "QEMU emulator version x.y", "QEMU emulator version 99999.1"} {
		_, err := parseVersion(bad)
		require.ErrorIs(t, err, domain.ErrCorrupt, bad)
	}
}

func FuzzParseVersion(f *testing.F) {
	f.Add("QEMU emulator version 7.2.22 (Debian)")
	f.Add("QEMU emulator version 7.2")
	f.Fuzz(func(t *testing.T, text string) {
		v, err := parseVersion(text)
		if err != nil {
			require.ErrorIs(t, err, domain.ErrCorrupt)
			return
		}
		again, err := parseVersion("QEMU emulator version " + v.String())
		require.NoError(t, err)
		require.Equal(t, v, again)
	})
}
