package localsocket

import "golang.org/x/sys/unix"

// peerUID asks the kernel, see SO_PEERCRED in unix(7).
func peerUID(fd int) (uint32, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, err
	}
	return cred.Uid, nil
}
