package hostconfig

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type authority struct{ pem, key []byte }

// certificate makes an authority; its name may be long to make it large.
func certificate(t testing.TB, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return authority{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})}
}

func TestOnlyCertificatesLeaveTheHost(t *testing.T) {
	a, b := certificate(t, "a"), certificate(t, "b")
	der, _ := pem.Decode(a.pem)
	text := slices.Concat(
		[]byte("a comment\n"), a.pem, a.key, []byte("SECRET\n"), a.pem, b.key, b.pem,
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("SECRET")}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: append(bytes.Clone(der.Bytes), "SECRET"...)}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Headers: map[string]string{"x": "SECRET"}, Bytes: certDER(certificate(t, "c"))}),
		pem.EncodeToMemory(&pem.Block{Type: "TRUSTED CERTIFICATE", Bytes: certDER(certificate(t, "e"))}),
		[]byte("-----BEGIN CERTIFICATE-----\nSECRET\n"))
	dir := t.TempDir()
	s, log := source(t, Options{}, host{certFiles: []string{dir + "/absent", write(t, dir+"/ca.crt", text), write(t, dir+"/second.crt", certificate(t, "d").pem)}})
	require.Equal(t, string(a.pem)+string(b.pem), string(config(t, s).Certificates))
	require.Empty(t, log.String())
}

func certDER(a authority) []byte {
	b, _ := pem.Decode(a.pem)
	return b.Bytes
}

func TestCertificatesAreWhereGoAndOpenSSLLook(t *testing.T) {
	dir := t.TempDir()
	file, other, one, two := certificate(t, "file"), certificate(t, "other"), certificate(t, "one"), certificate(t, "two")
	h := host{certFiles: []string{write(t, dir+"/etc/ca.crt", file.pem)}, certDirs: []string{dir + "/certs"}}
	write(t, dir+"/certs/one.pem", one.pem)
	write(t, dir+"/more/two.pem", two.pem)
	write(t, dir+"/more/sub/three.pem", other.pem) // directories are not descended into
	require.NoError(t, os.Symlink("two.pem", dir+"/more/0abc.0"))
	require.NoError(t, syscall.Mkfifo(dir+"/more/fifo", 0o600))
	write(t, dir+"/other.crt", other.pem)

	for name, c := range map[string]struct {
		host    host
		environ []string
		want    []authority
		log     string
	}{
		"the bundle":           {h, nil, []authority{file}, ""},
		"no bundle":            {host{certFiles: []string{dir + "/absent"}, certDirs: h.certDirs}, nil, []authority{one}, ""},
		"SSL_CERT_FILE":        {h, []string{"SSL_CERT_FILE=" + dir + "/other.crt"}, []authority{other}, ""},
		"SSL_CERT_DIR":         {h, []string{"SSL_CERT_DIR=" + dir + "/more:" + dir + "/certs:" + dir + "/no"}, []authority{file, two, one}, ""},
		"both":                 {h, []string{"SSL_CERT_FILE=" + dir + "/other.crt", "SSL_CERT_DIR=" + dir + "/more"}, []authority{other, two}, ""},
		"SSL_CERT_FILE absent": {h, []string{"SSL_CERT_FILE=" + dir + "/absent"}, []authority{one}, "SSL_CERT_FILE"},
		"SSL_CERT_FILE a pipe": {h, []string{"SSL_CERT_FILE=" + dir + "/more/fifo"}, nil, "no regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			s, log := source(t, Options{Environ: c.environ}, c.host)
			want := ""
			for _, a := range c.want {
				want += string(a.pem)
			}
			require.Equal(t, want, string(config(t, s).Certificates))
			require.Contains(t, log.String(), c.log)
			require.Equal(t, c.log == "", log.Len() == 0)
		})
	}
}

func TestCertificatesAreBounded(t *testing.T) {
	dir := t.TempDir()
	large := strings.Repeat("x", 600<<10)
	var all []byte
	for i := range 6 {
		c := certificate(t, large+string(rune('a'+i)))
		write(t, filepath.Join(dir, "certs", string(rune('a'+i))+".pem"), c.pem)
		all = append(all, c.pem...)
	}
	small := certificate(t, "small")
	write(t, dir+"/certs/z.pem", small.pem)
	s, log := source(t, Options{}, host{certDirs: []string{dir + "/certs"}})
	got := config(t, s).Certificates
	require.LessOrEqual(t, len(got), maxBundle)
	require.True(t, bytes.HasPrefix(all, got[:len(got)-len(small.pem)]), "whole certificates")
	require.True(t, bytes.HasSuffix(got, small.pem), "what fits is there")
	require.Contains(t, log.String(), "certificates are left out")

	write(t, dir+"/huge.crt", all) // larger than a file may be
	s, log = source(t, Options{}, host{certFiles: []string{dir + "/huge.crt"}})
	require.Empty(t, config(t, s).Certificates)
	require.Contains(t, log.String(), "is larger than")
}

func TestCertificatesAreReadAgainWhenTheyChange(t *testing.T) {
	dir := t.TempDir()
	a, b, c := certificate(t, "a"), certificate(t, "b"), certificate(t, "the third")
	path := write(t, dir+"/ca.crt", a.pem)
	reads := 0
	h := host{certFiles: []string{path}, keychains: []string{write(t, dir+"/login.keychain-db", nil)},
		readKeychain: func(_ context.Context, p string) ([]byte, error) {
			if reads++; reads == 3 {
				return nil, errors.New("locked")
			}
			return b.pem, nil
		}}
	s, log := source(t, Options{}, h)
	for range 3 {
		require.Equal(t, string(a.pem)+string(b.pem), string(config(t, s).Certificates))
	}
	require.Equal(t, 1, reads, "unchanged files are read once")
	write(t, path, c.pem)
	require.Equal(t, string(c.pem)+string(b.pem), string(config(t, s).Certificates))
	require.NoError(t, os.Chtimes(h.keychains[0], time.Unix(1, 0), time.Unix(1, 0)))
	require.Equal(t, string(c.pem), string(config(t, s).Certificates))
	require.Contains(t, log.String(), "keychain login.keychain-db: locked")
}

func FuzzBundle(f *testing.F) {
	a := certificate(f, "a")
	f.Add(slices.Concat(a.pem, a.key))
	f.Add(a.pem[:40])
	f.Fuzz(func(t *testing.T, text []byte) {
		var b bundle
		b.add(text)
		size := len(b.pem)
		b.add(text)
		require.Len(t, b.pem, size, "each once")
		rest := b.pem
		for len(rest) > 0 {
			var block *pem.Block
			block, rest = pem.Decode(rest)
			require.NotNil(t, block)
			require.Equal(t, "CERTIFICATE", block.Type)
			require.Empty(t, block.Headers)
			_, err := x509.ParseCertificate(block.Bytes)
			require.NoError(t, err)
		}
	})
}
