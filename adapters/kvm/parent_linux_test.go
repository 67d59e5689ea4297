package kvm

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/application/port"
	"arcbox/domain"
)

// helperVariable makes the test binary start a machine of the kernel that it
// names, print the id of its process, and wait to be killed.
const helperVariable = "ARCBOX_KVM_TEST_HELPER"

func helperMain() {
	h := New(Options{Accelerator: domain.AcceleratorTCG}, nil, quiet())
	vm, err := h.Start(context.Background(), port.VMSpec{Plan: domain.VMPlan{
		Name: "test", CPUs: 1, Memory: 64, Kernel: os.Getenv(helperVariable),
	}})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(vm.(*machine).pid())
	time.Sleep(time.Minute)
}

func TestMachineDiesWithItsParent(t *testing.T) {
	realQEMU(t)
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), helperVariable+"="+guestKernel(t))
	out, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	line, _ := bufio.NewReader(out).ReadString('\n')
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	require.NoError(t, err, line)
	require.False(t, gone(pid))
	require.NoError(t, parent.Process.Kill())
	_ = parent.Wait()
	require.Eventually(t, func() bool { return gone(pid) }, 5*time.Second, time.Millisecond)
}

// The parent-death signal comes when a thread ends. It must not be the
// caller's.
func TestMachineOutlivesTheThreadThatStartedIt(t *testing.T) {
	h := emulated(t, nil)
	plan := testPlan(t)
	started := make(chan *machine)
	go func() {
		runtime.LockOSThread() // not unlocked: the thread ends with the goroutine
		vm, err := h.Start(context.Background(), port.VMSpec{Plan: plan})
		if err != nil {
			t.Error(err)
			close(started)
			return
		}
		started <- vm.(*machine)
	}()
	m := <-started
	require.NotNil(t, m)
	select {
	case <-m.Done():
		t.Errorf("the machine went down: %v", m.Err())
	case <-time.After(300 * time.Millisecond):
	}
	require.NoError(t, m.Kill(t.Context()))
}
