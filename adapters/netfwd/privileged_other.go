//go:build !linux

package netfwd

// unprivilegedStart is the first port that needs no privileges here.
func unprivilegedStart() uint16 { return firstFreePort }
