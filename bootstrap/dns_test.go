package bootstrap

import (
	"context"
	"log/slog"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"go.uber.org/fx/fxtest"

	arcboxdns "arcbox/adapters/dns"
	"arcbox/domain"
)

func TestNamesFollowTheConfiguration(t *testing.T) {
	c, err := LoadConfig(nil, []string{"ARCBOX_DNS_PORT=5999", "ARCBOX_DNS_DOMAIN=Box.Test."},
		map[string]any{"network.subnet": "192.168.9.0/24"})
	require.NoError(t, err)
	require.Equal(t, "box.test", c.Network.Domain)
	require.Equal(t, "127.0.0.1:5999", c.Network.dnsAddr().String())
	require.Equal(t, "--domain box.test --port 5999", c.Network.dnsFlags())
	guest, err := arcboxdns.New(guestNames(c, nil))
	require.NoError(t, err)
	host, err := arcboxdns.New(hostNames(c, nil))
	require.NoError(t, err)
	for want, r := range map[string]*arcboxdns.Resolver{"192.168.9.1": guest, "127.0.0.1": host} {
		q, err := new(dns.Msg).SetQuestion("host.box.test.", dns.TypeA).Pack()
		require.NoError(t, err)
		answer, err := r.Resolve(t.Context(), q, domain.UDP)
		require.NoError(t, err)
		var m dns.Msg
		require.NoError(t, m.Unpack(answer))
		require.Equal(t, want, m.Answer[0].(*dns.A).A.String())
	}
	require.Equal(t, c.Network.dnsAddr(), guestNames(c, nil).Own[0], "a query never comes back to us")

	c, err = LoadConfig(nil, []string{"ARCBOX_NETWORK__DNS_PORT=0"}, nil)
	require.NoError(t, err)
	require.Empty(t, DefaultConfig().Network.dnsFlags())
	off, err := newHostResolver(c)
	require.NoError(t, err)
	_, err = off.Install(t.Context(), true)
	require.ErrorIs(t, err, domain.ErrInvalidState, "nothing answers")
	_, err = off.Status(t.Context())
	require.ErrorContains(t, err, "network.dns_port is 0")
	_, err = off.Uninstall(t.Context(), true)
	require.NoError(t, err, "what was installed before can be taken back")
	for _, bad := range []map[string]any{{"network.dns_port": 70000}, {"network.dns_port": -1}, {"network.domain": "a..b"}, {"network.domain": ""}} {
		_, err := LoadConfig(nil, nil, bad)
		require.ErrorIs(t, err, domain.ErrInvalid, "%v", bad)
	}
}

func TestTheDNSServerIsOptional(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for port, listens := range map[int]bool{0: false, 1: true} {
		c := DefaultConfig()
		c.Network.DNSPort = port
		lc := fxtest.NewLifecycle(t)
		s, err := newDNSServer(lc, c, nil, log)
		require.NoError(t, err)
		require.NoError(t, lc.Start(context.Background()), "a port that cannot be opened is no failure")
		st := s.Status()
		require.Equal(t, listens, st.Listening || st.Err != nil)
		require.NoError(t, lc.Stop(context.Background()))
	}
}
