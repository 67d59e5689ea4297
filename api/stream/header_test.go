package stream

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHeaderRoundTripLeavesWhatFollows(t *testing.T) {
	b, err := Header{NetworkTCP, "172.17.0.2:80"}.Append(nil)
	require.NoError(t, err)
	r := bytes.NewReader(append(b, "GET /"...))
	h, status, err := Read(r)
	require.NoError(t, err)
	require.Equal(t, StatusOK, status)
	require.Equal(t, Header{NetworkTCP, "172.17.0.2:80"}, h)
	require.Equal(t, len("GET /"), r.Len())
}

func TestReadRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want Status
	}{
		"nothing":           {"", StatusMalformed},
		"cut":               {"\x01\x01\x00\x05abc", StatusMalformed},
		"other version":     {"\x02\x01\x00\x01a", StatusUnsupported},
		"empty address":     {"\x01\x01\x00\x00", StatusMalformed},
		"oversized address": {"\x01\x01\x01\x01" + strings.Repeat("a", 257), StatusMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			_, status, err := Read(strings.NewReader(c.in))
			require.Error(t, err)
			require.Equal(t, c.want, status)
		})
	}
}

func TestAppendRefusesAddressesThatDoNotFit(t *testing.T) {
	for _, a := range []string{"", strings.Repeat("a", MaxAddress+1)} {
		_, err := Header{NetworkTCP, a}.Append(nil)
		require.Error(t, err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("\x01\x01\x00\x0c127.0.0.1:80"))
	f.Fuzz(func(t *testing.T, in []byte) {
		h, _, err := Read(bytes.NewReader(in))
		if err != nil {
			return
		}
		out, err := h.Append(nil)
		require.NoError(t, err)
		require.True(t, bytes.HasPrefix(in, out))
	})
}
