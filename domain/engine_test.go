package domain_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	. "arcbox/domain"
)

func TestEngineInfoOf(t *testing.T) {
	for api, want := range map[string]string{
		"1.56": "1.56", "": "", "1": "", "1.": "", "v1.4": "", "1.56\r\nX: y": "", "12345.1": "", "1.2.3": "",
	} {
		require.Equal(t, want, EngineInfoOf(GuestStatus{EngineAPI: api}).APIVersion, "%q", api)
	}
	info := EngineInfoOf(GuestStatus{EngineReady: true, EngineVersion: "29.1\x1b\n" + strings.Repeat("9", 100)})
	require.True(t, info.Ready)
	require.True(t, strings.HasPrefix(info.Version, "29.1 9"))
	require.Len(t, info.Version, 64)
}

func TestEngineHopeless(t *testing.T) {
	disk := ServiceStatus{Name: ServiceDataDisk, State: ServiceFailed, Detail: "not blank"}
	require.NoError(t, EngineHopeless(GuestStatus{}))
	require.NoError(t, EngineHopeless(GuestStatus{Services: []ServiceStatus{{Name: ServiceDockerd, State: ServiceFailed}}}))
	require.NoError(t, EngineHopeless(GuestStatus{EngineReady: true, Services: []ServiceStatus{disk}}))
	err := EngineHopeless(GuestStatus{Services: []ServiceStatus{disk}})
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorContains(t, err, "not blank")
}

func TestEngineProgress(t *testing.T) {
	require.NotEmpty(t, EngineProgress(GuestStatus{}))
	got := EngineProgress(GuestStatus{Services: []ServiceStatus{
		{Name: "containerd", State: ServiceReady, Detail: "not shown"},
		{Name: "dockerd", State: ServiceFailed, Restarts: 2, Detail: strings.Repeat("x", 5000) + "\nno iptables"},
	}})
	require.Contains(t, got, "containerd ready, dockerd failed (2 restarts)\ndockerd:\n")
	require.True(t, strings.HasSuffix(got, "| no iptables"))
	require.NotContains(t, got, "not shown")
	require.Less(t, len(got), 3000)
}
