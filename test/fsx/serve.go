package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// request is one line of JSON on standard input of `fsx serve`. A process that
// stays and answers costs a test nothing per question, as docker exec would.
//
//	read, write, append, stat, list, remove, mkdir, rename (to Data)
//	open     keeps Path open as Name;  readopen, writeopen, sync, close use it
//	lock     takes, without waiting, an exclusive flock (Data "fcntl": fcntl lock) of what is open as Name; unlock
//	dial     connects to the Unix socket Path, sends Data and the end of it, answers all that comes
//	get      asks the HTTP server behind the Unix socket Path for the path Data
//	watch    watches Path with inotify as Name;  event waits for its next event, for as long as Data says
type request struct {
	Do, Path, Name, Data string
}

// answer is the line that follows.
type answer struct {
	Data  string
	Error string
	Stat  *stat `json:",omitempty"`
}

type stat struct {
	Mode     uint32
	Size     int64
	UID, GID uint32
	Links    uint64
	Inode    uint64
}

// patience bounds what may wait for others.
const patience = 20 * time.Second

type server struct {
	open    map[string]*os.File
	watches map[string]*os.File
}

func serve(in io.Reader, out io.Writer) error {
	s := server{open: map[string]*os.File{}, watches: map[string]*os.File{}}
	reader, encoder := json.NewDecoder(bufio.NewReader(in)), json.NewEncoder(out)
	for {
		var r request
		if err := reader.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var a answer
		var err error
		if r.Do == "stat" {
			a.Stat, err = statOf(r.Path)
		} else {
			a.Data, err = s.do(r)
		}
		if err != nil {
			a.Error = err.Error()
		}
		if err := encoder.Encode(a); err != nil {
			return err
		}
	}
}

func statOf(path string) (*stat, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return nil, err
	}
	return &stat{Mode: st.Mode, Size: st.Size, UID: st.Uid, GID: st.Gid, Links: uint64(st.Nlink), Inode: st.Ino}, nil //nolint:unconvert // its size depends on the architecture
}

func (s server) do(r request) (string, error) {
	switch r.Do {
	case "read":
		data, err := os.ReadFile(r.Path)
		return string(data), err
	case "write":
		return "", os.WriteFile(r.Path, []byte(r.Data), 0o644) //nolint:gosec // a test's file
	case "append":
		f, err := os.OpenFile(r.Path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return "", err
		}
		_, err = f.WriteString(r.Data)
		return "", errors.Join(err, f.Close())
	case "list":
		names, err := namesIn(r.Path)
		data, _ := json.Marshal(names)
		return string(data), err
	case "remove":
		return "", os.Remove(r.Path)
	case "mkdir":
		return "", os.Mkdir(r.Path, 0o755) //nolint:gosec // a test's directory
	case "rename":
		return "", os.Rename(r.Path, r.Data)
	case "dial":
		return exchange(r.Path, r.Data)
	case "get":
		return get(r.Path, r.Data)
	case "watch":
		return "", s.watch(r.Name, r.Path)
	case "event":
		return s.event(r.Name, r.Data)
	case "open":
		f, err := os.OpenFile(r.Path, os.O_RDWR|os.O_CREATE, 0o644) //nolint:gosec // a test's file
		if err == nil {
			s.open[r.Name] = f
		}
		return "", err
	default:
		return s.onOpen(r)
	}
}

func (s server) onOpen(r request) (string, error) {
	f := s.open[r.Name]
	if f == nil {
		return "", fmt.Errorf("nothing is open as %q for %q", r.Name, r.Do)
	}
	switch r.Do {
	case "readopen":
		data, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
		return string(data), err
	case "writeopen":
		_, err := f.WriteAt([]byte(r.Data), 0)
		return "", err
	case "sync":
		return "", f.Sync()
	case "close":
		delete(s.open, r.Name)
		return "", f.Close()
	case "lock", "unlock":
		return "", lockNow(f, r.Data == "fcntl", r.Do == "lock")
	default:
		return "", fmt.Errorf("no request %q", r.Do)
	}
}

func lockNow(f *os.File, fcntl, take bool) error {
	if !fcntl {
		how := unix.LOCK_UN
		if take {
			how = unix.LOCK_EX | unix.LOCK_NB
		}
		return unix.Flock(int(f.Fd()), how)
	}
	lock := unix.Flock_t{Type: unix.F_UNLCK}
	if take {
		lock.Type = unix.F_WRLCK
	}
	return unix.FcntlFlock(f.Fd(), unix.F_SETLK, &lock)
}

func exchange(socket, data string) (string, error) {
	c, err := net.DialTimeout("unix", socket, patience)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, data); err != nil {
		return "", err
	}
	if err := c.(*net.UnixConn).CloseWrite(); err != nil {
		return "", err
	}
	all, err := io.ReadAll(c)
	return string(all), err
}

func get(socket, path string) (string, error) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://socket"+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func (s server) watch(name, path string) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return err
	}
	s.watches[name] = os.NewFile(uintptr(fd), "inotify") //nolint:gosec // a descriptor is not negative
	_, err = unix.InotifyAddWatch(fd, path, unix.IN_MODIFY|unix.IN_ATTRIB|unix.IN_CREATE|unix.IN_DELETE|unix.IN_MOVE|unix.IN_DELETE_SELF|unix.IN_CLOSE_WRITE)
	return err
}

// event waits for events and says their mask and name, a line each.
func (s server) event(name, within string) (string, error) {
	f := s.watches[name]
	if f == nil {
		return "", fmt.Errorf("nothing is watched as %q", name)
	}
	wait, err := time.ParseDuration(within)
	if err != nil {
		return "", err
	}
	if err := f.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return "", err
	}
	buf := make([]byte, 4096)
	n, err := f.Read(buf)
	if err != nil {
		return "", err
	}
	return eventsIn(buf[:n]), nil
}
