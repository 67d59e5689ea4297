package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

const (
	bulkSize  = 256 << 20
	bulkImage = "arcbox/bench-bulk"
)

// bulk moves an image of random bytes. There are two peers: the same request
// made in the guest, which has everything but the way between host and guest;
// and bare bytes over the vsock device, which have nothing but that way.
func bulk(ctx context.Context, b *bench) error {
	if err := b.insider(ctx); err != nil {
		return err
	}
	file := filepath.Join(b.dir, "bulk.tar")
	if err := writeImage(file, bulkSize); err != nil {
		return err
	}
	// Into the guest's disk for the peer that loads there.
	if err := b.into(ctx, file, "sh", "-c", "cat >/bulk/image.tar"); err != nil {
		return fmt.Errorf("copy the image into the guest: %w", err)
	}
	const rounds = 2
	rates, work := map[string][]float64{}, map[string]map[string][]float64{}
	for range rounds {
		in, out, trip, err := b.bareVsock(ctx)
		if err != nil {
			return err
		}
		fmt.Printf("bare vsock: %.0f MiB/s in, %.0f MiB/s out, %.2f ms a round trip\n", in, out, trip)
		rates[bareIn], rates[bareOut] = append(rates[bareIn], in), append(rates[bareOut], out)
		for _, s := range b.transfers(ctx, file) {
			var took float64
			by, err := b.workOf(ctx, func() error {
				var err error
				took, err = s.run()
				return err
			})
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			if work[s.name] == nil {
				work[s.name] = map[string][]float64{}
			}
			for who, t := range by {
				work[s.name][who] = append(work[s.name][who], t)
			}
			fmt.Printf("%s: %.1f s (load %s)\n", s.name, took, load())
			rates[s.name] = append(rates[s.name], float64(bulkSize>>20)/took)
		}
	}
	against := func(figure, name, peerName, peer string) {
		b.report.add(row{
			Figure: figure, Unit: "MiB/s", Value: median(rates[name]), All: rates[name],
			PeerName: peerName, Peer: median(rates[peer]), PeerAll: rates[peer],
		})
	}
	for _, t := range []struct{ name, bare, exec, way string }{{"load", bareIn, execIn, "into"}, {"save", bareOut, execOut, "out of"}} {
		figure := "`docker " + t.name + "`, 256 MiB of noise"
		against(figure, t.name, "the same request in the guest", t.name+inGuest)
		against(figure, t.name, "bare bytes over the vsock device", t.bare)
		against("256 MiB "+t.way+" a container by `docker exec`", t.exec, "bare bytes over the vsock device", t.bare)
	}
	for _, name := range []string{execIn, execOut, "load", "save"} {
		for _, who := range slices.Sorted(maps.Keys(work[name])) {
			all := work[name][who]
			b.report.add(row{Figure: "processor time, " + name + ", 256 MiB: " + who, Unit: "s", Value: median(all), All: all})
		}
	}
	hash, err := b.insideNumber(ctx, "hash")
	if err != nil {
		return err
	}
	b.report.add(row{Figure: "SHA-256 in the guest", Unit: "MiB/s", Value: hash, PeerName: "on the host", Peer: hashRate()})
	return b.afterBulk(ctx)
}

// The names of the transfers.
const (
	bareIn, bareOut = "bare in", "bare out"
	execIn, execOut = "exec in", "exec out"
	inGuest         = " in the guest"
)

type transfer struct {
	name string
	run  func() (seconds float64, err error)
}

// transfers are one round; at its end the image is gone.
func (b *bench) transfers(ctx context.Context, file string) []transfer {
	timed := func(f func() error) func() (float64, error) {
		return func() (float64, error) {
			began := time.Now()
			err := f()
			return time.Since(began).Seconds(), err
		}
	}
	return []transfer{
		{execIn, timed(func() error { return b.into(ctx, file, "/bench", "inside", "sink") })},
		{execOut, timed(func() error { return b.sourced(ctx) })},
		{"load", timed(func() error { return b.loadBulk(ctx, file) })},
		{"save", timed(func() error { return b.saveBulk(ctx) })},
		{"save" + inGuest, func() (float64, error) { return b.insideNumber(ctx, "save", "/docker.sock", bulkImage) }},
		{"remove", timed(func() error { return b.removeBulk(ctx) })},
		{"load" + inGuest, func() (float64, error) { return b.insideNumber(ctx, "load", "/docker.sock", "/bulk/image.tar") }},
		{"remove again", timed(func() error { return b.removeBulk(ctx) })},
	}
}

// into runs a program in the container with the file as its input.
func (b *bench) into(ctx context.Context, file string, args ...string) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	cmd := b.command(ctx, "docker", append([]string{"exec", "-i", insider}, args...)...)
	cmd.Stdin = in
	return cmd.Run()
}

// sourced reads what a program in the container writes.
func (b *bench) sourced(ctx context.Context) error {
	return drain(b.command(ctx, "docker", "exec", insider, "/bench", "inside", "source", fmt.Sprint(bulkSize)))
}

func (b *bench) loadBulk(ctx context.Context, file string) error {
	_, err := b.do(ctx, "docker", "load", "-q", "-i", file)
	return err
}

func (b *bench) saveBulk(ctx context.Context) error {
	return drain(b.command(ctx, "docker", "save", bulkImage))
}

func (b *bench) removeBulk(ctx context.Context) error {
	_, err := b.do(ctx, "docker", "rmi", bulkImage)
	return err
}

// afterBulk looks at the daemon's memory when it has been quiet for a moment.
func (b *bench) afterBulk(ctx context.Context) error {
	pid, err := b.daemonPID(ctx)
	if err != nil {
		return err
	}
	const quiet = 30 * time.Second // the device gives up the guest's pages within 20 s
	if err := pause(ctx, quiet); err != nil {
		return err
	}
	after, err := look(pid)
	if err != nil {
		return err
	}
	b.report.add(row{Figure: "after the transfers: the daemon's RSS, " + quiet.String() + " later", Unit: "MB", Value: after.rss, Goal: &goal{AtMost: 40}})
	b.memory("after the transfers", after)
	return nil
}

// drain runs a command and reads what it prints, of which no transfer may be
// lost unnoticed.
func drain(cmd *exec.Cmd) error {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, out)
	if err := errors.Join(err, cmd.Wait()); err != nil {
		return err
	}
	if n < bulkSize {
		return fmt.Errorf("%d bytes came, at least %d were sent", n, bulkSize)
	}
	return nil
}
