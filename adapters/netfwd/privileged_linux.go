package netfwd

import (
	"os"
	"strconv"
	"strings"
)

// unprivilegedStart is the first port that needs no privileges here.
func unprivilegedStart() uint16 {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err != nil {
		return firstFreePort
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 16)
	if err != nil {
		return firstFreePort
	}
	return uint16(n)
}
