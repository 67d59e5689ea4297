package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// stages of a boot, in order; each is what happens until its moment.
const (
	stageCommand    = "command to QEMU"
	stageQEMU       = "QEMU and firmware (to the kernel's first line)"
	stageKernel     = "kernel (to process 1)"
	stageInit       = "init (to the agent listening)"
	stageAgent      = "agent (to its hello at the host)"
	stageContainerd = "containerd (to ready)"
	stageDockerd    = "dockerd (to ready at the host)"
)

func stages() []string {
	return []string{stageCommand, stageQEMU, stageKernel, stageInit, stageAgent, stageContainerd, stageDockerd}
}

// oneBoot is when each stage ended, from the command.
type oneBoot struct {
	qemu  float64 // seconds from the command to QEMU
	hello float64 // from QEMU to the agent's hello
	ready float64 // from QEMU to the engine
	spans map[string]float64
}

// sight is when a word was first seen on the console.
type sight map[string]time.Time

// watchConsole notes when each word first appears in the console's log; the
// empty word is the first byte. It ends with ctx.
func watchConsole(ctx context.Context, path string, words []string) sight {
	seen := sight{}
	var text []byte
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if now, err := os.ReadFile(path); err == nil && len(now) != len(text) {
			text = now
			for _, w := range words {
				if _, ok := seen[w]; !ok && len(text) > 0 && bytes.Contains(text, []byte(w)) {
					seen[w] = time.Now()
				}
			}
		}
		select {
		case <-ctx.Done():
			return seen
		case <-tick.C:
		}
	}
}

// boot starts the daemon and follows the boot until the engine is ready.
func (b *bench) boot(ctx context.Context) (oneBoot, error) {
	const first, starts, listens, containerd = "", " starts", "agent listens", "containerd ready"
	watching, stop := context.WithCancel(ctx)
	console := make(chan sight, 1)
	go func() {
		console <- watchConsole(watching, b.log("kernel"), []string{first, starts, listens, containerd})
	}()
	began := time.Now()
	_, err := b.do(ctx, "arcbox", "daemon", "start")
	var run, hello, ready event
	if err == nil {
		run, err = b.find(ctx, "QEMU", func(e event) bool { return e.Msg == "machine runs" })
	}
	var exec time.Time
	if err == nil {
		exec, err = startTime(run.PID)
	}
	if err == nil {
		hello, err = b.find(ctx, "the agent", func(e event) bool { return e.Msg == "guest agent connected" })
	}
	if err == nil {
		ready, err = b.find(ctx, "the engine", func(e event) bool { return e.Event == "engine.ready" })
	}
	stop()
	seen := <-console
	if err != nil {
		return oneBoot{}, err
	}
	at := map[string]time.Time{
		stageCommand: exec, stageQEMU: seen[first], stageKernel: seen[starts], stageInit: seen[listens],
		stageAgent: hello.Time, stageContainerd: seen[containerd], stageDockerd: ready.Time,
	}
	o := oneBoot{qemu: exec.Sub(began).Seconds(), hello: hello.Time.Sub(exec).Seconds(), ready: ready.Time.Sub(exec).Seconds(), spans: map[string]float64{}}
	last := began
	for _, s := range stages() {
		if at[s].IsZero() {
			return o, fmt.Errorf("the console did not show the end of %s", s)
		}
		o.spans[s], last = at[s].Sub(last).Seconds(), at[s]
	}
	return o, nil
}

// boots compares our boots with those of the peer, in turns.
func boots(ctx context.Context, b *bench) error {
	// The first boot of a data directory formats the disk.
	if err := b.up(ctx); err != nil {
		return err
	}
	pid, err := b.qemuPID()
	if err != nil {
		return err
	}
	peer, err := newPeer(b.debian, pid)
	if err != nil {
		return err
	}
	b.report.Machine["machine options"] = strings.Join(peer.shared, " ")
	b.report.Machine["peer's kernel"] = peer.release
	if err := b.down(ctx); err != nil {
		return err
	}
	var hello, ready, login, userspace []float64
	spans := map[string][]float64{}
	for i := range b.rounds {
		ours, err := b.boot(ctx)
		if err != nil {
			return err
		}
		if err := b.down(ctx); err != nil {
			return err
		}
		theirs, err := peer.boot(ctx)
		if err != nil {
			return err
		}
		hello, ready = append(hello, ours.hello), append(ready, ours.ready)
		login, userspace = append(login, theirs.ready), append(userspace, theirs.userspace)
		for s, v := range ours.spans {
			spans[s] = append(spans[s], v)
		}
		fmt.Printf("round %d: agent %.2f s, engine %.2f s, peer %.2f s (load %s)\n", i+1, ours.hello, ours.ready, theirs.ready, load())
	}
	b.report.add(row{
		Figure: "QEMU to the agent's hello", Unit: "s", Value: median(hello), All: hello,
		PeerName: "QEMU to sshd and multi-user on Debian", Peer: median(login), PeerAll: login, Goal: &goal{AtMost: 0.25, Ratio: true},
	})
	b.report.add(row{
		Figure: "QEMU to the engine answering", Unit: "s", Value: median(ready), All: ready,
		PeerName: "QEMU to sshd and multi-user on Debian, which has no engine", Peer: median(login), PeerAll: login,
	})
	for _, s := range stages() {
		b.report.add(row{Figure: "a boot: " + s, Unit: "s", Value: median(spans[s]), All: spans[s]})
	}
	b.report.add(row{Figure: "the peer's kernel and initramfs, its own clock", Unit: "s", Value: median(userspace), All: userspace})
	return nil
}
