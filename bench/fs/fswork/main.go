//go:build linux

// Command fswork is the guest's end of the file benchmark. In a container of
// ArcBox it is given a directory; as process 1 of a peer's guest it mounts the
// one that the kernel command line names, measures, says so on the console and
// stays.
//
//	fswork measure -dir D [-only part,...]
//	fswork tree -dir D -files N
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	if os.Getpid() == 1 && len(os.Args) == 1 {
		if err := boot(); err != nil {
			fmt.Println("\nfswork: failed:", err)
		}
		select {} // process 1 must not end: the kernel would panic and hide the message
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fswork:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("want measure or tree")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	var o options
	flags.StringVar(&o.dir, "dir", "", "directory of the file system")
	flags.IntVar(&o.mib, "mib", 256, "size of the large file")
	flags.IntVar(&o.files, "files", 10_000, "small files")
	flags.IntVar(&o.random, "random", 2000, "random reads, and writes")
	only := flags.String("only", "", "comma-separated parts: "+strings.Join(partNames(), ", ")+" (default all)")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	switch args[0] {
	case "measure":
		return measure(o, os.Stdout)
	case "tree":
		return makeTree(o.dir, o.files)
	}
	return fmt.Errorf("%q: want measure or tree", args[0])
}

type options struct {
	dir                string
	mib, files, random int
	only               []string
}

// figure is one line of what is measured, after the word "figure".
type figure struct {
	Name  string  `json:"name"`
	Unit  string  `json:"unit"`
	Value float64 `json:"value"`
}

type part struct {
	name    string
	measure func(options, func(name, unit string, value float64)) error
}

func parts() []part {
	return []part{{"sequential", sequential}, {"random", randomly}, {"small", small}, {"git", gitStatus}, {"npm", npmInstall}}
}

func partNames() []string {
	var names []string
	for _, p := range parts() {
		names = append(names, p.name)
	}
	return names
}

// measure writes a line for each figure, and one for each part that failed.
func measure(o options, w io.Writer) error {
	for _, p := range parts() {
		if len(o.only) > 0 && !slices.Contains(o.only, p.name) {
			continue
		}
		var line []byte
		err := p.measure(o, func(name, unit string, value float64) {
			line, _ = json.Marshal(figure{name, unit, value}) // three plain fields
			fmt.Fprintf(w, "\nfigure %s\n", line)
		})
		if err != nil {
			fmt.Fprintf(w, "\nabsent %s: %s\n", p.name, strings.Join(strings.Fields(err.Error()), " "))
		}
	}
	fmt.Fprintln(w, "\nfswork: done")
	return nil
}
