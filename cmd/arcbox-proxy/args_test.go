//go:build linux

package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/guest/publish/wire"
)

func TestParse(t *testing.T) {
	want := wire.Request{Protocol: "udp", HostIP: "::", HostPort: "53", ContainerIP: "fd00::2", ContainerPort: "5353"}
	for name, args := range map[string][]string{
		"as dockerd says it": {"-proto", "udp", "-host-ip", "::", "-host-port", "53", "-container-ip", "fd00::2", "-container-port", "5353", "-use-listen-fd"},
		"other spellings":    {"--use-listen-fd=true", "--proto=udp", "-host-ip=::", "--host-port", "53", "-container-ip", "fd00::2", "-container-port=5353"},
		"more of a newer one": {"-mark", "7", "-proto", "udp", "-x=-proto", "word", "-host-ip", "::", "-", "-host-port", "53", "-quiet",
			"-container-ip", "fd00::2", "-container-port", "5353"},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, want, parse(args)) })
	}
	require.Equal(t, wire.Request{}, parse([]string{"-proto"}), "a value that is missing")
}
