package configure

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

const pemCertificate = "CERTIFICATE"

// trust is the file of certificate authorities, where crypto/x509 looks for it
// on Linux.
type trust struct {
	path string
	log  *slog.Logger
	// own is what the guest's image has, once it was needed.
	own   []byte
	added []byte // what the file has beside it
}

// set makes the file hold the guest's own authorities and those of host, each
// once. What of host is no certificate is left out.
func (t *trust) set(host []byte) (changed bool, err error) {
	if len(host) == 0 && len(t.added) == 0 {
		return false, nil
	}
	if t.own == nil {
		if t.own, err = os.ReadFile(t.path); err != nil {
			return false, fmt.Errorf("read the guest's certificates: %w", err)
		}
		if !bytes.HasSuffix(t.own, []byte("\n")) {
			t.own = append(t.own, '\n')
		}
	}
	added, bad := beside(t.own, host)
	if bad > 0 {
		t.log.Warn("some of the host's certificates are none and were left out", "count", bad)
	}
	if bytes.Equal(added, t.added) {
		return false, nil
	}
	if err := replace(t.path, bytes.Join([][]byte{t.own, added}, nil)); err != nil {
		return false, fmt.Errorf("write the host's certificates: %w", err)
	}
	t.added = added
	return true, nil
}

// beside returns, in PEM, the certificates of host that are not in own, each
// once, and how many blocks are none.
func beside(own, host []byte) (added []byte, bad int) {
	have := map[string]bool{}
	for block, rest := pem.Decode(own); block != nil; block, rest = pem.Decode(rest) {
		have[string(block.Bytes)] = true
	}
	var out bytes.Buffer
	for block, rest := pem.Decode(host); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case have[string(block.Bytes)]:
			continue
		case block.Type != pemCertificate || !parses(block.Bytes):
			bad++
			continue
		}
		have[string(block.Bytes)] = true
		_ = pem.Encode(&out, &pem.Block{Type: pemCertificate, Bytes: block.Bytes}) // a buffer takes it all
	}
	return out.Bytes(), bad
}

func parses(der []byte) bool {
	_, err := x509.ParseCertificate(der)
	return err == nil
}

// replace writes a file that is complete or not there.
func replace(path string, content []byte) error {
	return renameio.WriteFile(path, content, 0o644, renameio.WithTempDir(filepath.Dir(path)))
}
