package qmp

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReadMessageLimit(t *testing.T) {
	read := func(text string) error {
		_, err := readMessage(bufio.NewReaderSize(strings.NewReader(text), 16), 100)
		return err
	}
	line := func(n int) string { return `{"a":"` + strings.Repeat("x", n-len(`{"a":""}`)-1) + "\"}\n" }
	require.NoError(t, read(line(100)))
	require.ErrorIs(t, read(line(101)), errMessageTooLong)
	require.ErrorIs(t, read(strings.Repeat("x", 1000)), errMessageTooLong, "found before the line's end")
	require.ErrorIs(t, read(`{"a":1}`), io.ErrUnexpectedEOF)
	require.ErrorIs(t, read(" \n\r\n"), io.EOF)
	for _, bad := range []string{"[]\n", "4\n", "null\n", "{\n", "{} {}\n", "\"x\"\n", `{"event": 5}` + "\n"} {
		require.ErrorIs(t, read(bad), errGarbage, bad)
	}
}

func FuzzReadMessage(f *testing.F) {
	for _, s := range []string{
		greeting + "\r\n", `{"return": {}, "id": 1}` + "\n", `{"event": "STOP", "data": {}, "timestamp": {"seconds": 1}}` + "\n\n",
		`{"error": {"class": "GenericError", "desc": "x"}, "id": "2"}`, "{}\n{", "\x00\n", `{"id": 18446744073709551616}` + "\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 1 << 10
		r := bufio.NewReaderSize(bytes.NewReader(data), 16)
		for range len(data) + 1 {
			m, err := readMessage(r, limit)
			if err != nil {
				known := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errMessageTooLong) || errors.Is(err, errGarbage)
				require.True(t, known, "%v", err)
				return
			}
			if id, ok := m.id(); ok {
				require.NotZero(t, id)
			}
			require.LessOrEqual(t, len(m.Data), limit)
			_ = m.event()
		}
		t.Fatal("more messages than bytes")
	})
}
