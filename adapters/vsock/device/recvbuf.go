//go:build linux

package device

import "sync"

const (
	// recvWindow is the receive space of one stream. It is what a guest can
	// make this process hold for a stream that nobody reads.
	recvWindow = 256 << 10
	chunkSize  = 32 << 10
)

type chunk [chunkSize]byte

// chunkPool lends receive space to the streams of one device, so that streams
// without unread data hold none.
type chunkPool struct{ pool sync.Pool }

func (p *chunkPool) get() *chunk {
	if c, ok := p.pool.Get().(*chunk); ok {
		return c
	}
	return new(chunk)
}

// recvBuf is a queue of bytes in chunks. The owner serialises all calls.
type recvBuf struct {
	pool   *chunkPool
	chunks []*chunk
	start  int // first unread byte in chunks[0]
	length int
}

func (b *recvBuf) len() int { return b.length }

func (b *recvBuf) write(p []byte) {
	for len(p) > 0 {
		end := b.start + b.length
		if end == len(b.chunks)*chunkSize {
			b.chunks = append(b.chunks, b.pool.get())
		}
		n := copy(b.chunks[end/chunkSize][end%chunkSize:], p)
		b.length += n
		p = p[n:]
	}
}

func (b *recvBuf) read(p []byte) int {
	done := 0
	for done < len(p) && b.length > 0 {
		end := min(chunkSize, b.start+b.length)
		n := copy(p[done:], b.chunks[0][b.start:end])
		done += n
		b.start += n
		b.length -= n
		if b.start == chunkSize || b.length == 0 {
			b.pool.pool.Put(b.chunks[0])
			b.chunks[0] = nil
			b.chunks = b.chunks[1:]
			b.start = 0
		}
	}
	return done
}

// drop forgets all unread bytes.
func (b *recvBuf) drop() {
	for _, c := range b.chunks {
		b.pool.pool.Put(c)
	}
	b.chunks, b.start, b.length = nil, 0, 0
}
