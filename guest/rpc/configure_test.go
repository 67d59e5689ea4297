package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "arcbox/api/arcbox/agent/v1"
	"arcbox/domain"
)

func TestConfigureTakesAllThatAHostHas(t *testing.T) {
	f := start(t)
	certificates := bytes.Repeat([]byte("certificate\n"), 4<<20/12)
	_, err := f.client.Configure(t.Context(), &agentv1.ConfigureRequest{
		Shares:       []*agentv1.Share{{Path: "/home/me"}, {Path: "/dätä", ReadOnly: true}},
		Proxy:        &agentv1.Proxy{Http: "http://p:1", Https: "http://p:2", None: "a,b"},
		Certificates: certificates,
		TimeZone:     []byte("TZif"),
		Sockets:      []*agentv1.GuestSocket{{Service: domain.SSHAgentService, Path: domain.SSHAgentSocket}},
	})
	require.NoError(t, err)
	require.Equal(t, domain.GuestConfig{
		Shares:       []domain.Share{{Path: "/home/me"}, {Path: "/dätä", ReadOnly: true}},
		Proxy:        domain.Proxy{HTTP: "http://p:1", HTTPS: "http://p:2", None: "a,b"},
		Certificates: certificates,
		TimeZone:     []byte("TZif"),
		Sockets:      []domain.GuestSocket{{Service: domain.SSHAgentService, Path: domain.SSHAgentSocket}},
	}, <-f.told)
	_, err = f.client.Configure(t.Context(), &agentv1.ConfigureRequest{})
	require.NoError(t, err)
	require.Equal(t, domain.GuestConfig{}, <-f.told)
}

func TestTouch(t *testing.T) {
	f := start(t)
	_, err := f.client.Touch(t.Context(), &agentv1.TouchRequest{Changes: []*agentv1.PathChange{{Path: "/a"}, {Path: "/b", Removed: true}}})
	require.NoError(t, err)
	require.Equal(t, []domain.PathChange{{Path: "/a"}, {Path: "/b", Removed: true}}, <-f.touched)
}

func TestListsAreBounded(t *testing.T) {
	f := start(t)
	for name, call := range map[string]func() error{
		"shares": func() error {
			_, err := f.client.Configure(t.Context(), &agentv1.ConfigureRequest{Shares: make([]*agentv1.Share, domain.MaxShares+1)})
			return err
		},
		"sockets": func() error {
			_, err := f.client.Configure(t.Context(), &agentv1.ConfigureRequest{Sockets: make([]*agentv1.GuestSocket, 65)})
			return err
		},
		"changes": func() error {
			_, err := f.client.Touch(t.Context(), &agentv1.TouchRequest{Changes: make([]*agentv1.PathChange, domain.MaxPathChanges+1)})
			return err
		},
	} {
		require.Equal(t, codes.InvalidArgument, status.Code(call()), name)
	}
	_, err := f.client.Configure(t.Context(), &agentv1.ConfigureRequest{Certificates: make([]byte, maxMessage)})
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	require.Empty(t, f.told)
	require.Empty(t, f.touched)
}

func TestTheHostIsToldWhyItIsRefused(t *testing.T) {
	f := start(t)
	for _, c := range []struct {
		err  error
		code codes.Code
		text string
	}{
		{fmt.Errorf("share /home/m\xe9: %w", domain.ErrInvalid), codes.InvalidArgument, "share /home/m?: invalid"},
		{domain.WithHint(fmt.Errorf("share /a: no such device: %w", domain.ErrInvalidState), "look"), codes.FailedPrecondition, "no such device: not possible in this state (look)"},
		{domain.ErrShuttingDown, codes.Unavailable, "shutting down"},
		{context.DeadlineExceeded, codes.DeadlineExceeded, ""},
		{context.Canceled, codes.Canceled, ""},
		{errors.New("disk"), codes.Internal, "disk"},
	} {
		f.refuse = c.err
		_, configured := f.client.Configure(t.Context(), &agentv1.ConfigureRequest{})
		_, touched := f.client.Touch(t.Context(), &agentv1.TouchRequest{})
		<-f.told
		<-f.touched
		for _, err := range []error{configured, touched} {
			require.Equal(t, c.code, status.Code(err))
			require.ErrorContains(t, err, c.text)
		}
	}
}
