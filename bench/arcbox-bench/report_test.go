package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestQuantileIsAMeasuredValue(t *testing.T) {
	values := []float64{5, 1, 4, 2, 3}
	require.InDelta(t, 3, median(values), 0)
	require.InDelta(t, 2, median([]float64{3, 2}), 0)
	require.InDelta(t, 5, quantile(values, 0.99), 0)
	require.InDelta(t, 1, quantile(values, 0), 0)
	require.Equal(t, []float64{5, 1, 4, 2, 3}, values, "the repetitions keep their order")
}

func TestRowsSayWhetherTheGoalIsMet(t *testing.T) {
	for _, c := range []struct {
		row  row
		want string
	}{
		{row{Figure: "f", Unit: "ms", Value: 12.34}, "| f | 12.3 ms |  |  |  |  |"},
		{row{Figure: "f", Unit: "ms", Value: 2, All: []float64{1, 2, 3.456}, Goal: &goal{AtMost: 2}}, "| f | 2 ms (1 to 3.46) |  |  | at most 2 ms | met |"},
		{row{Figure: "f", Value: 3, PeerName: "p", Peer: 2, Goal: &goal{AtMost: 2}}, "| f | 3 | p: 2 | 1.50 | at most 2 | missed |"},
		{row{Figure: "f", Unit: "s", Value: 1, PeerName: "p", Peer: 4, Goal: &goal{AtMost: 0.25, Ratio: true}}, "| f | 1 s | p: 4 s | 0.25 | ratio at most 0.25 | met |"},
		{row{Figure: "f", Unit: "s", Value: 1.1, PeerName: "p", Peer: 4, Goal: &goal{AtMost: 0.25, Ratio: true}}, "| f | 1.10 s | p: 4 s | 0.28 | ratio at most 0.25 | missed |"},
	} {
		require.Equal(t, c.want, c.row.markdown())
	}
}
