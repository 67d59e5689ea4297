package kvm

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestEndingReason(t *testing.T) {
	odd := errors.New("odd")
	tests := map[string]struct {
		ending ending
		says   string // empty: no error
	}{
		"power-off":               {ending{success: true, shutdown: "guest-shutdown"}, ""},
		"kill":                    {ending{killed: true, status: "signal: killed"}, ""},
		"reboot":                  {ending{success: true, shutdown: "guest-reset"}, "reset itself"},
		"panic":                   {ending{success: true, shutdown: "guest-panic"}, "panicked"},
		"signal to QEMU":          {ending{success: true, shutdown: "host-signal"}, "signal that ArcBox did not send"},
		"other cause":             {ending{success: true, shutdown: "host-ui"}, "host-ui"},
		"no cause":                {ending{success: true, stderr: "hm"}, "without saying why; its last messages: hm"},
		"crash":                   {ending{status: "signal: aborted", stderr: "assertion"}, "(signal: aborted); its last messages: assertion"},
		"crash after a power-off": {ending{shutdown: "guest-shutdown", status: "exit status 1"}, "exit status 1"},
		"failure seen":            {ending{failure: odd, success: true, shutdown: "host-qmp-quit"}, "odd"},
		"kill after a failure":    {ending{killed: true, failure: odd}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := tt.ending.reason()
			if tt.says == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.says)
			if tt.ending.failure == nil {
				require.ErrorIs(t, err, domain.ErrUnavailable)
			}
		})
	}
}

func TestShutdownCause(t *testing.T) {
	require.Equal(t, "guest-reset", shutdownCause([]byte(`{"guest": true, "reason": "guest-reset"}`)))
	for _, bad := range []string{"", "null", "[]", `{"reason": 4}`, "{"} {
		require.Empty(t, shutdownCause([]byte(bad)), bad)
	}
}
