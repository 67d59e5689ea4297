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
}

func newHostResolver(c Config) (*hostResolver, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	i, err := install.New(install.Options{Target: install.Target{Domain: c.Network.Domain, Addr: c.Network.dnsAddr()},
		Program: self, Arguments: c.Network.dnsFlags()})
	return &hostResolver{c, i}, err
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

func (h *hostResolver) Install(ctx context.Context, dry bool) (cli.DNSChange, error) {
	c, err := h.install.Install(ctx, dry)
	return dnsChange(c), err
}

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

func (h *hostResolver) Status(ctx context.Context) (cli.DNSStatus, error) {
	st, err := h.install.Status(ctx)
	out := cli.DNSStatus{Domain: h.config.Network.Domain, Server: h.config.Network.dnsAddr().String(), Answers: st.Answers,
		Method: string(st.Method), Installed: st.Installed, Files: append([]string{}, st.Files...), Resolves: st.Resolves}
	if st.Problem != nil {
		out.Problem, out.Hint = st.Problem.Error(), domain.Hint(st.Problem)
	}
	return out, err
}
