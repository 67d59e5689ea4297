package bootstrap

import (
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestWatchConfig(t *testing.T) {
	c, err := LoadConfig(nil, nil, nil)
	require.NoError(t, err)
	require.True(t, c.VM.Watch)
	require.Equal(t, 65536, c.VM.WatchLimit)
	c, err = LoadConfig(nil, []string{"ARCBOX_VM__WATCH=false", "ARCBOX_VM__WATCH_LIMIT=1048576"}, nil)
	require.NoError(t, err)
	require.False(t, c.VM.Watch)
	require.Equal(t, 1048576, c.VM.WatchLimit)
	for _, bad := range []string{"0", "-1", "1048577", "many"} {
		_, err = LoadConfig(nil, []string{"ARCBOX_VM__WATCH_LIMIT=" + bad}, nil)
		require.ErrorIs(t, err, domain.ErrInvalid, bad)
	}
}
