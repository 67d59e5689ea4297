package engine

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRunningContainersAreFollowed(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "docker.sock")
	var containers atomic.Int32
	changed, listed := make(chan struct{}), make(chan struct{}, 1)
	containers.Store(2)
	var late atomic.Bool // the next change falls between the head of the events and their subscription
	serve := func() *http.Server {
		mux := http.NewServeMux()
		mux.HandleFunc("/_ping", func(http.ResponseWriter, *http.Request) {}) // with the header Date
		mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("filters") != runningFilter {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			_ = http.NewResponseController(w).Flush()
			tell := func() {
				_, _ = w.Write([]byte(`{"Type":"container","Action":"die"}` + "\n"))
				_ = http.NewResponseController(w).Flush()
			}
			since, err := strconv.ParseInt(r.URL.Query().Get("since"), 10, 64)
			if late.CompareAndSwap(true, false) {
				<-listed
				containers.Store(7)
				if err == nil && time.Since(time.Unix(since, 0)) < time.Minute {
					tell()
				}
			}
			for {
				select {
				case <-changed:
					tell()
				case <-r.Context().Done():
					return
				}
			}
		})
		mux.HandleFunc("/containers/json", func(w http.ResponseWriter, _ *http.Request) {
			defer func() {
				select {
				case listed <- struct{}{}:
				default:
				}
			}()
			_, _ = w.Write([]byte("[" + strings.TrimSuffix(strings.Repeat(`{"Id":"x","Names":["/a"]},`, int(containers.Load())), ",") + "]"))
		})
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
		require.NoError(t, err)
		s := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
		go func() { _ = s.Serve(l) }()
		return s
	}
	told := make(chan Running, 16)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); FollowRunning(ctx, socket, func(r Running) { told <- r }) }()
	next := func() int {
		t.Helper()
		select {
		case r := <-told:
			require.Empty(t, r.HostNetwork)
			return r.Containers
		case <-time.After(10 * time.Second):
			t.Fatal("nothing was told")
			return -1
		}
	}
	s := serve() // after the first attempt, as in a guest
	require.Equal(t, 2, next())
	containers.Store(1)
	changed <- struct{}{}
	require.Equal(t, 1, next())

	require.NoError(t, s.Close()) // dockerd crashes: nothing is told until it is back
	containers.Store(3)
	s = serve()
	require.Equal(t, 3, next(), "a change that was missed is in the list")
	require.Empty(t, told)

	require.NoError(t, s.Close())
	late.Store(true)
	<-listed
	s = serve()
	require.Equal(t, 3, next())
	require.Equal(t, 7, next(), "dockerd subscribes after it has answered")
	cancel()
	<-done
	require.NoError(t, s.Close())
}

func TestContainersWithTheGuestsNetwork(t *testing.T) {
	list := func(modes ...string) (out []listed) {
		for i, m := range modes {
			c := listed{ID: string(rune('a' + i))}
			c.HostConfig.NetworkMode = m
			out = append(out, c)
		}
		return out
	}
	require.Empty(t, hostNetwork(list("bridge", "none", "mine", "container:a", "")))
	require.Equal(t, []string{"a", "c"}, hostNetwork(list("host", "bridge", "host")))
	require.Equal(t, []string{"a", "d"}, hostNetwork(list("container:d", "container:c", "x", "host")), "who joined one is there too")
}
