//go:build linux

package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReportReadsFiguresAndJudges(t *testing.T) {
	r := newReport()
	r.Subjects = []string{ownShare, ninePLima, ownDisk}
	r.take(ownShare, "noise\r\nfigure {\"name\":\"create\",\"unit\":\"/s\",\"value\":400}\r\nfigure {\"name\":\"git status, cold\",\"unit\":\"s\",\"value\":2}\r\nfigure {\"name\":\"sequential read\",\"unit\":\"MiB/s\",\"value\":50}\r\nabsent npm: no npm\r\n")
	r.take(ninePLima, "figure {\"name\":\"create\",\"unit\":\"/s\",\"value\":100}\nfigure {\"name\":\"git status, cold\",\"unit\":\"s\",\"value\":3}\n")
	r.take(ownDisk, "figure {\"name\":\"sequential read\",\"unit\":\"MiB/s\",\"value\":100}\n")
	r.goals()
	require.Equal(t, []goal{
		{"create, share against 9p", 4, 2, true}, {"git status, cold, share against 9p", 1.5, 2, false},
		{"sequential read, share against disk", 0.5, 0.6, false},
	}, r.Goals)
	text := r.markdown()
	require.Contains(t, text, "| create | 4 |  |\n")
	require.Contains(t, text, "| git status, cold | 1.50 |  |\n", "less time is faster")
	require.Contains(t, text, "- absent: share, npm: no npm\n")
	require.Contains(t, text, "goal missed: sequential read, share against disk: 0.50, to be at least 0.60")
	require.NoError(t, r.write(t.TempDir()))
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		all  []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{5, 1}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 3, 2, 1}, 2.5}} {
		require.InDelta(t, c.want, median(c.all), 1e-9)
	}
}
