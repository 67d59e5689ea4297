//go:build linux

package device

import (
	"io"
	"testing"
	"time"
)

// The model guest is part of what these measure: it copies and allocates more
// than a kernel does.

func BenchmarkToGuest(b *testing.B) {
	r := newRig(b, eventFeatures)
	r.guest.window = 256 << 10
	s, err := r.dev.Dial(within(b, 10*time.Second), portDiscard)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	p := make([]byte, 64<<10)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		if _, err := s.Write(p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEcho(b *testing.B) {
	r := newRig(b, eventFeatures)
	r.guest.window = 256 << 10
	s, err := r.dev.Dial(within(b, 10*time.Second), portEcho)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	p := make([]byte, 64<<10)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		if _, err := s.Write(p); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(s, p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	r := newRig(b, eventFeatures)
	s, err := r.dev.Dial(within(b, 10*time.Second), portEcho)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	p := make([]byte, 1)
	for b.Loop() {
		if _, err := s.Write(p); err != nil {
			b.Fatal(err)
		}
		if _, err := s.Read(p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDial(b *testing.B) {
	r := newRig(b, eventFeatures)
	ctx := within(b, time.Minute)
	for b.Loop() {
		s, err := r.dev.Dial(ctx, portEcho)
		if err != nil {
			b.Fatal(err)
		}
		_ = s.Close()
	}
}
