package logring

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestTailIsTheEnd(t *testing.T) {
	s := New()
	for i := range 5 {
		s.Append("a", fmt.Appendf(nil, "line %d\n", i))
	}
	require.Equal(t, []string{"line 3", "line 4"}, s.Tail("a", 2))
	require.Len(t, s.Tail("a", 100), 5)
	require.Empty(t, s.Tail("b", 2))
}

func TestRingIsBoundedAndCountsWhatItDropped(t *testing.T) {
	s := New()
	positions := map[string]uint64{"a": 0}
	line := bytes.Repeat([]byte("x"), 1023)
	for range 3 * MaxBytes / 1024 {
		s.Append("a", line)
	}
	total := uint64(0)
	var dropped uint64
	for total+dropped < 3*MaxBytes/1024 {
		c, err := s.Next(t.Context(), positions, 10_000)
		require.NoError(t, err)
		require.LessOrEqual(t, len(c.Data), 10_000)
		total += uint64(bytes.Count(c.Data, []byte("\n")))
		dropped += c.Dropped
	}
	require.EqualValues(t, MaxBytes/1024, total)
	require.EqualValues(t, 2*MaxBytes/1024, dropped)
}

func TestLongLinesAreCut(t *testing.T) {
	s := New()
	w := s.Writer("a")
	_, _ = fmt.Fprintf(w, "%s", strings.Repeat("x", MaxLine))
	_, _ = fmt.Fprintf(w, "%s\nnext\n", strings.Repeat("y", MaxLine))
	got := s.Tail("a", 10)
	require.Len(t, got, 2)
	require.True(t, strings.HasSuffix(got[0], cut))
	require.Len(t, got[0], MaxLine+len(cut))
	require.Equal(t, "next", got[1])
}

func TestWriterJoinsPiecesAndFlushesTheLast(t *testing.T) {
	s := New()
	w := s.Writer("a")
	for _, p := range []string{"on", "e\ntw", "o\n\nthr", "ee"} {
		_, err := w.Write([]byte(p))
		require.NoError(t, err)
	}
	require.Equal(t, []string{"one", "two", ""}, s.Tail("a", 9))
	w.Flush()
	require.Equal(t, []string{"one", "two", "", "three"}, s.Tail("a", 9))
}

func TestNextWaitsForALineAndForTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		got := make(chan Chunk)
		positions := map[string]uint64{}
		go func() {
			c, _ := s.Next(t.Context(), positions, 100)
			got <- c
		}()
		synctest.Wait()
		s.Append("a", []byte("one"))
		require.Equal(t, Chunk{Component: "a", Data: []byte("one\n"), Next: 1}, <-got)

		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			_, err := s.Next(ctx, positions, 100)
			ended <- err
		}()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
	})
}

func TestAPositionOfAnotherBootStartsOver(t *testing.T) {
	s := New()
	s.Append("a", []byte("one"))
	c, err := s.Next(t.Context(), map[string]uint64{"a": 1000}, 100)
	require.NoError(t, err)
	require.Equal(t, "one\n", string(c.Data))
}
