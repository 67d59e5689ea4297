//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// dropCaches has the guest forget all pages, names and attributes that it could
// read again. Source: Linux, Documentation/admin-guide/sysctl/vm.rst.
func dropCaches() error {
	f, err := os.OpenFile("/proc/sys/vm/drop_caches", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("3\n")
	return errors.Join(err, f.Close())
}

const (
	block = 1 << 20 // bytes of a sequential read or write
	page  = 4096    // of a random one
)

// sequential writes a file to its fsync, and reads it with cold caches.
func sequential(o options, say func(string, string, float64)) error {
	name := filepath.Join(o.dir, "large")
	defer os.Remove(name)
	data := make([]byte, block)
	for i := range data {
		data[i] = byte(i * 31)
	}
	began := time.Now()
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	for range o.mib {
		if _, err := f.Write(data); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	say("sequential write", "MiB/s", float64(o.mib)/time.Since(began).Seconds())
	if err := dropCaches(); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	began = time.Now()
	for range o.mib {
		if _, err := io.ReadFull(f, data); err != nil {
			return err
		}
	}
	say("sequential read", "MiB/s", float64(o.mib)/time.Since(began).Seconds())
	return nil
}

// randomly reads and writes pages at random places of a file of 64 MiB.
func randomly(o options, say func(string, string, float64)) error {
	const pages = 64 << 20 / page
	name := filepath.Join(o.dir, "random")
	defer os.Remove(name)
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	for range 64 {
		if _, err := f.Write(make([]byte, 1<<20)); err != nil {
			return err
		}
	}
	if err := errors.Join(f.Sync(), dropCaches()); err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // every guest reads the same places
	data := make([]byte, page)
	began := time.Now()
	for range o.random {
		if _, err := f.ReadAt(data, random.Int64N(pages)*page); err != nil {
			return err
		}
	}
	say("random read of 4 KiB", "/s", float64(o.random)/time.Since(began).Seconds())
	if err := dropCaches(); err != nil {
		return err
	}
	began = time.Now()
	for i := range o.random {
		data[0] = byte(i)
		if _, err := f.WriteAt(data, random.Int64N(pages)*page); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("fsync: %w", err)
	}
	say("random write of 4 KiB, then fsync", "/s", float64(o.random)/time.Since(began).Seconds())
	return nil
}
