// Package cmdline reads the arcbox.* keys of the kernel command line, which is
// how the host configures a guest before it can talk to it.
package cmdline

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"arcbox/domain"
)

// The values that hold when the command line does not name a key.
const (
	DefaultDataDevice = "/dev/vdb"
	DefaultHostname   = "arcbox"
	DefaultMTU        = 1500
)

// The limits of arcbox.mtu: IPv6 needs 1280, and virtio-net has 65535.
const (
	minMTU = 1280
	maxMTU = 65535
)

// Config is what the host wants of the guest.
type Config struct {
	IP, IP6           netip.Prefix // arcbox.ip, arcbox.ip6; invalid when not given
	Gateway, Gateway6 netip.Addr   // arcbox.gateway, arcbox.gateway6; invalid when not given
	DNS               []netip.Addr // arcbox.dns, separated by commas; the gateway when not given
	MTU               int          // arcbox.mtu, bytes
	Hostname          string       // arcbox.hostname
	DockerPort        uint32       // arcbox.guest_docker_vsock_port
	DataDevice        string       // arcbox.docker_data_device
	UnknownKeys       []string     // arcbox.* keys that this agent does not know
}

var hostname = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Parse reads a kernel command line. The Config is usable even when err is not
// nil: a key with a bad value keeps its default, and err names each of them.
// A key that is given twice has its last value.
func Parse(line string) (Config, error) {
	c := Config{
		MTU:        DefaultMTU,
		Hostname:   DefaultHostname,
		DockerPort: domain.PortDocker,
		DataDevice: DefaultDataDevice,
	}
	var problems []error
	for _, field := range strings.Fields(line) {
		if field == "--" {
			break // what follows is for init, not for the kernel or us
		}
		key, value, _ := strings.Cut(field, "=")
		if !strings.HasPrefix(key, "arcbox.") {
			continue
		}
		known, err := c.set(key, value)
		if err != nil {
			problems = append(problems, fmt.Errorf("kernel command line: %s=%.100q: %w", key, value, err))
		}
		if !known {
			c.UnknownKeys = append(c.UnknownKeys, key)
		}
	}
	problems = append(problems, c.checkGateways()...)
	if len(c.DNS) == 0 {
		for _, a := range []netip.Addr{c.Gateway, c.Gateway6} {
			if a.IsValid() {
				c.DNS = append(c.DNS, a)
			}
		}
	}
	return c, errors.Join(problems...)
}

func (c *Config) set(key, value string) (known bool, err error) {
	switch key {
	case "arcbox.ip":
		return true, setPrefix(&c.IP, value, netip.Addr.Is4)
	case "arcbox.ip6":
		return true, setPrefix(&c.IP6, value, netip.Addr.Is6)
	case "arcbox.gateway":
		return true, setAddr(&c.Gateway, value, netip.Addr.Is4)
	case "arcbox.gateway6":
		return true, setAddr(&c.Gateway6, value, netip.Addr.Is6)
	case "arcbox.dns":
		return true, c.setDNS(value)
	case "arcbox.mtu":
		n, err := strconv.Atoi(value)
		if err != nil || n < minMTU || n > maxMTU {
			return true, fmt.Errorf("want a number from %d to %d", minMTU, maxMTU)
		}
		c.MTU = n
	case "arcbox.hostname":
		if !hostname.MatchString(value) {
			return true, errors.New("want a host name of lower-case letters, digits and hyphens")
		}
		c.Hostname = value
	case "arcbox.guest_docker_vsock_port":
		n, err := strconv.ParseUint(value, 10, 32)
		if err != nil || n == 0 || n == 1<<32-1 {
			return true, errors.New("want a vsock port")
		}
		if p := uint32(n); p == domain.PortAgent || p == domain.PortStream || p == domain.PortKubernetes {
			return true, fmt.Errorf("vsock port %d has another use", n)
		}
		c.DockerPort = uint32(n)
	case "arcbox.debug_console":
		// For the init program of the root file system.
	case "arcbox.docker_data_device":
		name, ok := strings.CutPrefix(value, "/dev/")
		if !ok || name == "" || strings.ContainsAny(name, "./") {
			return true, errors.New("want a device directly in /dev")
		}
		c.DataDevice = value
	default:
		return false, nil
	}
	return true, nil
}

func setPrefix(to *netip.Prefix, value string, family func(netip.Addr) bool) error {
	p, err := netip.ParsePrefix(value)
	if err != nil || !family(p.Addr()) || !p.Addr().IsGlobalUnicast() || p.Bits() == 0 {
		return errors.New("want address/bits of the key's address family")
	}
	*to = p
	return nil
}

func setAddr(to *netip.Addr, value string, family func(netip.Addr) bool) error {
	a, err := netip.ParseAddr(value)
	if err != nil || !family(a) || a.Zone() != "" || !a.IsGlobalUnicast() {
		return errors.New("want an address of the key's address family")
	}
	*to = a
	return nil
}

func (c *Config) setDNS(value string) error {
	var out []netip.Addr
	for _, s := range strings.Split(value, ",") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return errors.New("want addresses separated by commas")
		}
		out = append(out, a)
	}
	if len(out) > 3 {
		return errors.New("want at most three addresses") // the limit of resolv.conf
	}
	c.DNS = out
	return nil
}

// checkGateways drops gateways that the kernel would refuse as unreachable.
func (c *Config) checkGateways() []error {
	var problems []error
	for _, g := range []struct {
		key    string
		prefix netip.Prefix
		addr   *netip.Addr
	}{{"arcbox.gateway", c.IP, &c.Gateway}, {"arcbox.gateway6", c.IP6, &c.Gateway6}} {
		if g.addr.IsValid() && !(g.prefix.IsValid() && g.prefix.Masked().Contains(*g.addr)) {
			problems = append(problems, fmt.Errorf("kernel command line: %s=%s is not in the network of the guest's own address", g.key, *g.addr))
			*g.addr = netip.Addr{}
		}
	}
	return problems
}
