package bootstrap

import (
	"context"
	"fmt"
	"os"
	"strings"

	"arcbox/adapters/cli"
	"arcbox/adapters/dns/install"
	"arcbox/domain"
)

// hostResolver shows the installation of names to the command line.
type hostResolver struct {
	config  Config
	install *install.Installer
	off     error // why there is nobody to ask, nil when there is
}

func newHostResolver(c Config) (*hostResolver, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var off error
	network := c.Network
	if network.DNSPort == 0 {
		off = domain.WithHint(fmt.Errorf("the daemon answers no names on this host, network.dns_port is 0: %w", domain.ErrInvalidState),
			"set network.dns_port and start the daemon again")
		network.DNSPort = DefaultConfig().Network.DNSPort // what was installed can still be taken back
	}
	i, err := install.New(install.Options{Target: install.Target{Domain: network.Domain, Addr: network.dnsAddr()},
		Program: self, Arguments: network.dnsFlags()})
	return &hostResolver{c, i, off}, err
}

// dnsFlags are what differs from the defaults: root reads another
// configuration than the user who asks for its help.
func (n NetworkConfig) dnsFlags() string {
	var flags []string
	usual := DefaultConfig().Network
	if n.Domain != usual.Domain {
		flags = append(flags, "--domain", n.Domain)
	}
	if n.DNSPort != usual.DNSPort {
		flags = append(flags, "--port", fmt.Sprint(n.DNSPort))
	}
	return strings.Join(flags, " ")
}

// Install implements cli.DNS.
func (h *hostResolver) Install(ctx context.Context, dry bool) (cli.DNSChange, error) {
	if h.off != nil {
		return cli.DNSChange{}, h.off
	}
	c, err := h.install.Install(ctx, dry)
	return dnsChange(c), err
}

// Uninstall implements cli.DNS.
func (h *hostResolver) Uninstall(ctx context.Context, dry bool) (cli.DNSChange, error) {
	c, err := h.install.Uninstall(ctx, dry)
	return dnsChange(c), err
}

func dnsChange(c install.Change) cli.DNSChange {
	out := cli.DNSChange{Method: string(c.Method), Steps: []cli.DNSStep{}}
	for _, s := range c.Steps {
		out.Steps = append(out.Steps, cli.DNSStep(s))
	}
	return out
}

// Status implements cli.DNS.
func (h *hostResolver) Status(ctx context.Context) (cli.DNSStatus, error) {
	if h.off != nil {
		return cli.DNSStatus{}, h.off
	}
	st, err := h.install.Status(ctx)
	out := cli.DNSStatus{Domain: h.config.Network.Domain, Server: h.config.Network.dnsAddr().String(), Answers: st.Answers,
		Method: string(st.Method), Installed: st.Installed, Files: append([]string{}, st.Files...), Resolves: st.Resolves}
	if st.Problem != nil {
		out.Problem, out.Hint = st.Problem.Error(), domain.Hint(st.Problem)
	}
	return out, err
}
