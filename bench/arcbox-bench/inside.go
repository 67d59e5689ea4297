package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"
)

// inside is what runs in a container of the guest:
//
//	wait                  until it is told to end
//	latencies SOCKET      prints JSON of the requests' times
//	parallel SOCKET       prints the seconds that 1000 requests took
//	load SOCKET FILE      prints the seconds that loading an image took
//	save SOCKET IMAGE     prints the seconds that saving an image took
//	times                 prints JSON of the engine's processor time
//	hash                  prints the MiB of SHA-256 a second
//	sink                  reads its input to the end
//	source BYTES          writes that many bytes
func inside(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("inside: what?")
	}
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	seconds := func(f func() error) error {
		began := time.Now()
		if err := f(); err != nil {
			return err
		}
		_, err := fmt.Println(time.Since(began).Seconds())
		return err
	}
	switch args[0] {
	case "wait":
		<-ctx.Done()
		return nil
	case "times":
		times, err := engineTimes()
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(times)
	case "hash":
		_, err := fmt.Println(hashRate())
		return err
	case "latencies":
		all, err := latencies(ctx, arg(1))
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(all)
	case "parallel":
		took, err := parallel(ctx, arg(1), "/containers/json", 1000, 100)
		if err != nil {
			return err
		}
		_, err = fmt.Println(took.Seconds())
		return err
	case "load":
		return seconds(func() error { return loadImage(ctx, arg(1), arg(2)) })
	case "save":
		return seconds(func() error { _, err := saveImage(ctx, arg(1), arg(2)); return err })
	case "sink":
		_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{os.Stdin}, make([]byte, 1<<20))
		return err
	case "source":
		n, err := strconv.Atoi(arg(1))
		if err != nil {
			return err
		}
		for chunk := make([]byte, 64<<10); n > 0; n -= len(chunk) {
			if _, err := os.Stdout.Write(chunk[:min(n, len(chunk))]); err != nil {
				return err
			}
		}
		return nil
	default:
		return fmt.Errorf("inside: no part %q", args[0])
	}
}

// loadImage is docker load, without the client's progress.
func loadImage(ctx context.Context, socket, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = ask(ctx, client(socket, false), http.MethodPost, "/images/load?quiet=1", f)
	return err
}

// saveImage is docker save, of which the bytes are counted and dropped.
func saveImage(ctx context.Context, socket, image string) (int64, error) {
	return ask(ctx, client(socket, false), http.MethodGet, "/images/"+image+"/get", nil)
}
