// Package qmp is a client of QEMU's machine protocol (QMP): JSON documents, one
// a line, over a connection that the caller made.
//
// A client never hangs on its peer: each command has a deadline by its class,
// the handshake and every write have one too, and when the connection ends,
// everybody who waits is failed with ErrDisconnected. Events are delivered on a
// bounded queue that never holds up replies.
//
// Protocol: QEMU's docs/interop/qmp-spec.
package qmp
