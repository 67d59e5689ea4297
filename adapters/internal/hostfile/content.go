package hostfile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"os"
)

// CopyBuffer is the size in bytes of a buffer for files of many megabytes.
const CopyBuffer = 256 << 10

// SHA256 returns the checksum of a file's content in lower-case hex. It ends
// early, with the context's cause, when ctx does.
func SHA256(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := HashRest(ctx, h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// HashRest feeds h all that r still has, and returns how many bytes that were.
// It ends early, with the context's cause, when ctx does.
func HashRest(ctx context.Context, h hash.Hash, r io.Reader) (int64, error) {
	return io.CopyBuffer(h, Reader(ctx, r), make([]byte, CopyBuffer))
}

// Reader returns r for one operation: reading fails with the context's cause
// once ctx has ended.
func Reader(ctx context.Context, r io.Reader) io.Reader { return reader{ctx, r} }

type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
