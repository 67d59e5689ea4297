package netfwd

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"arcbox/domain"
)

const (
	holderTimeout  = time.Second // the engine waits, and the answer is a convenience
	maxSocketTable = 16 << 20    // bytes: some hundred thousand sockets
)

// findHolder says who has host in words, or "" when that cannot be known. It
// takes at most holderTimeout.
func findHolder(ctx context.Context, p domain.Protocol, host netip.AddrPort) string {
	ctx, cancel := context.WithTimeout(ctx, holderTimeout)
	defer cancel()
	var sockets []boundSocket
	for _, t := range socketTables(p, host.Addr()) {
		sockets = append(sockets, readSocketTable(filepath.Join("/proc/self/net", t))...)
	}
	s, ok := inTheWay(sockets, host)
	if !ok {
		return ""
	}
	process := ""
	if s.inode != 0 {
		process = findProcess(ctx, s.inode)
	}
	name := ""
	if u, err := user.LookupId(strconv.Itoa(s.uid)); err == nil {
		name = printable(u.Username)
	}
	return s.describe(process, name)
}

func readSocketTable(path string) []boundSocket {
	f, err := os.Open(path)
	if err != nil { // no IPv6
		return nil
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSocketTable))
	if err != nil {
		return nil
	}
	return parseSockets(string(b))
}

// findProcess names the process that has the socket open: of several, as a
// server and its workers, the oldest. Those of other users do not show.
func findProcess(ctx context.Context, inode uint64) string {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return ""
	}
	var pids []int
	for _, d := range dirs {
		if pid, err := strconv.Atoi(d.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	want := fmt.Sprintf("socket:[%d]", inode)
	for _, pid := range pids {
		if ctx.Err() != nil {
			return ""
		}
		dir := filepath.Join("/proc", strconv.Itoa(pid))
		fds, err := os.ReadDir(filepath.Join(dir, "fd"))
		if err != nil {
			continue
		}
		for _, fd := range fds {
			if to, err := os.Readlink(filepath.Join(dir, "fd", fd.Name())); err != nil || to != want {
				continue
			}
			name := "ArcBox"
			if pid != os.Getpid() {
				b, _ := os.ReadFile(filepath.Join(dir, "comm"))
				if name = printable(string(b)); name == "" {
					name = "a process"
				}
			}
			return fmt.Sprintf("%s (pid %d)", name, pid)
		}
	}
	return ""
}
