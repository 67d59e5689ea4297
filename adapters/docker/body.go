package docker

// lineLimit bounds a chunk-size line with its extensions, and a trailer line.
const lineLimit = 4 << 10

type bodyKind uint8

const (
	bodyNone bodyKind = iota
	bodyLength
	bodyChunked
	bodyUntilClose
)

// body follows one message body in passing, to know where it ends. The zero
// body is the absence of one.
type body struct {
	kind bodyKind
	left int64 // bytes still to come: of the body, or of the chunk's data

	phase   chunkPhase
	size    int64 // of the chunk whose size line is being read
	digits  int
	line    int // bytes of the current line
	trailer int // bytes of all trailer lines
}

type chunkPhase uint8

const (
	chunkSize chunkPhase = iota
	chunkExtension
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	trailerLine
	trailerLF
)

// follow returns how many bytes of p belong to the body and whether it ends
// with them. After an error, which is errOpaque, the end cannot be found.
func (b *body) follow(p []byte) (n int, done bool, err error) {
	switch b.kind {
	case bodyNone:
		return 0, true, nil
	case bodyUntilClose:
		return len(p), false, nil
	case bodyLength:
		n = int(min(int64(len(p)), b.left))
		b.left -= int64(n)
		return n, b.left == 0, nil
	}
	for n < len(p) {
		if b.phase == chunkData {
			k := int(min(int64(len(p)-n), b.left))
			n += k
			if b.left -= int64(k); b.left == 0 {
				b.phase = chunkDataCR
			}
			continue
		}
		done, err := b.step(p[n])
		if err != nil {
			return n, false, err
		}
		n++
		if done {
			return n, true, nil
		}
	}
	return n, false, nil
}

// step takes one byte outside of chunk data (RFC 9112, 7.1).
func (b *body) step(c byte) (done bool, err error) {
	if b.line++; b.line > lineLimit {
		return false, errOpaque
	}
	switch b.phase {
	case chunkSize:
		if v := hexValue(c); v >= 0 {
			if b.digits++; b.digits > 15 {
				return false, errOpaque
			}
			b.size = b.size<<4 | v
			return false, nil
		}
		if b.digits == 0 {
			return false, errOpaque
		}
		switch c {
		case ';', ' ', '\t':
			b.phase = chunkExtension
		case '\r':
			b.phase = chunkSizeLF
		default:
			return false, errOpaque
		}
	case chunkExtension:
		switch c {
		case '\r':
			b.phase = chunkSizeLF
		case '\n':
			return false, errOpaque
		}
	case chunkSizeLF:
		if c != '\n' {
			return false, errOpaque
		}
		b.left, b.phase = b.size, chunkData
		if b.size == 0 {
			b.phase = trailerLine
		}
		b.size, b.digits, b.line = 0, 0, 0
	case chunkDataCR:
		if c != '\r' {
			return false, errOpaque
		}
		b.phase = chunkDataLF
	case chunkDataLF:
		if c != '\n' {
			return false, errOpaque
		}
		b.phase, b.line = chunkSize, 0
	case trailerLine:
		if b.trailer >= headLimit || c == '\n' {
			return false, errOpaque
		}
		if c == '\r' {
			b.phase = trailerLF
		}
	case trailerLF:
		if c != '\n' {
			return false, errOpaque
		}
		if b.line == len("\r\n") {
			return true, nil
		}
		b.trailer += b.line
		b.phase, b.line = trailerLine, 0
	}
	return false, nil
}

func hexValue(c byte) int64 {
	switch {
	case c >= '0' && c <= '9':
		return int64(c - '0')
	case c >= 'a' && c <= 'f':
		return int64(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int64(c-'A') + 10
	}
	return -1
}
