//go:build linux

// Command netbench measures what containers' published ports cost on this
// machine, each figure against other ways into a guest in the same run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := choose(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "netbench:", err)
		os.Exit(1)
	}
}

// choose runs the benchmark, or one of the processes that it starts of itself:
// the client is one of its own so that its time is not the peers', and the DNS
// server so that its time can be read.
func choose(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "client":
			return client(args[1:])
		case "usernet":
			return usernet(ctx, args[1:])
		case "dns-server":
			return dnsServer(ctx, args[1:])
		case "dns-client":
			return dnsClient(args[1:])
		}
	}
	flags := flag.NewFlagSet("netbench", flag.ContinueOnError)
	var o options
	flags.StringVar(&o.bin, "bin", "", "directory of arcbox and docker")
	flags.StringVar(&o.out, "out", "", "directory that prepare.sh filled; the results go there too")
	flags.IntVar(&o.rounds, "rounds", 5, "how often each figure is measured")
	flags.DurationVar(&o.span, "span", 2*time.Second, "how long one measurement takes")
	flags.DurationVar(&o.patience, "patience", 3*time.Minute, "how long a part waits in all for moments in which the machine is idle")
	flags.IntVar(&o.starts, "starts", 50, "containers that are started for the lateness of ports")
	only := flags.String("only", "", "comma-separated parts: "+strings.Join(partNames(), ", ")+" (default all)")
	peers := flags.String("peers", "", "comma-separated peers of the part forward: "+strings.Join(peerNames(), ", ")+" (default all)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var err error
	if o.only, err = selection("part", *only, partNames()); err != nil {
		return err
	}
	if o.peers, err = selection("peer", *peers, peerNames()); err != nil {
		return err
	}
	return run(ctx, o)
}

type options struct {
	bin, out       string
	rounds, starts int
	span, patience time.Duration
	only, peers    []string
}

// selection is a comma-separated choice of names, and all of them for "".
func selection(kind, list string, all []string) ([]string, error) {
	if list == "" {
		return all, nil
	}
	chosen := strings.Split(list, ",")
	for _, name := range chosen {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("no %s %q; there are %s", kind, name, strings.Join(all, ", "))
		}
	}
	return chosen, nil
}

// part is one group of figures.
type part struct {
	name    string
	machine bool // it needs ArcBox's machine
	measure func(context.Context, *bench) error
}

func parts() []part {
	return []part{
		{"forward", true, forward},
		{"connections", true, connections},
		{"ports", true, publishedPorts},
		{"late", true, late},
		{"dns", false, names},
	}
}

func partNames() []string {
	var names []string
	for _, p := range parts() {
		names = append(names, p.name)
	}
	return names
}

// bench is what the parts share.
type bench struct {
	options
	self   string // this program
	dir    string // of sockets and consoles, removed at the end
	arcbox *arcbox
	report *report
}

func run(ctx context.Context, o options) (err error) {
	b := &bench{options: o}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "netbench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	defer func() {
		if b.arcbox != nil {
			b.arcbox.remove()
		}
	}()
	var failed []error
	for _, p := range parts() {
		if !slices.Contains(o.only, p.name) {
			continue
		}
		if p.machine && b.arcbox == nil {
			if b.arcbox, err = startArcBox(ctx, b); err != nil {
				return err
			}
		}
		b.report = newReport(p.name)
		b.patience = o.patience
		if err := p.measure(ctx, b); err != nil {
			err = fmt.Errorf("%s: %w", p.name, err)
			fmt.Fprintln(os.Stderr, "netbench:", err)
			failed = append(failed, err)
			b.report.Failed = err.Error()
		}
		if err := b.report.write(o.out); err != nil {
			return err
		}
		fmt.Print(b.report.markdown())
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return errors.Join(failed...)
}

// progress says on standard error what is being done.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().UTC().Format("15:04:05 ")+format+"\n", args...)
}
