package netfwd

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"

	"arcbox/adapters/netfwd/usernet"
)

// attachment is how a hypervisor gets at a network.
type attachment struct {
	file *os.File // for the hypervisor
	// serve moves frames until close.
	serve func(log *slog.Logger, un *usernet.Network)
	close func()
}

func attach(framing usernet.Framing, buffer int) (attachment, error) {
	if framing == usernet.Datagram {
		ours, theirs, err := socketPair(buffer)
		if err != nil {
			return attachment{}, err
		}
		return attachment{
			file:  theirs,
			serve: func(log *slog.Logger, un *usernet.Network) { serve(log, un, ours) },
			close: func() { ours.Close() },
		}, nil
	}
	ln, file, err := cardSocket()
	if err != nil {
		return attachment{}, err
	}
	return attachment{
		file: file,
		serve: func(log *slog.Logger, un *usernet.Network) {
			for {
				conn, err := ln.AcceptUnix()
				if err != nil {
					if !errors.Is(err, net.ErrClosed) {
						log.Error("the machine's network ended", "err", err)
					}
					return
				}
				serve(log, un, conn)
			}
		},
		close: func() { ln.Close() },
	}, nil
}

func serve(log *slog.Logger, un *usernet.Network, conn *net.UnixConn) {
	if err := un.Serve(context.Background(), conn); err != nil {
		log.Error("the machine's network ended", "err", err)
	}
}
