package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// binaries are the sizes, and the command that does nothing.
func binaries(ctx context.Context, b *bench) error {
	for _, name := range []string{"arcbox", "arcbox-agent"} {
		st, err := os.Stat(filepath.Join(b.bin, name))
		if err != nil {
			return err
		}
		b.report.value("size of "+name, "MB", float64(st.Size())/1e6)
	}
	var times []float64
	for range 30 {
		began := time.Now()
		if _, err := b.do(ctx, "arcbox", "version"); err != nil {
			return err
		}
		times = append(times, float64(time.Since(began).Microseconds())/1000)
	}
	b.report.add(row{Figure: "`arcbox version`", Unit: "ms", Value: median(times), All: times, Goal: &goal{AtMost: 30}})
	return nil
}

// cold times docker version while the machine is down, and splits it by the
// daemon's log.
func cold(ctx context.Context, b *bench) error {
	if err := b.up(ctx); err != nil { // so that the disk is formatted
		return err
	}
	if err := b.down(ctx); err != nil {
		return err
	}
	var all, warm, stops []float64
	spans := map[string][]float64{}
	names := []string{"client to the boot", "assets, disks and QEMU", "guest to the agent's hello", "engine to ready", "answer to the client"}
	for range b.rounds {
		if _, err := b.do(ctx, "arcbox", "daemon", "start", "--boot", "on_demand"); err != nil {
			return err
		}
		began := time.Now()
		if _, err := b.do(ctx, "docker", "version"); err != nil {
			return err
		}
		ended := time.Now()
		all = append(all, ended.Sub(began).Seconds())
		at := []time.Time{began}
		for _, f := range []func(event) bool{
			func(e event) bool { return e.To == "starting" && e.Time.After(began) },
			func(e event) bool { return e.Msg == "machine runs" },
			func(e event) bool { return e.Msg == "guest agent connected" },
			func(e event) bool { return e.Event == "engine.ready" },
		} {
			e, err := b.find(ctx, "the boot's events", f)
			if err != nil {
				return err
			}
			at = append(at, e.Time)
		}
		at = append(at, ended)
		for i, name := range names {
			spans[name] = append(spans[name], at[i+1].Sub(at[i]).Seconds())
		}
		began = time.Now()
		if _, err := b.do(ctx, "docker", "version"); err != nil {
			return err
		}
		warm = append(warm, time.Since(began).Seconds())
		began = time.Now()
		if err := b.down(ctx); err != nil {
			return err
		}
		stops = append(stops, time.Since(began).Seconds())
	}
	b.report.add(row{Figure: "cold `docker version`", Unit: "s", Value: median(all), All: all})
	for _, name := range names {
		b.report.add(row{Figure: fmt.Sprintf("cold `docker version`: %s", name), Unit: "s", Value: median(spans[name]), All: spans[name]})
	}
	b.report.add(row{Figure: "`docker version` again", Unit: "s", Value: median(warm), All: warm})
	b.report.add(row{Figure: "stop, no containers", Unit: "s", Value: median(stops), All: stops})
	return nil
}
