package publish

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"arcbox/domain"
	"arcbox/guest/publish/wire"
)

// parseBind reads a proxy's request. The errors' texts are for the user of
// `docker run`.
func parseBind(message string) (domain.ForwardRule, error) {
	f := strings.Split(message, " ")
	if len(f) != wire.Fields || f[0] != wire.Bind {
		return domain.ForwardRule{}, fmt.Errorf("the request of arcbox-proxy is not one: %.100q", message)
	}
	p := domain.Protocol(f[1])
	switch p {
	case domain.TCP, domain.UDP:
	default:
		return domain.ForwardRule{}, fmt.Errorf("ports of protocol %.20q cannot be published, only tcp and udp", f[1])
	}
	host, err := parseEndpoint("host", f[2], f[3])
	if err != nil {
		return domain.ForwardRule{}, err
	}
	target, err := parseEndpoint("container", f[4], f[5])
	if err != nil {
		return domain.ForwardRule{}, err
	}
	if target.Addr().IsUnspecified() {
		return domain.ForwardRule{}, fmt.Errorf("%s is no container's address", target.Addr())
	}
	return domain.ForwardRule{Protocol: p, Host: host, Target: target}, nil
}

func parseEndpoint(whose, ip, port string) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(ip)
	if err != nil || a.Zone() != "" {
		return netip.AddrPort{}, fmt.Errorf("%s address %.60q is no IP address", whose, ip)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return netip.AddrPort{}, fmt.Errorf("%s port %.20q is not a number from 1 to 65535", whose, port)
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), nil
}

// maxText bounds what the user is shown of an error, bytes.
const maxText = wire.MaxAnswer - len(wire.Refused)

// misread are phrases that the docker client takes for a failure to start the
// container's program, with its own exit codes (docker/cli,
// cli/command/container/run.go), and what is said in their place.
func misread() *strings.Replacer {
	return strings.NewReplacer(
		"permission denied", "not permitted",
		"is a directory", "is a folder",
		"no such file or directory", "file not found",
		"executable file not found", "program not found",
	)
}

// forUser is a refusal as the docker client can show it: one line, bounded, and
// never empty.
func forUser(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	text = strings.TrimSpace(misread().Replace(text))
	if text == "" {
		return "the ArcBox daemon refused and did not say why"
	}
	if len(text) > maxText {
		text = text[:maxText]
		for !utf8.ValidString(text) {
			text = text[:len(text)-1]
		}
	}
	return text
}
