package lifecycle

import (
	"slices"
	"strconv"
	"strings"
)

// Cmdline builds the kernel command line: base, the manifest's or the user's,
// and behind it what the guest agent has to know. A token of base that sets one
// of our keys gives way to ours, exact repetitions are dropped, and so is
// "quiet": the console log is all there is to see of a boot that fails.
func Cmdline(base string, dockerPort uint32, n GuestNetwork) string {
	var ours []string
	set := func(key, value string) { ours = append(ours, key+"="+value) }
	if dockerPort != 0 {
		set("arcbox.guest_docker_vsock_port", strconv.FormatUint(uint64(dockerPort), 10))
	}
	if n.Address.IsValid() {
		set("arcbox.ip", n.Address.String())
	}
	if n.Gateway.IsValid() {
		set("arcbox.gateway", n.Gateway.String())
	}
	if n.Address6.IsValid() {
		set("arcbox.ip6", n.Address6.String())
	}
	if n.Gateway6.IsValid() {
		set("arcbox.gateway6", n.Gateway6.String())
	}
	if n.MTU > 0 {
		set("arcbox.mtu", strconv.Itoa(n.MTU))
	}
	var out []string
	for _, token := range strings.Fields(base) {
		if token != "quiet" && !slices.Contains(out, token) && !setsOneOf(ours, token) {
			out = append(out, token)
		}
	}
	return strings.Join(append(out, ours...), " ")
}

func setsOneOf(ours []string, token string) bool {
	key, _, _ := strings.Cut(token, "=")
	return slices.ContainsFunc(ours, func(o string) bool { return strings.HasPrefix(o, key+"=") })
}
