package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	arcboxv1 "arcbox/api/arcbox/v1"
	"arcbox/domain"
)

const callTimeout = 10 * time.Second

// dial connects to the daemon's API; the connection is made by the first call.
func dial(s Settings) (arcboxv1.SystemServiceClient, func(), error) {
	conn, err := grpc.NewClient("unix://"+s.GRPCSocket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, nil, fmt.Errorf("connect to the daemon: %w", err)
	}
	return arcboxv1.NewSystemServiceClient(conn), func() { _ = conn.Close() }, nil
}

// serving says whether a daemon answers on the socket.
func serving(ctx context.Context, s Settings) bool {
	client, done, err := dial(s)
	if err != nil {
		return false
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err = client.Ping(ctx, &arcboxv1.SystemPingRequest{})
	return err == nil
}

func info(ctx context.Context, s Settings) (*arcboxv1.GetInfoResponse, error) {
	client, done, err := dial(s)
	if err != nil {
		return nil, err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return client.GetInfo(ctx, &arcboxv1.GetInfoRequest{})
}

// follow shows the phases of the daemon's start until it is over, and returns
// an error when the start failed or left the virtual machine down.
func (c *command) follow(ctx context.Context, s Settings, lost func() error) error {
	client, done, err := dial(s)
	if err != nil {
		return err
	}
	defer done()
	stream, err := client.WatchSetupStatus(ctx, &arcboxv1.WatchSetupStatusRequest{})
	if err != nil {
		return err
	}
	began := time.Now()
	for {
		st, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return lost()
		}
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return lost()
		}
		phase := domain.SetupPhase(st.Phase)
		text := fmt.Sprintf("%6.1fs  %-18s %s", time.Since(began).Seconds(), phase, st.Message)
		c.narrate("%s", strings.TrimRight(text, " "))
		if !phase.Terminal() {
			continue
		}
		if phase == domain.PhaseReady {
			return nil
		}
		return domain.WithHint(fmt.Errorf("the start of the virtual machine: %s: %w", st.Error, domain.ErrUnavailable), "arcbox logs -c kernel")
	}
}
