//go:build linux

package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRatioIsTheMedianOfTheRounds(t *testing.T) {
	r := newReport("test")
	for _, v := range [][2]float64{{10, 5}, {30, 10}, {1, 10}} {
		r.add("speed", "", "arcbox", v[0])
		r.add("speed", "", "peer", v[1])
	}
	ratio, ok := r.ratio("speed", "arcbox", "peer")
	require.True(t, ok)
	require.InDelta(t, 2, ratio, 1e-9) // of 2, 3 and 0.1; the medians' ratio is 1
	r.add("speed", "", "peer", 1)
	_, ok = r.ratio("speed", "arcbox", "peer")
	require.False(t, ok, "rounds that are not the same ones")
	_, ok = r.ratio("speed", "arcbox", "nobody")
	require.False(t, ok)
}

func TestForwardGoals(t *testing.T) {
	r := newReport("test")
	for of, v := range map[string]float64{"arcbox": 80, "tap": 100, "passt": 81} {
		r.add(up, "", of, v)
		r.add(rttP50, "", of, 1/v)
	}
	forwardGoals(r)
	met := map[string]bool{}
	for _, g := range r.Goals {
		met[g.What] = g.Met
	}
	require.Equal(t, map[string]bool{
		up + ", arcbox / tap":                                     true,  // within 30 %
		rttP50 + ", arcbox / tap":                                 false, // 25 % more, and 15 % are allowed
		up + ", arcbox / passt":                                   false, // a user-mode peer is to be behind
		rttP50 + ", arcbox / passt":                               false,
		up + ", against Lima's forwarder as measured earlier":     false,
		rttP50 + ", against Lima's forwarder as measured earlier": true,
	}, met)
}

func TestQuantile(t *testing.T) {
	require.Zero(t, quantile(nil, 0.5))
	require.InDelta(t, 2, quantile([]float64{3, 1, 2}, 0.5), 0)
	require.InDelta(t, 3, quantile([]float64{3, 1, 2}, 0.99), 0)
}
