package dns

import (
	"net/netip"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"arcbox/application/port"
	"arcbox/domain"
)

// everyone has any name, and every address one.
type everyone struct{}

func (everyone) Lookup(string) ([]netip.Addr, bool) { return addrs("172.17.0.2", "fd0a:bc:1::2"), true }
func (everyone) Reverse(netip.Addr) (string, bool)  { return "everyone", true }

// FuzzAnswer: whatever is asked, what is answered at once is a whole message
// for that question that its sender takes.
func FuzzAnswer(f *testing.F) {
	for _, name := range []string{"host", "a.arcbox.local", "arcbox.local", "localhost", "1.0.17.172.in-addr.arpa", "17.172.in-addr.arpa", `a\.b.arcbox.local`} {
		for _, t := range []uint16{dns.TypeA, dns.TypePTR, dns.TypeANY, dns.TypeSOA, dns.TypeAXFR} {
			q := question(name, t).SetEdns0(1232, true)
			b, err := q.Pack()
			require.NoError(f, err)
			f.Add(b, true)
		}
	}
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, false)
	var resolvers []*Resolver
	for _, names := range []port.Names{everyone{}, nil} {
		r, err := New(Options{View: GuestView(addrs("10.0.2.1")...), Names: names,
			Hosts: f.TempDir() + "/hosts", ResolvConf: f.TempDir() + "/resolv.conf"})
		require.NoError(f, err)
		resolvers = append(resolvers, r)
	}
	f.Fuzz(func(t *testing.T, query []byte, udp bool) {
		via := domain.TCP
		if udp {
			via = domain.UDP
		}
		for _, r := range resolvers {
			b, q, err := r.answer(query, via)
			if q != nil || err != nil {
				continue
			}
			var m, asked dns.Msg
			require.NoError(t, m.Unpack(b), "%x", b)
			require.True(t, m.Response)
			require.Equal(t, query[:2], b[:2])
			if asked.Unpack(query) == nil {
				require.LessOrEqual(t, len(b), room(&asked, via))
			}
		}
	})
}
