// Command mkimage writes a container image made of one folder, for
// `docker load`. It needs no engine and no registry, and the same folder gives
// the same bytes whoever builds it, wherever and whenever.
//
//	mkimage -o demo.tar -name arcbox/demo:latest -root DIR -epoch 0 -cmd '["sh"]'
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("mkimage", flag.ContinueOnError)
	var (
		out    = flags.String("o", "", "archive to write")
		name   = flags.String("name", "", "name and tag of the image")
		root   = flags.String("root", "", "folder that becomes the image's file system")
		arch   = flags.String("arch", "amd64", "architecture of the image")
		epoch  = flags.Int64("epoch", 0, "time stamp of everything, in seconds since 1970")
		cmd    = flags.String("cmd", "", "default command, a JSON list")
		env    = flags.String("env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "environment, comma-separated")
		dir    = flags.String("workdir", "", "working directory")
		expose = flags.String("expose", "", "exposed ports, comma-separated, such as 80/tcp")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	for flagName, value := range map[string]string{"o": *out, "name": *name, "root": *root} {
		if value == "" {
			return fmt.Errorf("-%s is required", flagName)
		}
	}
	if !strings.Contains(*name, ":") {
		return fmt.Errorf("-name %s has no tag", *name)
	}

	spec := imageSpec{
		Name:         *name,
		Architecture: *arch,
		Created:      time.Unix(*epoch, 0).UTC(),
		Env:          list(*env),
		WorkingDir:   *dir,
		Ports:        list(*expose),
	}
	if *cmd != "" {
		if err := json.Unmarshal([]byte(*cmd), &spec.Cmd); err != nil {
			return fmt.Errorf("-cmd is not a JSON list of strings: %w", err)
		}
	}

	// A half-written archive never has the final name.
	tmp, err := os.CreateTemp(filepath.Dir(*out), ".mkimage-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	err = writeImage(tmp, spec, *root)
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", *out, err)
	}
	if err := os.Chmod(tmp.Name(), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), *out)
}

func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}
