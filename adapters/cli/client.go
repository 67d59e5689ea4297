package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	arcboxv1 "arcbox/api/arcbox/v1"
	"arcbox/domain"
)

const callTimeout = 10 * time.Second

// probe says whether a daemon runs with the settings of this command line.
func (c *command) probe() (s Settings, pid int, running bool, err error) {
	if s, err = c.deps.Settings(c.overrides()); err != nil {
		return s, 0, false, err
	}
	d, err := c.deps.Daemon(c.overrides())
	if err != nil {
		return s, 0, false, err
	}
	pid, running, err = d.Probe()
	return s, pid, running, err
}

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

// wakeDegraded has a daemon whose machine did not boot try again: as any Docker
// request does.
func (c *command) wakeDegraded(ctx context.Context, s Settings) error {
	in, err := info(ctx, s)
	if err != nil || domain.SetupPhase(in.Setup.GetPhase()) != domain.PhaseDegraded {
		return err
	}
	c.narrate("its virtual machine is down: starting it again")
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", s.DockerSocket)
	}}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://arcbox/version", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req) // the socket bounds how long a request is held
	if err != nil {
		return fmt.Errorf("start the virtual machine: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	var answer struct{ Message string }
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&answer); err != nil || answer.Message == "" {
		answer.Message = resp.Status
	}
	return fmt.Errorf("start the virtual machine: %s: %w", answer.Message, domain.ErrUnavailable)
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
	last := ""
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
		// A status also tells of facts that outlive the start, which are no news here.
		if step := phase.String() + st.Message; step != last {
			c.narrate("%s", strings.TrimRight(text, " "))
			last = step
		}
		if !phase.Terminal() {
			continue
		}
		if phase == domain.PhaseReady {
			return nil
		}
		return domain.WithHint(fmt.Errorf("the start of the virtual machine: %s: %w", st.Error, domain.ErrUnavailable), "arcbox logs -c kernel")
	}
}
