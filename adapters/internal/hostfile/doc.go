// Package hostfile holds what every adapter that keeps files on the host needs:
// to make them last, to read them for as long as somebody waits, to know them
// again, and to say why a disk refused.
//
// A file's content is replaced in one step by renameio, which the adapters call
// themselves.
package hostfile
