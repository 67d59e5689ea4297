package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"arcbox/domain"
)

// readers is how many goroutines take queries from the datagram socket: what is
// answered at once is answered by them.
func readers() int { return min(runtime.GOMAXPROCS(0), 4) }

// whoHolds is the command that names the program which has a port.
func whoHolds(port uint16) string {
	if runtime.GOOS == "linux" {
		return fmt.Sprintf("ss -lntup 'sport = :%d'", port)
	}
	return fmt.Sprintf("lsof -nP -i :%d", port)
}

func isTaken(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }
func isForbidden(err error) bool {
	return errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM)
}

// Pauses after an error of a socket that may be over soon, such as too many
// open files; so many in a row, and the socket is opened anew.
const (
	errorPause = 20 * time.Millisecond
	mostErrors = 50
)

// serveDatagrams answers queries that come by UDP. What has to wait for an
// upstream goes on in a goroutine of parts.
func (s *Server) serveDatagrams(ctx context.Context, c *net.UDPConn, parts *sync.WaitGroup) error {
	buf := make([]byte, dns.MaxMsgSize)
	for failed := 0; ; {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			if failed++; ctx.Err() != nil || failed > mostErrors || errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("receive DNS queries: %w", err)
			}
			pause(ctx, errorPause)
			continue
		}
		failed = 0
		answer, q, err := s.o.Resolver.answer(buf[:n], domain.UDP)
		if q == nil {
			if err == nil {
				_, _ = c.WriteToUDPAddrPort(answer, from) // who does not get it asks again
			}
			continue
		}
		select {
		case s.queries <- struct{}{}:
		default:
			s.limited.Add(1)
			continue
		}
		query := append([]byte(nil), buf[:n]...)
		parts.Go(func() {
			defer func() { <-s.queries }()
			ctx, cancel := context.WithTimeout(ctx, s.o.QueryTimeout)
			defer cancel()
			if answer, err := s.o.Resolver.ask(ctx, query, q, domain.UDP); err == nil {
				_, _ = c.WriteToUDPAddrPort(answer, from)
			}
		})
	}
}

// serveConns answers queries that come by TCP.
func (s *Server) serveConns(ctx context.Context, l *net.TCPListener, parts *sync.WaitGroup) error {
	for failed := 0; ; {
		c, err := l.AcceptTCP()
		if err != nil {
			if failed++; ctx.Err() != nil || failed > mostErrors || errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("accept DNS connections: %w", err)
			}
			pause(ctx, errorPause)
			continue
		}
		failed = 0
		select {
		case s.conns <- struct{}{}:
		default:
			s.limited.Add(1)
			c.Close()
			continue
		}
		parts.Go(func() {
			defer func() { <-s.conns }()
			s.serveConn(ctx, c)
		})
	}
}

// serveConn answers the queries of one connection, each with its length before
// it (RFC 1035 section 4.2.2). An answer that an upstream is slow with does not
// hold back the others (RFC 7766 section 6.2.1.1).
func (s *Server) serveConn(ctx context.Context, c net.Conn) {
	var asking sync.WaitGroup
	defer asking.Wait()
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	var writing sync.Mutex
	write := func(answer []byte) error {
		writing.Lock()
		defer writing.Unlock()
		if err := c.SetWriteDeadline(time.Now().Add(s.o.QueryTimeout)); err != nil {
			return err
		}
		_, err := c.Write(append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(answer)), uint16(len(answer))), answer...))
		return err
	}
	for {
		query, err := s.readQuery(c)
		if errors.Is(err, io.EOF) {
			asking.Wait() // a client may close its side behind its last query
			return
		}
		if err != nil {
			return
		}
		answer, q, err := s.o.Resolver.answer(query, domain.TCP)
		if err != nil {
			return
		}
		if q == nil {
			if write(answer) != nil {
				return
			}
			continue
		}
		select {
		case s.queries <- struct{}{}:
		case <-ctx.Done():
			return
		}
		asking.Go(func() {
			defer func() { <-s.queries }()
			ctx, cancel := context.WithTimeout(ctx, s.o.QueryTimeout)
			defer cancel()
			if answer, err := s.o.Resolver.ask(ctx, query, q, domain.TCP); err != nil || write(answer) != nil {
				c.Close()
			}
		})
	}
}

// readQuery reads one query, all of it within IdleTimeout.
func (s *Server) readQuery(c net.Conn) ([]byte, error) {
	if err := c.SetReadDeadline(time.Now().Add(s.o.IdleTimeout)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	query := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(c, query)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return query, err
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
