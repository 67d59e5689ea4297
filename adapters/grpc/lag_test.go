package grpc

import (
	"context"
	"strings"
	"testing"

	"github.com/golang/mock/gomock"
	"github.com/stretchr/testify/require"

	arcboxv1 "arcbox/api/arcbox/v1"
	"arcbox/application/events"
	"arcbox/domain"
)

// A client that does not read keeps nobody from publishing, and learns how many
// events it missed.
func TestASlowClientLearnsWhatItMissed(t *testing.T) {
	f, bus := serve(t), events.New()
	f.system.EXPECT().Watch(gomock.Any(), gomock.Any()).DoAndReturn(bus.Watch)
	stream, err := f.client.Events(t.Context(), &arcboxv1.EventsRequest{})
	require.NoError(t, err)

	// The watch begins some time after the call: until its first event is here,
	// it does not count.
	began, end := context.WithCancel(t.Context())
	beating := make(chan struct{})
	go func() {
		defer close(beating)
		for began.Err() == nil {
			bus.Publish(domain.Event{Kind: domain.EventMachineIdle})
		}
	}()
	_, err = stream.Recv()
	end()
	<-beating
	require.NoError(t, err)

	const published = 20 * events.Kept // far more than the connection's windows hold
	for range published {
		bus.Publish(domain.Event{Kind: domain.EventEngineReady, Detail: strings.Repeat("x", 4<<10)})
	}
	bus.Publish(domain.Event{Kind: domain.EventEngineDown})
	received, missed := 0, 0
	for {
		e, err := stream.Recv()
		require.NoError(t, err)
		missed += int(e.Missed)
		if e.Kind == string(domain.EventEngineDown) {
			break
		}
		if e.Kind == string(domain.EventEngineReady) {
			received++
		}
	}
	require.Less(t, received, published)
	require.GreaterOrEqual(t, received+missed, published, "none is lost without a word")
}
