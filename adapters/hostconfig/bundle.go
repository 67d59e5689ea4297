package hostconfig

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
)

// maxBundle bounds the certificates that a guest is given, bytes: the published
// lists of authorities have a quarter of a megabyte.
const maxBundle = 4 << 20

// bundle collects certificates, each once. The zero value is empty.
type bundle struct {
	pem  []byte
	left int // certificates that did not fit
	seen map[[sha256.Size]byte]bool
}

// add takes the certificates of a text in PEM and nothing else: files of
// certificates may hold private keys beside them, which stay on the host. As in
// crypto/x509 a block with headers is none, nor is one that does not parse.
func (b *bundle) add(text []byte) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return
		}
		if block.Type != "CERTIFICATE" || len(block.Headers) > 0 {
			continue
		}
		sum := sha256.Sum256(block.Bytes)
		if b.seen[sum] {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			continue
		}
		if b.seen == nil {
			b.seen = map[[sha256.Size]byte]bool{}
		}
		b.seen[sum] = true
		one := pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})
		if len(b.pem)+len(one) > maxBundle {
			b.left++
			continue
		}
		b.pem = append(b.pem, one...)
	}
}
