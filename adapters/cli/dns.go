package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"arcbox/domain"
)

func (c *command) dns() *cobra.Command {
	var (
		dry   bool
		under string
		port  int
	)
	open := func(cmd *cobra.Command) (DNS, error) {
		o := c.overrides()
		if cmd.Flags().Changed("domain") {
			if _, err := domain.ParseDomain(under); err != nil {
				return nil, usageError{fmt.Errorf("--domain: %w", err)}
			}
			o["network.domain"] = under
		}
		if cmd.Flags().Changed("port") {
			if port < 1 || port > 65535 {
				return nil, usageError{fmt.Errorf("--port %d: want 1 to 65535", port)}
			}
			o["network.dns_port"] = port
		}
		return c.deps.DNS(o)
	}
	change := func(use, short, long, nothing string, do func(DNS, context.Context, bool) (DNSChange, error)) *cobra.Command {
		cmd := &cobra.Command{
			Use: use, Short: short, Long: long, Args: noArgs,
			Example: "  sudo arcbox dns " + use + "\n  arcbox dns " + use + " --dry-run",
			RunE: func(cmd *cobra.Command, _ []string) error {
				d, err := open(cmd)
				if err != nil {
					return err
				}
				done, err := do(d, cmd.Context(), dry)
				if err != nil {
					return err
				}
				return c.dnsChange(done, dry, nothing)
			},
		}
		cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would be done")
		return cmd
	}
	install := change("install", "Make the host's resolver know the names of containers",
		`Make the host's resolver ask the daemon for names under the domain: systemd-resolved,
the dnsmasq of NetworkManager, or /etc/resolver on macOS. It changes nothing else, and
needs root (not for --dry-run). Installed again, it changes nothing.`,
		"installed already", DNS.Install)
	uninstall := change("uninstall", "Take back what arcbox dns install did",
		"Remove the files that arcbox dns install made, and no others.", "nothing is installed", DNS.Uninstall)
	status := &cobra.Command{
		Use: "status", Short: "Show whether the host knows the names of containers", Args: noArgs, Example: "  arcbox dns status",
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := open(cmd)
			if err != nil {
				return err
			}
			st, err := d.Status(cmd.Context())
			if err != nil {
				return err
			}
			resolves := "no"
			if st.Resolves {
				resolves = "yes"
			}
			return c.print(st, func(w io.Writer) { dnsStatus(w, st) }, resolves)
		},
	}
	g := group("dns", "Know containers by their names on the host", `Know containers by their names on the host: NAME.arcbox.local and SERVICE.PROJECT.arcbox.local.
The daemon answers on a port of the host's loopback; arcbox dns install makes the host's own resolver ask there.`,
		install, uninstall, status)
	g.PersistentFlags().StringVar(&under, "domain", "", "what the names are under (default: as configured, network.domain)")
	g.PersistentFlags().IntVar(&port, "port", 0, "where the daemon answers (default: as configured, network.dns_port)")
	return g
}

// dnsOutput is the JSON of a change.
type dnsOutput struct {
	DryRun bool `json:"dry_run"`
	DNSChange
}

// dnsChange shows what was done, in the past or in the conditional.
func (c *command) dnsChange(done DNSChange, dry bool, nothing string) error {
	if done.Steps == nil {
		done.Steps = []DNSStep{}
	}
	return c.print(dnsOutput{dry, done}, func(w io.Writer) {
		if len(done.Steps) == 0 {
			fmt.Fprintln(w, nothing)
			return
		}
		write, remove, run := "wrote", "removed", "ran"
		if dry {
			write, remove, run = "would write", "would remove", "would run"
		}
		for _, s := range done.Steps {
			switch {
			case s.Write != "":
				fmt.Fprintf(w, "%s %s:\n", write, s.Write)
				for line := range strings.Lines(s.Content) {
					fmt.Fprintf(w, "    %s\n", strings.TrimRight(line, "\n"))
				}
			case s.Remove != "":
				fmt.Fprintf(w, "%s %s\n", remove, s.Remove)
			default:
				fmt.Fprintf(w, "%s %s\n", run, strings.Join(s.Command, " "))
			}
		}
	})
}

func dnsStatus(w io.Writer, st DNSStatus) {
	yes := func(b bool, yes, no string) string {
		if b {
			return yes
		}
		return no
	}
	row(w, "domain", st.Domain)
	row(w, "server", st.Server+" "+yes(st.Answers, "(answers)", "(does not answer: arcbox daemon start, or see its log)"))
	row(w, "installed", yes(st.Installed, "yes, "+st.Method, "no"))
	for _, f := range st.Files {
		row(w, "file", f)
	}
	row(w, "resolves", yes(st.Resolves, "yes", "no"))
	switch {
	case st.Problem != "":
		row(w, "note", st.Problem)
		if st.Hint != "" {
			row(w, "", st.Hint)
		}
	case !st.Installed && len(st.Files) > 0:
		row(w, "note", "another domain or port is installed; arcbox dns install replaces it")
	case !st.Installed:
		row(w, "note", "arcbox dns install makes the host's resolver ask the server ("+st.Method+")")
	}
}
