package netfwd

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

const tcpTable = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 501 1 0000000000000000 100 0 0 10 0
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 502 1 0000000000000000 100 0 0 10 0
   2: 0100007F:9C40 0100007F:0050 01 00000000:00000000 00:00000000 00000000  1001        0 503 1 0000000000000000 20 4 30 10 -1
   3: 0100007F:9C41 0100007F:0050 06 00000000:00000000 03:00001770 00000000     0        0 0 3 0000000000000000
   broken line
   4: 0100007F 00000000:0000 0A 0 0 0 1000 0 504
`

const tcp6Table = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:1F91 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 601 1 0000000000000000 100 0 0 10 0
   1: 00000000000000000000000000000000:1F92 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 602 1 0000000000000000 100 0 0 10 0
   2: 0000000000000000FFFF00000100007F:1F93 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 603 1 0000000000000000 100 0 0 10 0
   3: B80D0120000000000000000001000000:1F94 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 604 1 0000000000000000 100 0 0 10 0
`

func TestInTheWay(t *testing.T) {
	sockets := append(parseSockets(tcpTable), parseSockets(tcp6Table)...)
	require.Len(t, sockets, 8)
	for _, c := range []struct {
		host  string
		inode uint64
		text  string
	}{
		{"127.0.0.1:8080", 501, "a process of user bob (uid 1000)"},
		{"0.0.0.0:8080", 501, "a process of user bob (uid 1000)"},
		{"127.0.0.2:8080", 0, ""},
		{"[::1]:8080", 0, ""},
		{"127.0.0.1:80", 502, "a process of user bob (uid 0)"},
		{"127.0.0.1:40000", 503, "a process of user bob (uid 1001) for its connection to 127.0.0.1:80"},
		{"127.0.0.1:40001", 0, "a connection that has just ended"},
		{"[::1]:8081", 601, "a process of user bob (uid 1000)"},
		{"[::]:8081", 601, "a process of user bob (uid 1000)"},
		{"127.0.0.1:8081", 0, ""},
		{"127.0.0.1:8082", 602, "a process of user bob (uid 1000)"},
		{"127.0.0.1:8083", 603, "a process of user bob (uid 1000)"},
		{"0.0.0.0:8083", 603, "a process of user bob (uid 1000)"},
		{"[2001:db8::1]:8084", 604, "a process of user bob (uid 1000)"},
	} {
		s, ok := inTheWay(sockets, netip.MustParseAddrPort(c.host))
		require.Equal(t, c.text != "", ok, c.host)
		if ok {
			require.Equal(t, c.inode, s.inode, c.host)
			require.Equal(t, c.text, s.describe("", "bob"))
		}
	}
	s, _ := inTheWay(sockets, netip.MustParseAddrPort("0.0.0.0:8080"))
	require.Equal(t, "nginx (pid 7)", s.describe("nginx (pid 7)", "bob"))
	require.Equal(t, "a process of uid 1000", s.describe("", ""))
	require.Equal(t, []string{"udp", "udp6"}, socketTables(domain.UDP, netip.IPv4Unspecified()))
	require.Equal(t, []string{"tcp6"}, socketTables(domain.TCP, netip.IPv6Loopback()))
}

func TestPrintable(t *testing.T) {
	require.Equal(t, "nginx", printable("nginx\n"))
	require.Equal(t, "a?[31mb?", printable("a\x1b[31mb\xff"))
	require.Len(t, printable(strings.Repeat("x", 500)), 64)
}

func FuzzParseSockets(f *testing.F) {
	f.Add(tcpTable)
	f.Add(tcp6Table)
	f.Fuzz(func(t *testing.T, table string) {
		for _, s := range parseSockets(table) {
			require.True(t, s.local.Addr().IsValid())
			require.True(t, s.remote.Addr().IsValid())
		}
	})
}
