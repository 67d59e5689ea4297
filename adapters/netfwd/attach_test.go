package netfwd

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/adapters/netfwd/usernet"
	"arcbox/domain"
)

// TestAttach: what is attached runs beside the default machine's network alone,
// and Close ends it and waits for it.
func TestAttach(t *testing.T) {
	began, ended := make(chan *usernet.Network, 1), false
	n, err := New(Options{Attach: func(ctx context.Context, un *usernet.Network) {
		began <- un
		<-ctx.Done()
		ended = true
	}})
	require.NoError(t, err)
	other, err := n.Open("dev")
	require.NoError(t, err)
	require.NoError(t, other.Close())
	require.False(t, ended)
	l, err := n.Open(domain.DefaultMachine)
	require.NoError(t, err)
	require.NotNil(t, <-began)
	require.NoError(t, l.Close())
	require.True(t, ended)
}
