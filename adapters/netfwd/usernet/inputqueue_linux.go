package usernet

import "golang.org/x/sys/unix"

// inputQueue asks how many bytes wait in a socket: FIONREAD, by its older name.
const inputQueue = unix.TIOCINQ
