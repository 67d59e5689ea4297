package kvm

import (
	"context"
	"fmt"
	"strings"
	"time"

	"arcbox/domain"
)

// speaks says whether the guest of a plan is told to write to its console, so
// that silence means something.
func speaks(p domain.VMPlan) bool {
	return p.ConsoleLog != "" && strings.Contains(p.Cmdline, "console=")
}

// kvmMessages begin what QEMU says when KVM fails it (accel/kvm/kvm-all.c,
// accel/accel-softmmu.c). The word alone does not do: it may be in a path.
var kvmMessages = [...]string{
	"Could not access KVM kernel module",
	"failed to initialize kvm",
	"kvm_init_vcpu",
	"KVM internal error",
	"error: kvm run failed",
}

func mentionsKVM(text string) bool {
	for _, m := range kvmMessages {
		if strings.Contains(text, m) {
			return true
		}
	}
	return false
}

// awaitLife waits for the first byte on a machine's console. An empty reason
// means that it came. Otherwise the machine is down when awaitLife returns, and
// the reason says why KVM is to blame; err is set when ctx ended first.
func (h *Hypervisor) awaitLife(ctx context.Context, m *machine) (reason string, err error) {
	limit := time.NewTimer(h.options.FirstByteTimeout)
	defer limit.Stop()
	select {
	case <-m.console.spoke:
		return "", nil
	case <-m.done:
		// Its last words may have come together with its end.
		select {
		case <-m.console.spoke:
			return "", nil
		default:
		}
		if m.err == nil {
			return "", nil // a guest that powers off without a word did run
		}
		return "the guest ended before its first sign of life: " + m.err.Error(), nil
	case <-limit.C:
		reason = fmt.Sprintf("the guest showed no sign of life within %s", h.options.FirstByteTimeout)
	case <-ctx.Done():
		err = fmt.Errorf("waiting for the guest's first sign of life: %w", contextError(ctx))
	}
	// Kill ends by itself, within Options.QuitTimeout and SIGKILL.
	_ = m.Kill(context.WithoutCancel(ctx))
	return reason, err
}
