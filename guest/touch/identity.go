//go:build linux

package touch

import (
	"fmt"

	"golang.org/x/sys/unix"

	"arcbox/domain"
)

// keepCapabilities is SECBIT_NO_SETUID_FIXUP of capabilities(7): without it the
// thread would lose those that let it touch what belongs to others.
const keepCapabilities = 1 << 2

// Nobody gives the calling thread the user and the group of domain.TouchUID for
// requests to file systems. Both are a thread's own on Linux; Go's syscall
// package has them for the process only where C libraries have.
func Nobody() error {
	if err := unix.Prctl(unix.PR_SET_SECUREBITS, keepCapabilities, 0, 0, 0); err != nil {
		return fmt.Errorf("keep capabilities: %w", err)
	}
	if err := unix.Setfsgid(int(domain.TouchUID)); err != nil {
		return fmt.Errorf("setfsgid: %w", err)
	}
	if err := unix.Setfsuid(int(domain.TouchUID)); err != nil {
		return fmt.Errorf("setfsuid: %w", err)
	}
	// The calls tell of no failure; asking for an impossible id tells the present one.
	for what, ask := range map[string]func(int) (int, error){"setfsgid": unix.SetfsgidRetGid, "setfsuid": unix.SetfsuidRetUid} {
		if have, _ := ask(-1); uint32(have) != domain.TouchUID {
			return fmt.Errorf("%s: the id is still %d", what, have)
		}
	}
	return nil
}
