package usernet

import "sync"

// pools keep the buffers of one Network for reuse.
type pools struct {
	copies, shortCopies, datagrams, slabs sync.Pool
}

const (
	copyBuffer      = 128 << 10
	shortCopyBuffer = 16 << 10
	datagramBuffer  = 64 << 10 // the largest UDP payload fits
	slabBuffer      = 80 << 10 // a 64 KiB segment cut to small frames, with their headers
)

func take(p *sync.Pool, size int) *[]byte {
	if b, ok := p.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, size)
	return &b
}

func (p *pools) slab() *slab {
	if s, ok := p.slabs.Get().(*slab); ok {
		return s
	}
	return &slab{buf: make([]byte, 0, slabBuffer), home: &p.slabs}
}
