package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// authority is a certificate authority that only this host knows.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  []byte
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return authority{key: key, cert: cert, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// server returns a certificate for a host name.
func (a authority) server(t *testing.T, host string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// serve serves h on the host's loopback until the test ends and returns the address.
func serve(t *testing.T, h http.Handler, certificates ...tls.Certificate) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	if len(certificates) > 0 {
		l = tls.NewListener(l, &tls.Config{Certificates: certificates, MinVersion: tls.VersionTLS12})
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return address
}

// webProxy is a proxy that knows one host, wherever that is.
type webProxy struct {
	host, address string
	auth          string

	mu   sync.Mutex
	seen []string
	open sync.WaitGroup
}

func (p *webProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.seen = append(p.seen, r.Method+" "+r.Host+" "+r.Header.Get("Proxy-Authorization"))
	p.mu.Unlock()
	if r.Method != http.MethodConnect || r.Host != p.host || r.Header.Get("Proxy-Authorization") != p.auth {
		http.Error(w, "not through here", http.StatusForbidden)
		return
	}
	to, err := net.Dial("tcp", p.address)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	from, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		to.Close()
		return
	}
	_, _ = io.WriteString(from, "HTTP/1.1 200 Connection established\r\n\r\n")
	p.open.Go(func() { _, _ = io.Copy(to, buffered); to.Close() })
	p.open.Go(func() { _, _ = io.Copy(from, to); from.Close() })
}

// TestTheHostsProxyCertificatesAndTimeZone pulls from a registry that is reached
// only through a proxy on the host's loopback, and known only by an authority of
// the host's.
func TestTheHostsProxyCertificatesAndTimeZone(t *testing.T) {
	const name, secret = "registry.example.test", "hunter2hunter2"
	ca := newAuthority(t, "ArcBox test authority")
	registry := &url.URL{Scheme: "http", Host: "127.0.0.1:" + startRegistry(t)}
	// The registry has to name itself as it is called.
	front := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(registry); r.Out.Host = r.In.Host; r.SetXForwarded() }}
	proxy := &webProxy{host: name + ":443", address: serve(t, front, ca.server(t, name)),
		auth: "Basic " + base64.StdEncoding.EncodeToString([]byte("user:"+secret))}
	_, port, err := net.SplitHostPort(serve(t, proxy))
	require.NoError(t, err)
	t.Cleanup(proxy.open.Wait)

	d := own(t, "outside")
	dir := filepath.Dir(d.data)
	bundle, share := filepath.Join(dir, "bundle.pem"), filepath.Join(dir, "share")
	require.NoError(t, os.WriteFile(bundle, ca.pem, 0o600))
	require.NoError(t, os.Mkdir(share, 0o755))
	d.extra = []string{"HTTPS_PROXY=http://user:" + secret + "@127.0.0.1:" + port, "SSL_CERT_FILE=" + bundle, "TZ=Asia/Tokyo",
		"ARCBOX_VM__MOUNTS=" + share, "ARCBOX_CONTAINER__PROXIES=true", "ARCBOX_CONTAINER__CA_CERTIFICATES=true"}
	require.NoError(t, d.start("--wait"))
	d.load(t)
	run := func(args ...string) string { return d.must(t, args...) }

	image := name + "/e2e/demo:1"
	run("tag", demo, image)
	run("push", image)
	run("rmi", image)
	run("pull", image)
	proxy.mu.Lock()
	require.True(t, slices.ContainsFunc(proxy.seen, func(s string) bool { return strings.HasPrefix(s, "CONNECT "+name+":443 Basic ") }), proxy.seen)
	proxy.mu.Unlock()

	env := run("run", "--rm", demo, "env")
	for _, want := range []string{"HTTPS_PROXY", "https_proxy"} {
		require.Contains(t, env, want+"=http://user:"+secret+"@host.docker.internal:"+port)
	}
	require.Contains(t, run("run", "--rm", "-e", "HTTPS_PROXY=mine", demo, "env"), "HTTPS_PROXY=mine\n")
	inside := func(a authority) bool {
		body := strings.Split(string(a.pem), "\n")[1]
		return strings.Contains(run("run", "--rm", demo, "sh", "-c", "cat $SSL_CERT_FILE"), body)
	}
	require.True(t, inside(ca))
	require.Equal(t, "JST\n", run("run", "--rm", "-v", "/etc/localtime:/etc/localtime:ro", demo, "date", "+%Z"))

	// An authority that comes while the machine runs.
	second := newAuthority(t, "Another test authority")
	require.NoError(t, os.WriteFile(bundle, slices.Concat(ca.pem, second.pem), 0o600))
	require.Eventually(t, func() bool { return inside(second) }, time.Minute, time.Second)
	require.True(t, inside(ca))

	require.NoError(t, filepath.WalkDir(filepath.Join(d.data, "log"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		require.NotContains(t, string(text), secret, path)
		return err
	}))
}
