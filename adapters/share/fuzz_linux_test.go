package share

import (
	"encoding/binary"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

// FuzzRequests: whatever a guest sends, nothing outside the shares changes, nothing
// of a share that is read-only, no request panics, and no descriptor stays.
func FuzzRequests(f *testing.F) {
	le := binary.NativeEndian
	seed := func(op uint32, node uint64, rest string) {
		b := make([]byte, headerLen)
		le.PutUint32(b[4:], op)
		le.PutUint64(b[16:], node)
		f.Add(append(b, rest...))
	}
	zeros := string(make([]byte, 64))
	for op := range uint32(54) {
		seed(op, 2, zeros+"name\x00other\x00")
		seed(op, 4, zeros)
	}
	seed(opCreate, 2, "\x02\x00\x00\x00\xa4\x81\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00../x\x00")
	seed(opRename2, 2, "\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00f\x00../g\x00")
	seed(opLookup, 2, "..\x00")
	seed(opSymlink, 2, "s\x00/etc\x00")
	f.Fuzz(func(t *testing.T, stream []byte) {
		dir := t.TempDir()
		put(t, "keep", dir, "outside")
		put(t, "keep", dir, "ro", "f")
		put(t, "text", dir, "rw", "f")
		put(t, "text", dir, "rw", "d", "g")
		if err := os.Symlink("..", filepath.Join(dir, "rw", "up")); err != nil {
			t.Fatal(err)
		}
		before := picture(t, dir)
		g, s := mounted(t, Options{Log: slog.New(slog.DiscardHandler)}, nil,
			domain.Share{Path: filepath.Join(dir, "rw")}, domain.Share{Path: filepath.Join(dir, "ro"), ReadOnly: true})
		for _, n := range []string{"f", "d", "up"} { // nodes 4, 5, 6
			g.walk("0", n)
		}
		g.walk("1", "f")
		for range 8 { // a few requests out of one input
			n := min(len(stream), 160)
			if n < headerLen {
				break
			}
			request := append([]byte{}, stream[:n]...)
			stream = stream[n:]
			le.PutUint32(request, uint32(n))
			h, in, ok := own([][]byte{request[:7], request[7:]})
			if !ok {
				continue
			}
			out := [][]byte{make([]byte, 24), make([]byte, 9000)}
			if written := s.answer(h, in, out); written > 9024 {
				t.Fatalf("%d bytes written", written)
			}
		}
		after := picture(t, dir)
		for p, v := range before {
			if rel, _ := filepath.Rel(dir, p); rel == "outside" || rel == "ro" || rel == "ro/f" {
				require.Equal(t, v, after[p])
			}
		}
		for p := range after {
			rel, _ := filepath.Rel(dir, p)
			if top, _, _ := cutPath(rel); top != "." && top != "outside" && top != "ro" && top != "rw" || filepath.Dir(rel) == "ro" && rel != "ro/f" {
				t.Fatalf("%s came", rel)
			}
		}
	})
}

func cutPath(p string) (first, rest string, ok bool) {
	for i := range p {
		if p[i] == filepath.Separator {
			return p[:i], p[i+1:], true
		}
	}
	return p, "", false
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{"", ".", "..", "a", "a/b", "/", "\x00", "a\x00", "...", " "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !plainName(s) || len(s) > maxName {
			return
		}
		require.Equal(t, s, filepath.Base(filepath.Join("/dir", s)))
		require.Equal(t, "/dir", filepath.Dir(filepath.Join("/dir", s)))
	})
}

func FuzzEntries(f *testing.F) {
	f.Add(append(make([]byte, 16), 24, 0, 8, 'a', 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parseEntry(b)
		if err == nil && (e.size < 19 || e.size > len(b) || len(e.name) > e.size-19) {
			t.Fatalf("%+v of %d bytes", e, len(b))
		}
	})
}

func FuzzOwner(f *testing.F) {
	f.Add("0:0")
	f.Add("4294967295:1")
	f.Add("4294967296:1")
	f.Add(":")
	f.Fuzz(func(t *testing.T, s string) {
		if uid, gid, ok := parseOwner(s); ok {
			u, g, again := parseOwner(formatOwner(uid, gid))
			require.True(t, again)
			require.Equal(t, []uint32{uid, gid}, []uint32{u, g})
		}
	})
}
