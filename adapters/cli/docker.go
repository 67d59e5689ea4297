package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func (c *command) docker() *cobra.Command {
	enable := &cobra.Command{
		Use: "enable", Short: "Make arcbox the current Docker context", Args: noArgs,
		Long:    "Make arcbox the current Docker context, and remember the one that was for arcbox docker disable.",
		Example: "  arcbox docker enable && docker ps",
		RunE: func(*cobra.Command, []string) error {
			d, err := c.deps.Docker(c.overrides())
			if err != nil {
				return err
			}
			if err := d.Enable(); err != nil {
				return err
			}
			return c.dockerStatus(d)
		},
	}
	disable := &cobra.Command{
		Use: "disable", Short: "Give the current Docker context back", Args: noArgs,
		Long:    "Make the context current that was so before arcbox docker enable. It changes nothing when another context is current by now.",
		Example: "  arcbox docker disable",
		RunE: func(*cobra.Command, []string) error {
			d, err := c.deps.Docker(c.overrides())
			if err != nil {
				return err
			}
			before, err := d.Status()
			if err != nil {
				return err
			}
			if err := d.Disable(); err != nil {
				return err
			}
			if !before.Current {
				c.narrate("arcbox was not the current context: nothing changed")
			}
			return c.dockerStatus(d)
		},
	}
	status := &cobra.Command{
		Use: "status", Short: "Show the Docker context", Args: noArgs, Example: "  arcbox docker status",
		RunE: func(*cobra.Command, []string) error {
			d, err := c.deps.Docker(c.overrides())
			if err != nil {
				return err
			}
			return c.dockerStatus(d)
		},
	}
	return group("docker", "Use ArcBox from the docker command line", `Use ArcBox from the docker command line, through the Docker context "arcbox".
Without a context, DOCKER_HOST=unix://<data>/run/docker.sock does the same.`, enable, disable, status)
}

func (c *command) dockerStatus(d DockerContext) error {
	st, err := d.Status()
	if err != nil {
		return err
	}
	state := "absent"
	switch {
	case st.Current:
		state = "current"
	case st.ContextExists:
		state = "there, not current"
	}
	return c.print(st, func(w io.Writer) {
		row(w, "context arcbox", state)
		socket := st.SocketPath
		if !st.SocketExists {
			socket += " (absent: the daemon is not running)"
		}
		row(w, "socket", socket)
		if st.Overridden != "" {
			row(w, "note", fmt.Sprintf("%s is set and wins over the context", st.Overridden))
		}
	}, state)
}
