//go:build linux

package vsock

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/erofs/go-erofs"
	"github.com/stretchr/testify/require"

	"arcbox/application/port"
)

// testKernel finds a guest kernel: $ARCBOX_TEST_KERNEL, or the one that the
// images build leaves in the repository. It must have virtio-pci, virtio-blk,
// EROFS, vsock and a serial console built in.
func testKernel(t testing.TB) string {
	if k := os.Getenv("ARCBOX_TEST_KERNEL"); k != "" {
		return k
	}
	k, err := filepath.Abs("../../build/assets/x86_64/kernel")
	require.NoError(t, err)
	if _, err := os.Stat(k); err != nil {
		t.Skipf("no guest kernel: build the images or set ARCBOX_TEST_KERNEL (%v)", err)
	}
	return k
}

// guestImage makes a root file system whose init is testdata/guest.
func guestImage(t testing.TB) string {
	dir := t.TempDir()
	initPath := filepath.Join(dir, "init")
	build := exec.Command("go", "build", "-o", initPath, "./testdata/guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	program, err := os.ReadFile(initPath)
	require.NoError(t, err)

	f, err := os.Create(filepath.Join(dir, "root.erofs"))
	require.NoError(t, err)
	defer f.Close()
	w := erofs.Create(f)
	require.NoError(t, w.Mkdir("/dev", 0o755))
	e, err := w.Create("/init")
	require.NoError(t, err)
	_, err = e.Write(program)
	require.NoError(t, err)
	require.NoError(t, e.Close())
	require.NoError(t, w.Chmod("/init", 0o755))
	require.NoError(t, w.Close())
	return f.Name()
}

// machine is a device and the hypervisor that has it.
type machine struct {
	port.VsockDevice
	t     testing.TB
	ctx   context.Context // ends with the hypervisor
	qmp   *json.Decoder
	cmd   *os.File // the other direction of qmp
	event string   // the last one
}

// pluggedIn is the device in the slot that plug uses.
var pluggedIn = []string{"-device", "vhost-user-vsock-pci,id=vsock,chardev=vsock,bus=rp0"}

// boot starts a machine for a new device, under emulation so that it runs
// everywhere. Both end with the test. With pluggedIn the machine has the device
// from the start.
func boot(t testing.TB, image string, args ...string) *machine {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("the guest of this test is x86-64")
	}
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Skipf("no QEMU: install qemu-system-x86 (%v)", err)
	}
	dev, err := New(testLogger(t), InProcess()).Open("default")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, dev.Close()) })
	control, monitor := socketPair(t)
	console := &bytes.Buffer{}
	cmd := exec.Command(qemu, append([]string{
		"-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio",
		"-machine", "q35,memory-backend=mem", "-accel", "tcg,thread=multi", "-cpu", "max,-erms,-fsrm", "-smp", "2", "-m", "256M",
		"-object", "memory-backend-memfd,id=mem,size=256M,share=on",
		"-kernel", testKernel(t), "-append", "console=ttyS0 root=/dev/vda rootfstype=erofs ro init=/init panic=-1 quiet",
		"-drive", "if=none,id=root,format=raw,readonly=on,file=" + image, "-device", "virtio-blk-pci,drive=root",
		"-chardev", "socket,id=vsock,fd=3", "-device", "pcie-root-port,id=rp0,chassis=1",
		"-chardev", "socket,id=qmp,fd=4", "-mon", "chardev=qmp,mode=control",
	}, args...)...)
	cmd.ExtraFiles = []*os.File{dev.VhostUser(), monitor}
	cmd.Stdout, cmd.Stderr = console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, cmd.Start())
	require.NoError(t, monitor.Close())
	ctx, ended := context.WithCancelCause(context.Background())
	var watch sync.WaitGroup
	watch.Go(func() { ended(fmt.Errorf("the machine ended: %w", errors.Join(cmd.Wait(), io.EOF))) })
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		watch.Wait()
		if t.Failed() {
			t.Logf("console:\n%s", console)
		}
	})
	m := &machine{VsockDevice: dev, t: t, ctx: ctx, qmp: json.NewDecoder(control), cmd: control}
	m.execute("qmp_capabilities", nil)
	return m
}

func socketPair(t testing.TB) (own, other *os.File) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	own, other = os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "monitor")
	t.Cleanup(func() { _ = own.Close() })
	return own, other
}

// execute runs a QMP command and decodes what it returns into out.
func (m *machine) execute(command string, arguments map[string]any) (result map[string]any) {
	m.t.Helper()
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	require.NoError(m.t, json.NewEncoder(m.cmd).Encode(request))
	for {
		if answer := m.next(); answer != nil {
			_ = json.Unmarshal(answer, &result)
			return result
		}
	}
}

// next reads one QMP message: an answer, or an event, which it notes.
func (m *machine) next() json.RawMessage {
	m.t.Helper()
	var answer struct {
		Return json.RawMessage
		Event  string
		Error  map[string]any
	}
	require.NoError(m.t, m.qmp.Decode(&answer))
	require.Nil(m.t, answer.Error)
	if answer.Event != "" {
		m.event = answer.Event
	}
	return answer.Return
}

// plug adds the device to the running machine.
func (m *machine) plug() {
	m.t.Helper()
	m.execute("device_add", map[string]any{"driver": "vhost-user-vsock-pci", "id": "vsock", "chardev": "vsock", "bus": "rp0"})
}

// unplug takes the device out, which the guest has to agree to.
func (m *machine) unplug() {
	m.t.Helper()
	m.execute("device_del", map[string]any{"id": "vsock"})
	for m.event != "DEVICE_DELETED" {
		m.next()
	}
}

// await polls a query until its status is the one that is wanted.
func (m *machine) await(query, status string) {
	m.t.Helper()
	var last map[string]any
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if last = m.execute(query, nil); last["status"] == status {
			return
		}
		require.NotEqual(m.t, "failed", last["status"], "%v", last)
	}
	m.t.Fatalf("%s: %v, waiting for %s", query, last, status)
}

func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}
