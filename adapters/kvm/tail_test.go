package kvm

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTail(t *testing.T) {
	t.Run("first line and end", func(t *testing.T) {
		var out tail
		for i := range 10_000 {
			fmt.Fprintf(&out, "\nline %d", i)
		}
		require.Equal(t, "line 0", out.First())
		require.True(t, strings.HasSuffix(out.String(), "line 9998\nline 9999"))
		require.LessOrEqual(t, len(out.String()), tailSize)
	})
	t.Run("a line without an end is bounded", func(t *testing.T) {
		var out tail
		fmt.Fprint(&out, strings.Repeat("x", 3*tailSize))
		require.Len(t, out.First(), tailSize)
		require.Len(t, out.String(), tailSize)
	})
	t.Run("not text", func(t *testing.T) {
		var out tail
		out.Write([]byte{0xff, 'a', '\n'})
		require.Equal(t, "?a", out.First())
	})
	t.Run("nothing", func(t *testing.T) {
		var out tail
		require.Empty(t, out.First())
		require.Empty(t, out.String())
	})
}
