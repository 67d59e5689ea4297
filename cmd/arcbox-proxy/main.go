//go:build linux

//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command arcbox-proxy is the program that dockerd starts for each published
// port (--userland-proxy-path). It carries no traffic: it asks the agent, and
// through it the host, to open the port, and holds it open by being there.
//
// dockerd gives it the write end of a pipe as file descriptor 3 and the socket
// that it bound in the guest as 4; it reads "0\n", or "1\n" and a text for the
// user, from the pipe, waits 16 seconds for that, and ends the proxy with SIGINT
// (moby, daemon/libnetwork/portmapper/proxy_linux.go). Descriptor 4 stays open
// here: it is what keeps the guest's port taken.
//
// A thousand of these may run, so it uses no more of the standard library than
// it must, and allocates too little for a garbage collection ever to begin. The
// debug settings keep the runtime from looking, at the start and then every
// second, how many processors there are; asking it for one processor costs more
// memory than that saves.
package main

import (
	"errors"
	"os"
	"os/signal"
	"syscall"

	"arcbox/guest/publish/wire"
)

const (
	statusFD = 3
	socketFD = 4
)

// Limits of single calls, seconds. Until dockerd is answered they add up to less
// than its 16. The agent's own limit is shorter, and its answer says more.
const (
	sendLimit    = 2
	answerLimit  = 9
	releaseLimit = 2
)

func main() { os.Exit(run()) }

// run uses one goroutine, because each one that blocks costs a thread, and each
// thread as much memory as all the rest. So signals are taken only when there
// is something to give back: before that they end the process, the agent sees
// the connection end, and that is all there is to do.
func run() int {
	var l lease
	if refused := l.acquire(parse(os.Args[1:])); refused != "" {
		report("1\n" + refused)
		return 1
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	report("0\n")
	<-signals
	l.release()
	return 0
}

// report answers dockerd, which reads two bytes with one read and, after an
// error, the rest until the pipe is closed.
func report(text string) {
	_ = again(func() error {
		_, err := syscall.Write(statusFD, []byte(text))
		return err
	})
	_ = syscall.Close(statusFD)
}

// lease is the connection that stands for the open port.
type lease struct{ fd int }

// acquire returns why the port is not open, "" when it is.
func (l *lease) acquire(r wire.Request) string {
	path, ok := syscall.Getenv(wire.SocketEnv)
	if !ok {
		return "arcbox-proxy: " + wire.SocketEnv + " is not set: it is started by the guest's dockerd only"
	}
	rights := socketRights() // before a socket of our own can get that number
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err == nil {
		limit(fd, syscall.SO_SNDTIMEO, sendLimit)
		limit(fd, syscall.SO_RCVTIMEO, answerLimit)
		err = again(func() error { return syscall.Connect(fd, &syscall.SockaddrUnix{Name: path}) })
	}
	if err != nil {
		return "the ArcBox agent does not take requests for ports (" + code(err) + ")"
	}
	l.fd = fd
	err = again(func() error {
		return syscall.Sendmsg(fd, []byte(r.Message()), rights, nil, syscall.MSG_NOSIGNAL)
	})
	if err != nil {
		return "the ArcBox agent does not take the request for a port (" + code(err) + ")"
	}
	answer, err := l.receive()
	switch {
	case errors.Is(err, syscall.EAGAIN):
		return "the ArcBox agent did not answer in time"
	case err != nil:
		return "the ArcBox agent's answer was lost (" + code(err) + ")"
	case answer == wire.Granted:
		return ""
	case len(answer) > len(wire.Refused) && answer[:len(wire.Refused)] == wire.Refused:
		return answer[len(wire.Refused):]
	case answer == "":
		return "the ArcBox agent ended before it answered"
	}
	return "the ArcBox agent gave an answer that arcbox-proxy does not know"
}

// release gives the port back and returns when it is free.
func (l *lease) release() {
	limit(l.fd, syscall.SO_RCVTIMEO, releaseLimit)
	err := again(func() error { return syscall.Sendto(l.fd, []byte(wire.Release), syscall.MSG_NOSIGNAL, nil) })
	if err == nil {
		_, _ = l.receive() // with or without an answer, this is the end
	}
}

func (l *lease) receive() (string, error) {
	buf := make([]byte, wire.MaxAnswer)
	var n int
	err := again(func() (err error) {
		n, _, err = syscall.Recvfrom(l.fd, buf, 0)
		return err
	})
	return string(buf[:max(n, 0)]), err
}

// socketRights is the message that hands the guest's socket to the agent, which
// serves the guest's own clients on it. There is none when dockerd did not bind.
func socketRights() []byte {
	if _, err := syscall.GetsockoptInt(socketFD, syscall.SOL_SOCKET, syscall.SO_TYPE); err != nil {
		return nil
	}
	return syscall.UnixRights(socketFD)
}

// limit bounds calls on fd; without one they may block, which is no reason not
// to begin.
func limit(fd, which int, seconds int64) {
	_ = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, which, &syscall.Timeval{Sec: seconds})
}

func again(f func() error) error {
	for {
		if err := f(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// code is an error without its usual text, some of which the docker client
// takes for a message about the container's program.
func code(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return "errno " + decimal(int(errno))
	}
	return "unknown error"
}

func decimal(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return decimal(n/10) + string(rune('0'+n%10))
}
