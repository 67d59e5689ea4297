//go:build !linux

package usernet

import (
	"net"
	"testing"
)

func plugCard(t testing.TB, hypervisor, frames *net.UnixConn) {
	hypervisor.Close()
	frames.Close()
	t.Skip("network cards over vhost-user are of Linux")
}

func waitDriver(testing.TB, *Network) {}
