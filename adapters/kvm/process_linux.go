package kvm

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// process is a child that dies with this one.
type process struct {
	cmd    *exec.Cmd
	output tail
	exited chan struct{}
}

// startProcess starts a child with the given descriptors from 3 on. Its
// owner waits for exited.
func startProcess(binary string, args []string, files []*os.File) (*process, error) {
	//nolint:noctx // the child lives longer than any context: its owner kills it
	p := &process{cmd: exec.Command(binary, args...), exited: make(chan struct{})}
	p.cmd.ExtraFiles = files
	p.cmd.Stdout = &p.output
	p.cmd.Stderr = &p.output
	p.cmd.WaitDelay = time.Second // for a grandchild that holds the output open
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL,
		// In a group of its own, so that Ctrl-C at the daemon's terminal is the
		// daemon's to handle.
		Setpgid: true,
	}
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// run starts the child and waits for its end on one locked thread: the kernel
// sends the parent-death signal when the thread that forked ends, not the process.
func (p *process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	_ = p.cmd.Wait() // the state says more
	close(p.exited)
}

// kill ends the child at once. It does not wait.
func (p *process) kill() { _ = p.cmd.Process.Kill() }

// waitFor waits at most d for the child's end.
func (p *process) waitFor(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-p.exited:
		return true
	case <-t.C:
		return false
	}
}

// The following are valid after exited.

func (p *process) status() string { return p.cmd.ProcessState.String() }
func (p *process) success() bool  { return p.cmd.ProcessState.Success() }

// crashed says whether a signal ended the child.
func (p *process) crashed() bool {
	w, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && w.Signaled()
}
