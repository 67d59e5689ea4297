package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	arcboxv1 "arcbox/api/arcbox/v1"
	"arcbox/domain"
)

func (c *command) system() *cobra.Command {
	return group("system", "Look after the space that ArcBox takes", "Look after the space that ArcBox takes. What takes it inside the virtual machine is shown by docker system df.",
		c.systemPrune())
}

// errDeclined is the user's answer.
var errDeclined = errors.New("nothing was removed")

func (c *command) systemPrune() *cobra.Command {
	var all, volumes, force bool
	cmd := &cobra.Command{
		Use: "prune", Short: "Remove what is not used and give the space back to the host", Args: noArgs,
		Long: `Remove stopped containers, networks that no container uses, images without a name
and the build cache, as docker system prune does, and the files that earlier
versions of ArcBox booted from. Then the space is given back to the host. The
virtual machine is started for that when it is down.`,
		Example: "  arcbox system prune\n  arcbox system prune --all --volumes --force",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, _, running, err := c.probe()
			if err != nil {
				return err
			}
			if !running {
				return domain.WithHint(errNotRunning, "arcbox daemon start")
			}
			c.warnOfSkew(cmd.Context(), s)
			if !force {
				if err := c.confirm(pruneWarning(all, volumes)); err != nil {
					return err
				}
			}
			client, done, err := dial(s)
			if err != nil {
				return err
			}
			defer done()
			// The daemon bounds it; an interrupt here ends it there.
			r, err := client.Prune(cmd.Context(), &arcboxv1.PruneRequest{All: all, Volumes: volumes})
			if err != nil {
				return err
			}
			return c.print(toPruned(r), func(w io.Writer) { prunedTable(w, r) }, prunedNames(r)...)
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "remove every image that no container uses, and all of the build cache")
	cmd.Flags().BoolVar(&volumes, "volumes", false, "remove anonymous volumes that no container uses")
	cmd.Flags().BoolVarP(&force, "force", "f", false, "do not ask")
	return cmd
}

func pruneWarning(all, volumes bool) string {
	what := []string{"all stopped containers", "all networks that no container uses"}
	if volumes {
		what = append(what, "all anonymous volumes that no container uses")
	}
	if all {
		what = append(what, "all images that no container uses", "all of the build cache")
	} else {
		what = append(what, "all images without a name", "the build cache that no image uses")
	}
	what = append(what, "the boot files of earlier versions of ArcBox")
	return "This removes:\n  - " + strings.Join(what, "\n  - ")
}

// confirm asks the user; where there is none to ask, it refuses.
func (c *command) confirm(warning string) error {
	if !c.deps.Asks || c.deps.Stdin == nil {
		return usageError{errors.New("there is no terminal to ask on: --force removes without a question")}
	}
	c.narrate("%s", warning)
	fmt.Fprint(c.deps.Stderr, "Go on? [y/N] ")
	answer, err := bufio.NewReader(io.LimitReader(c.deps.Stdin, 1<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errDeclined
}

// pruned is the JSON of arcbox system prune.
type pruned struct {
	Containers     []string `json:"containers"`
	Networks       []string `json:"networks"`
	Volumes        []string `json:"volumes"`
	Images         []string `json:"images"`
	BuildCache     []string `json:"build_cache"`
	BootFiles      []string `json:"boot_files"`
	ReclaimedBytes uint64   `json:"reclaimed_bytes"`
	HostBytes      uint64   `json:"host_bytes"`
}

func toPruned(r *arcboxv1.PruneResponse) pruned {
	list := func(l []string) []string { return append([]string{}, l...) }
	return pruned{Containers: list(r.Containers), Networks: list(r.Networks), Volumes: list(r.Volumes), Images: list(r.Images),
		BuildCache: list(r.BuildCache), BootFiles: list(r.BootFiles), ReclaimedBytes: r.ReclaimedBytes, HostBytes: r.HostBytes}
}

func prunedNames(r *arcboxv1.PruneResponse) []string {
	return slices.Concat(r.Containers, r.Networks, r.Volumes, r.Images, r.BuildCache, r.BootFiles)
}

func prunedTable(w io.Writer, r *arcboxv1.PruneResponse) {
	for _, kind := range []struct {
		name string
		gone []string
	}{
		{"container", r.Containers}, {"network", r.Networks}, {"volume", r.Volumes}, {"image", r.Images},
		{"build cache", r.BuildCache}, {"boot file", r.BootFiles},
	} {
		for _, g := range kind.gone {
			row(w, kind.name, g)
		}
	}
	row(w, "reclaimed", bytesText(int64(r.ReclaimedBytes)))
	row(w, "given back to the host", bytesText(int64(r.HostBytes)))
}
