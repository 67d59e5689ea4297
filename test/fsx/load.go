package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// perDirectory is how many small files a directory of runMany holds.
const perDirectory = 1000

// runMany makes many small files, each with its number as content, or removes
// them.
func runMany(args []string) error {
	flags := flag.NewFlagSet("many", flag.ContinueOnError)
	dir := flags.String("dir", "", "directory")
	n := flags.Int("n", 1000, "files")
	remove := flags.Bool("remove", false, "remove them")
	if err := flags.Parse(args); err != nil {
		return err
	}
	began := time.Now()
	for i := range *n {
		sub := filepath.Join(*dir, fmt.Sprint(i/perDirectory))
		file := filepath.Join(sub, fmt.Sprint(i))
		var err error
		switch {
		case *remove:
			err = os.Remove(file)
		case i%perDirectory == 0:
			err = errors.Join(os.Mkdir(sub, 0o755), os.WriteFile(file, fmt.Append(nil, i), 0o644)) //nolint:gosec // a test's file
		default:
			err = os.WriteFile(file, fmt.Append(nil, i), 0o644) //nolint:gosec // a test's file
		}
		if err == nil && *remove && ((i+1)%perDirectory == 0 || i == *n-1) {
			err = os.Remove(sub)
		}
		if err != nil {
			return err
		}
	}
	fmt.Printf("fsx: %d files in %.1f s\n", *n, time.Since(began).Seconds())
	return nil
}

// runBig writes a file that compresses badly and differs in every block, says
// its sha256, and reads it back.
func runBig(args []string) error {
	flags := flag.NewFlagSet("big", flag.ContinueOnError)
	file := flags.String("file", "", "file")
	mib := flags.Int("mib", 1, "size")
	if err := flags.Parse(args); err != nil {
		return err
	}
	f, err := os.Create(*file)
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i * 7)
	}
	number := func(i int) {
		for at := 0; at < len(block); at += 4096 {
			binary.LittleEndian.PutUint64(block[at:], uint64(i)<<20|uint64(at)) //nolint:gosec // not negative
		}
	}
	written := sha256.New()
	began := time.Now()
	for i := range *mib {
		number(i)
		_, _ = written.Write(block)
		if _, err := f.Write(block); err != nil {
			return fmt.Errorf("MiB %d: %w", i, err)
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	fmt.Printf("fsx: wrote %x in %.1f s\n", written.Sum(nil), time.Since(began).Seconds())
	began = time.Now()
	back := make([]byte, len(block))
	for i := range *mib {
		number(i)
		if _, err := f.ReadAt(back, int64(i)<<20); err != nil {
			return fmt.Errorf("read MiB %d: %w", i, err)
		}
		if !bytes.Equal(back, block) {
			return fmt.Errorf("MiB %d is not what was written", i)
		}
	}
	fmt.Printf("fsx: read it back in %.1f s\n", time.Since(began).Seconds())
	return nil
}

// runJournal appends numbered lines to a file for ever, and says a number on
// standard output once its line is safe.
func runJournal(args []string) error {
	flags := flag.NewFlagSet("journal", flag.ContinueOnError)
	file := flags.String("file", "", "file")
	padding := flags.Int("padding", 0, "bytes that are written beside each line, to another file, without fsync")
	if err := flags.Parse(args); err != nil {
		return err
	}
	f, err := os.OpenFile(*file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644) //nolint:gosec // a test's file
	if err != nil {
		return err
	}
	defer f.Close()
	noise, err := os.Create(*file + ".noise")
	if err != nil {
		return err
	}
	defer noise.Close()
	out := bufio.NewWriter(os.Stdout)
	for i := 0; ; i++ {
		if *padding > 0 {
			if _, err := noise.WriteAt(bytes.Repeat([]byte{byte(i)}, *padding), int64(i%64)*int64(*padding)); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintf(f, "line %08d\n", i); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		fmt.Fprintln(out, i)
		if err := out.Flush(); err != nil {
			return err
		}
	}
}
