package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// hypervisorOf returns the process id of the daemon's QEMU, 0 without one.
func hypervisorOf(t *testing.T, d *daemon) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, f := range files {
		line, err := os.ReadFile(f)
		if err != nil || !strings.Contains(string(line), "qemu-system") || !strings.Contains(string(line), d.data) {
			continue
		}
		var pid int
		_, err = fmt.Sscanf(filepath.Base(filepath.Dir(f)), "%d", &pid)
		require.NoError(t, err)
		return pid
	}
	return 0
}

func kill(t *testing.T, pid int) {
	t.Helper()
	require.NotZero(t, pid)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
}

// restartsOf returns how often a service of the guest was restarted.
func restartsOf(t *testing.T, d *daemon, service string) int {
	t.Helper()
	out, err := d.arcbox(t.Context(), "status", "--format", "json")
	require.NoError(t, err)
	var st struct {
		VMs []struct {
			Services []struct {
				Name     string
				Restarts int
			}
		}
	}
	require.NoError(t, json.Unmarshal([]byte(out), &st))
	for _, s := range st.VMs[0].Services {
		if s.Name == service {
			return s.Restarts
		}
	}
	t.Fatalf("no service %s in %s", service, out)
	return 0
}

// load puts the demo image into the daemon's engine.
func (d *daemon) load(t *testing.T) {
	t.Helper()
	_, err := d.docker(t.Context(), "load", "-i", d.image("demo"))
	require.NoError(t, err)
}

func (d *daemon) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := d.docker(t.Context(), args...)
	require.NoError(t, err)
	return out
}

func TestCrashesOfMachineEngineAndDaemon(t *testing.T) {
	d := own(t, "crash")
	require.NoError(t, d.start("--wait"))
	d.load(t)
	d.must(t, "run", "--name", "kept", demo, "sh", "-c", "echo precious > /file; sync")

	t.Run("the hypervisor is killed under requests", func(t *testing.T) {
		var wg sync.WaitGroup
		began, errs := time.Now(), make([]error, 3)
		for i := range errs {
			wg.Go(func() { _, errs[i] = d.docker(t.Context(), "run", "--rm", demo, "sleep", "300") })
		}
		eventually(t, time.Minute, func() error {
			out, err := d.docker(t.Context(), "ps", "-q")
			if err == nil && len(strings.Fields(out)) < len(errs) {
				err = errors.New("not all run yet")
			}
			return err
		})
		kill(t, hypervisorOf(t, d))
		wg.Wait()
		for _, err := range errs {
			require.Error(t, err, "a request in flight fails")
		}
		require.Less(t, time.Since(began), 2*time.Minute, "and does so at once")
		require.Contains(t, d.must(t, "ps", "-a", "--format", "{{.Names}}"), "kept", "the next request boots again")
		require.Contains(t, d.must(t, "images"), demo)
		// Before it starts: it writes the file again.
		require.Equal(t, "precious\n", d.must(t, "cp", "kept:/file", "-")[512:521])
		d.must(t, "start", "kept")
	})

	t.Run("dockerd and containerd are killed in the guest", func(t *testing.T) {
		for _, victim := range []string{"dockerd", "containerd"} {
			// Detached: what waits for a container may wait for ever when its end falls into the crash.
			d.must(t, "run", "-d", "--privileged", "--pid", "host", demo, "sh", "-c", "sleep 1; kill -9 $(pidof "+victim+")")
			eventually(t, time.Minute, func() error {
				if restartsOf(t, d, victim) == 0 {
					return errors.New("not restarted yet")
				}
				return nil
			})
			eventually(t, 2*time.Minute, func() error {
				_, err := d.docker(t.Context(), "run", "--rm", demo, "true")
				return err
			})
		}
	})

	t.Run("the guest panics", func(t *testing.T) {
		before := d.must(t, "info", "--format", "{{.ID}}")
		_, _ = d.docker(t.Context(), "run", "--rm", "--privileged", demo, "sh", "-c", "echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger; sleep 5")
		require.Equal(t, before, d.must(t, "info", "--format", "{{.ID}}"), "the same engine, on the same disk")
	})

	t.Run("the daemon is killed", func(t *testing.T) {
		st, _, err := d.status()
		require.NoError(t, err)
		qemu := hypervisorOf(t, d)
		kill(t, st.PID)
		eventually(t, 5*time.Second, func() error {
			if err := syscall.Kill(qemu, 0); !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("QEMU outlives its daemon: %w", err)
			}
			return nil
		})
		st, code, err := d.status()
		require.NoError(t, err)
		require.Equal(t, 3, code)
		require.False(t, st.Running)
		require.FileExists(t, d.socket(), "what a kill leaves behind")
		require.NoError(t, d.start("--wait"))
		require.Contains(t, d.must(t, "ps", "-a", "--format", "{{.Names}}"), "kept")
	})

	t.Run("a clean stop leaves nothing", func(t *testing.T) {
		_, err := d.arcbox(t.Context(), "daemon", "stop")
		require.NoError(t, err)
		require.NoFileExists(t, d.socket())
		require.NoFileExists(t, filepath.Join(d.data, "run", "arcbox.sock"))
		require.Empty(t, processesOf(t, d))
		_, err = d.docker(t.Context(), "ps")
		require.Error(t, err)
	})
}

func TestTheDaemonIsKilledInEveryPhase(t *testing.T) {
	d := own(t, "phases")
	for _, phase := range []string{"DOWNLOADING_ASSETS", "VM_STARTING", "NETWORK_READY"} {
		require.NoError(t, d.start())
		var st status
		eventually(t, time.Minute, func() (err error) {
			if st, _, err = d.status(); err == nil && st.Phase != phase && st.Phase != "READY" && phase != "DOWNLOADING_ASSETS" {
				err = fmt.Errorf("phase %s", st.Phase)
			}
			return err
		})
		kill(t, st.PID)
		eventually(t, 5*time.Second, func() error {
			if p := processesOf(t, d); len(p) > 0 {
				return fmt.Errorf("left: %q", p)
			}
			return nil
		})
		st, code, err := d.status()
		require.NoError(t, err)
		require.Equal(t, 3, code, "never already starting")
		require.Equal(t, "stopped", st.State)
	}
	require.NoError(t, d.start("--wait"))
	d.must(t, "ps")
}

func TestSignalsDuringTheStartAndTwoDaemons(t *testing.T) {
	d := own(t, "signals")
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() { errs[i] = d.start() })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		require.ErrorContains(t, err, "already running")
	}
	require.Equal(t, 1, won)
	began := time.Now()
	_, err := d.arcbox(t.Context(), "daemon", "stop")
	require.NoError(t, err)
	require.Less(t, time.Since(began), 15*time.Second, "a signal during the start is obeyed")
	require.Empty(t, processesOf(t, d))

	require.NoError(t, d.start("--wait"))
	d.load(t)
	d.must(t, "run", "-d", demo, "sh", "-c", "trap '' TERM; sleep 600")
	began = time.Now()
	_, err = d.arcbox(t.Context(), "daemon", "stop", "--force")
	require.NoError(t, err)
	require.Less(t, time.Since(began), 15*time.Second, "the second signal does not wait for the container")
	require.Empty(t, processesOf(t, d))
}

func TestOnDemandIdleAndWake(t *testing.T) {
	d := own(t, "idle")
	d.extra = []string{"ARCBOX_VM__IDLE_TIMEOUT=2s", "ARCBOX_VM__STOP_TIMEOUT=2s"}
	require.NoError(t, d.start("--wait", "--boot", "on_demand"))
	down := func() error {
		st, _, err := d.status()
		if err == nil && st.State != "stopped" && st.State != "not_exist" {
			err = fmt.Errorf("state %s", st.State)
		}
		return err
	}
	require.NoError(t, down())
	answer := get(t, d, "/_ping")
	require.Equal(t, "OK", answer)
	require.NoError(t, down(), "a ping does not boot")

	d.load(t) // this does
	d.must(t, "run", "-d", "--name", "busy", demo, "sleep", "600")
	events, cancel := context.WithCancel(t.Context())
	defer cancel()
	watching := d.command(events, "docker", "events")
	require.NoError(t, watching.Start())
	time.Sleep(8 * time.Second)
	require.Error(t, down(), "a container runs")
	d.must(t, "rm", "-f", "busy")
	eventually(t, time.Minute, down)
	require.Contains(t, d.must(t, "images"), demo, "the next request boots, and everything is there")
	cancel()
	_ = watching.Wait()
	require.Equal(t, "OK", get(t, d, "/_ping"))
}

// get asks the Docker socket, without a client's own start-up.
func get(t *testing.T, d *daemon, path string) string {
	t.Helper()
	resp, err := raw(d).Get("http://docker" + path)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(body)
}

func raw(d *daemon) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", d.socket())
	}}}
}

func TestThousandsOfRequestsLeaveNothingBehind(t *testing.T) {
	st, _, err := shared.status()
	require.NoError(t, err)
	descriptors := func() int {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", st.PID))
		require.NoError(t, err)
		return len(entries)
	}
	get(t, shared, "/_ping")
	before := descriptors()
	for _, batch := range []struct {
		path  string
		count int
	}{{"/containers/json", 100}, {"/_ping", 2000}} {
		var wg sync.WaitGroup
		slots := make(chan struct{}, 100)
		failed := make(chan error, batch.count)
		for range batch.count {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				resp, err := raw(shared).Get("http://docker" + batch.path)
				if err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
					if resp.StatusCode != http.StatusOK {
						err = errors.New(resp.Status)
					}
				}
				if err != nil {
					failed <- err
				}
			})
		}
		wg.Wait()
		require.Empty(t, failed, batch.path)
	}
	eventually(t, time.Minute, func() error {
		if now := descriptors(); now > before+5 {
			return fmt.Errorf("%d descriptors, %d before", now, before)
		}
		return nil
	})
}

func TestAcceleratorIsTold(t *testing.T) {
	out, err := shared.arcbox(t.Context(), "status", "--format", "json")
	require.NoError(t, err)
	var info struct {
		VMs []struct {
			Accelerator string
			Reason      string `json:"accelerator_reason"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(out), &info))
	if info.VMs[0].Accelerator == "kvm" {
		t.Skip("KVM works here: there is nothing to explain")
	}
	require.Equal(t, "tcg", info.VMs[0].Accelerator)
	require.NotEmpty(t, info.VMs[0].Reason, "why it is not KVM")
}
