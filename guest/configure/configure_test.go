package configure

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

// table records what is mounted.
type table struct {
	steps  []string
	refuse string // targets that end so cannot be mounted
	busy   bool
}

func (m *table) Tag(tag, target string) error {
	m.steps = append(m.steps, "tag "+tag+" "+filepath.Base(target))
	if m.refuse == "tag" {
		return errors.New("no such device")
	}
	return nil
}

func (m *table) Bind(source, target string, readOnly bool) error {
	if m.refuse != "" && strings.HasSuffix(target, m.refuse) {
		return errors.New("no such file or directory")
	}
	mode := "rw"
	if readOnly {
		mode = "ro"
	}
	m.steps = append(m.steps, filepath.Base(source)+" "+filepath.Base(target)+" "+mode)
	return nil
}

func (m *table) Unmount(target string) error {
	if m.busy {
		return errors.New("busy")
	}
	m.steps = append(m.steps, "unmount "+filepath.Base(target))
	return nil
}

func (m *table) take() []string { s := m.steps; m.steps = nil; return s }

type fixture struct {
	*Guest
	root string
	m    *table
	log  *bytes.Buffer
	// sockets is what the others say.
	sockets error
}

func (f *fixture) apply(c domain.GuestConfig) error {
	return f.Apply(c, func([]domain.GuestSocket) error { return f.sockets })
}

func (f *fixture) share(name string, readOnly ...bool) domain.Share {
	return domain.Share{Path: filepath.Join(f.root, name), ReadOnly: len(readOnly) > 0}
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(root, "etc/ssl/certs"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, "etc/ssl/certs/ca-certificates.crt"), own, 0o644))
	f := &fixture{root: root, m: &table{}, log: &bytes.Buffer{}}
	f.Guest = New(Config{Root: root, Dir: filepath.Join(root, "shares"), Mounts: f.m, Log: slog.New(slog.NewTextHandler(f.log, nil))})
	return f
}

// certificate returns a new one in PEM.
func certificate(name string) []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

var own = certificate("image")

func TestSharesAreMountedInOrderAndOnlyWhatChangedAgain(t *testing.T) {
	f := newFixture(t)
	home, inner, data := f.share("home/me"), f.share("home/me/ro", true), f.share("päth with space")
	for i, step := range []struct {
		wanted []domain.Share
		want   []string
	}{
		{[]domain.Share{home, inner}, []string{"tag arcbox shares", "0 me rw", "1 ro ro"}},
		{[]domain.Share{home, inner}, nil},
		{[]domain.Share{home, inner, data}, []string{"2 päth with space rw"}},
		{[]domain.Share{home, data}, []string{"unmount päth with space", "unmount ro", "1 päth with space rw"}},
		{[]domain.Share{f.share("home/me", true), data}, []string{"unmount päth with space", "unmount me", "0 me ro", "1 päth with space rw"}},
		{nil, []string{"unmount päth with space", "unmount me"}},
		{nil, nil},
	} {
		require.NoError(t, f.apply(domain.GuestConfig{Shares: step.wanted}))
		require.Equal(t, step.want, f.m.take(), "step %d", i)
		var have []domain.Share
		for i, m := range f.Mounted() {
			have = append(have, m.Share)
			require.Equal(t, filepath.Join(f.root, "shares", fmt.Sprint(i)), m.Dir)
			require.DirExists(t, m.Path)
		}
		require.Equal(t, step.wanted, have, "step %d", i)
	}
	info, err := os.Stat(filepath.Join(f.root, "shares"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
}

func TestAShareThatCannotBeMountedIsNamedAndTriedAgain(t *testing.T) {
	f := newFixture(t)
	f.m.refuse = "/gone"
	c := domain.GuestConfig{Shares: []domain.Share{f.share("a"), f.share("gone"), f.share("z")}, TimeZone: []byte("TZif2")}
	err := f.apply(c)
	require.ErrorIs(t, err, domain.ErrInvalidState)
	require.ErrorContains(t, err, "share "+f.root+"/gone: no such file or directory")
	require.Equal(t, []string{"tag arcbox shares", "0 a rw", "2 z rw"}, f.m.take(), "the others are there")
	require.Len(t, f.Mounted(), 2)
	require.FileExists(t, filepath.Join(f.root, "etc/localtime"), "and so is everything else")
	<-f.First() // the engine can start

	f.m.refuse = ""
	require.NoError(t, f.apply(c))
	require.Equal(t, []string{"unmount z", "1 gone rw", "2 z rw"}, f.m.take(), "z could lie in what was missing")
}

func TestAShareIsNotMountedOverALinkOfTheGuest(t *testing.T) {
	f := newFixture(t)
	require.NoError(t, os.Mkdir(filepath.Join(f.root, "there"), 0o755))
	require.NoError(t, os.Symlink("there", filepath.Join(f.root, "link")))
	err := f.apply(domain.GuestConfig{Shares: []domain.Share{f.share("link")}})
	require.ErrorIs(t, err, domain.ErrInvalidState)
	require.ErrorContains(t, err, "leads to "+f.root+"/there")
	require.Empty(t, f.Mounted())
}

func TestWithoutTheHostsFileSystemAllSharesAreNamed(t *testing.T) {
	f := newFixture(t)
	f.m.refuse = "tag"
	err := f.apply(domain.GuestConfig{Shares: []domain.Share{f.share("a"), f.share("b")}})
	require.ErrorContains(t, err, f.root+"/a: mount")
	require.ErrorContains(t, err, f.root+"/b: mount")
	require.ErrorContains(t, err, "no such device")
}

func TestAShareThatStaysAlthoughItIsNotWantedIsAnError(t *testing.T) {
	f := newFixture(t)
	require.NoError(t, f.apply(domain.GuestConfig{Shares: []domain.Share{f.share("a")}}))
	f.m.busy = true
	require.ErrorContains(t, f.apply(domain.GuestConfig{}), "/a away: busy")
	require.Len(t, f.Mounted(), 1)
	f.m.busy = false
	require.NoError(t, f.Unmount())
	require.Empty(t, f.Mounted())
}

func TestWhatMakesNoSenseChangesNothing(t *testing.T) {
	many := make([]domain.Share, domain.MaxShares+1)
	for i := range many {
		many[i] = domain.Share{Path: fmt.Sprintf("/a/%d", i)}
	}
	shares := func(paths ...string) domain.GuestConfig {
		c := domain.GuestConfig{TimeZone: []byte("TZif")}
		for _, p := range paths {
			c.Shares = append(c.Shares, domain.Share{Path: p})
		}
		return c
	}
	for name, c := range map[string]domain.GuestConfig{
		"too many":           {Shares: many},
		"relative":           shares("home"),
		"not clean":          shares("/home/../etc"),
		"trailing slash":     shares("/home/"),
		"empty":              shares(""),
		"everything":         shares("/"),
		"kernel's":           shares("/proc/1"),
		"devices":            shares("/dev"),
		"run":                shares("/run/user/1000"),
		"engine's data":      shares("/var/lib/docker/volumes"),
		"containerd's data":  shares("/var/lib/containerd"),
		"above the data":     shares("/var"),
		"our programs":       shares("/arcbox/runtime"),
		"twice":              shares("/home/a", "/home/a"),
		"zero byte":          shares("/home/a\x00b"),
		"zone":               {TimeZone: []byte("Europe/Berlin")},
		"large zone":         {TimeZone: append([]byte("TZif"), make([]byte, 64<<10)...)},
		"large certificates": {Certificates: make([]byte, 4<<20+1)},
		"proxy":              {Proxy: domain.Proxy{HTTP: "http://proxy\n:1"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			require.ErrorIs(t, f.apply(c), domain.ErrInvalid)
			require.Empty(t, f.m.take())
			require.NoFileExists(t, filepath.Join(f.root, "etc/localtime"))
			select {
			case <-f.First():
				t.Fatal("the engine must not start")
			default:
			}
		})
	}
	f := newFixture(t)
	f.sockets = domain.ErrInvalid
	require.ErrorIs(t, f.apply(shares("/home/a")), domain.ErrInvalid)
	require.Empty(t, f.m.take())
	f.sockets = errors.New("socket of service x")
	err := f.apply(domain.GuestConfig{TimeZone: []byte("TZif")})
	require.ErrorIs(t, err, domain.ErrInvalidState)
	require.ErrorContains(t, err, "socket of service x")
	require.FileExists(t, filepath.Join(f.root, "etc/localtime"))
}

func TestCertificatesAreTrustedBesideTheGuestsOwn(t *testing.T) {
	f := newFixture(t)
	path := filepath.Join(f.root, "etc/ssl/certs/ca-certificates.crt")
	corporate, second := certificate("corporate"), certificate("second")
	bundle := func() []byte {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		return b
	}
	mixed := slices.Concat([]byte("# comment\n"), own, corporate, corporate,
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("nonsense")}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret")}), second)
	for range 2 {
		require.NoError(t, f.apply(domain.GuestConfig{Certificates: mixed}))
		require.Equal(t, string(slices.Concat(own, corporate, second)), string(bundle()))
	}
	require.Contains(t, f.log.String(), "count=2")
	require.NotContains(t, f.log.String(), "takes what has changed")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o644), info.Mode().Perm())

	require.NoError(t, f.apply(domain.GuestConfig{Certificates: second}))
	require.Equal(t, string(slices.Concat(own, second)), string(bundle()), "what is not said any more is gone")
	require.Contains(t, f.log.String(), "takes what has changed when it starts the next time")
	require.NoError(t, f.apply(domain.GuestConfig{}))
	require.Equal(t, string(own), string(bundle()))
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1, "no temporary file stays")

	g := newFixture(t)
	require.NoError(t, os.Remove(filepath.Join(g.root, "etc/ssl/certs/ca-certificates.crt")))
	require.ErrorIs(t, g.apply(domain.GuestConfig{Certificates: second}), domain.ErrInvalidState)
}

func TestCertificatesBehindALastLineWithoutAnEnd(t *testing.T) {
	f := newFixture(t)
	path := filepath.Join(f.root, "etc/ssl/certs/ca-certificates.crt")
	require.NoError(t, os.WriteFile(path, bytes.TrimSpace(own), 0o644))
	require.NoError(t, f.apply(domain.GuestConfig{Certificates: certificate("corporate")}))
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	pool := 0
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		pool++
	}
	require.Equal(t, 2, pool)
}

func TestTimeZoneAndProxyFollowTheHost(t *testing.T) {
	f := newFixture(t)
	zone := filepath.Join(f.root, "etc/localtime")
	require.NoError(t, f.apply(domain.GuestConfig{TimeZone: []byte("TZif2 berlin")}))
	b, err := os.ReadFile(zone)
	require.NoError(t, err)
	require.Equal(t, "TZif2 berlin", string(b))
	proxy := domain.Proxy{HTTP: "http://me:secret@proxy:3128"}
	require.NoError(t, f.apply(domain.GuestConfig{Proxy: proxy}))
	require.NoFileExists(t, zone)
	require.Equal(t, proxy, f.Proxy())
	require.Contains(t, f.log.String(), `changed="[time zone proxy]"`)
	require.NotContains(t, f.log.String(), "secret")
}

func FuzzCertificates(f *testing.F) {
	f.Add([]byte("x"))
	f.Add(own)
	f.Add(slices.Concat(certificate("a"), []byte("-----BEGIN CERTIFICATE-----\n")))
	f.Fuzz(func(t *testing.T, host []byte) {
		added, _ := beside(own, host)
		for block, rest := pem.Decode(added); block != nil; block, rest = pem.Decode(rest) {
			_, err := x509.ParseCertificate(block.Bytes)
			require.NoError(t, err)
			require.Empty(t, block.Headers)
		}
		again, bad := beside(own, added)
		require.Equal(t, added, again)
		require.Zero(t, bad)
	})
}
