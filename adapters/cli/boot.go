package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"arcbox/domain"
)

func (c *command) boot() *cobra.Command {
	return group("boot", "Look after the files that the virtual machine boots from", `The virtual machine boots from a kernel, a root file system and a set of runtime
binaries. They are pinned by this program and verified before each use.`,
		c.bootPrefetch(), c.bootStatus(), c.bootList(), c.bootClear())
}

// prefetchLine is one line of boot prefetch --format json.
type prefetchLine struct {
	Phase           string  `json:"phase"`
	Name            string  `json:"name,omitempty"`
	Current         int     `json:"current"`
	Total           int     `json:"total"`
	DownloadedBytes int64   `json:"downloaded_bytes"`
	TotalBytes      int64   `json:"total_bytes"`
	Percent         float64 `json:"percent"`
	Error           string  `json:"error,omitempty"`
}

func (c *command) bootPrefetch() *cobra.Command {
	var force bool
	var version string
	cmd := &cobra.Command{
		Use: "prefetch", Short: "Fetch and verify everything now", Args: noArgs,
		Long: `Fetch everything that the virtual machine boots from, and verify it, so that the next
start needs no network. With --format json each step is an object on one line.`,
		Example: "  arcbox boot prefetch\n  arcbox boot prefetch --format json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			o := c.overrides()
			if version != "" {
				o["assets.version"] = version
			}
			if force {
				if err := c.refuseWhileRunning(); err != nil {
					return err
				}
			}
			b, err := c.deps.Boot(o)
			if err != nil {
				return err
			}
			err = b.Prefetch(cmd.Context(), force, c.assetProgress())
			last := prefetchLine{Phase: "complete", Percent: 100}
			if err != nil {
				last = prefetchLine{Phase: "error", Error: err.Error()}
			}
			if lineErr := c.emit(last, func(w io.Writer) {
				if err == nil {
					fmt.Fprintln(w, "complete")
				}
			}); lineErr != nil {
				return lineErr
			}
			return err
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "fetch again what is there")
	cmd.Flags().StringVar(&version, "asset-version", "", "fetch this version instead of the pinned one (assets.version)")
	return cmd
}

// assetProgress shows progress: an item for each step for programs, a line that
// is overwritten on a terminal, one line per finished file elsewhere, and
// nothing when quiet.
func (c *command) assetProgress() func(domain.AssetProgress) {
	return func(p domain.AssetProgress) {
		if c.format != formatTable {
			l := prefetchLine{Phase: string(p.Phase), Name: p.Name, Current: p.Current, Total: p.Total, DownloadedBytes: p.Done, TotalBytes: p.TotalSize}
			if p.TotalSize > 0 {
				l.Percent = float64(p.Done) * 100 / float64(p.TotalSize)
			}
			_ = c.emit(l, nil) // a broken pipe shows at the last line
			return
		}
		finished := p.Phase == domain.AssetReady || p.Phase == domain.AssetCached
		switch {
		case finished && c.deps.Terminal:
			fmt.Fprintf(c.deps.Stderr, "\r\033[K[%d/%d] %s %s\n", p.Current, p.Total, p.Name, p.Phase)
		case finished:
			c.narrate("[%d/%d] %s %s", p.Current, p.Total, p.Name, p.Phase)
		case c.deps.Terminal:
			fmt.Fprintf(c.deps.Stderr, "\r\033[K[%d/%d] %s %s %s of %s", p.Current, p.Total, p.Name, p.Phase, bytesText(p.Done), bytesText(p.TotalSize))
		}
	}
}

func (c *command) bootStatus() *cobra.Command {
	var offline bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show the pinned version and what is cached", Args: noArgs,
		Example: "  arcbox boot status\n  arcbox boot status --offline",
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := c.deps.Boot(c.overrides())
			if err != nil {
				return err
			}
			st, err := b.Status(cmd.Context(), offline)
			if err != nil {
				return err
			}
			return c.print(st, func(w io.Writer) {
				row(w, "version", st.Version)
				row(w, "arch", st.Arch)
				row(w, "cached", st.Cached)
				row(w, "directory", st.CacheDir)
				row(w, "source", st.Source)
				if st.UpdateAvailable {
					row(w, "latest", st.LatestVersion)
				}
			}, st.Version)
		},
	}
	cmd.Flags().BoolVar(&offline, "offline", false, "do not ask the source for its newest version")
	return cmd
}

func (c *command) bootList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the cached versions", Args: noArgs, Example: "  arcbox boot list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := c.deps.Boot(c.overrides())
			if err != nil {
				return err
			}
			versions, err := b.List(cmd.Context())
			if err != nil {
				return err
			}
			if versions == nil {
				versions = []string{}
			}
			return c.print(map[string][]string{"versions": versions}, func(w io.Writer) {
				for _, v := range versions {
					fmt.Fprintln(w, v)
				}
			}, versions...)
		},
	}
}

func (c *command) bootClear() *cobra.Command {
	return &cobra.Command{
		Use: "clear", Short: "Remove the cached files of every version", Args: noArgs,
		Long:    "Remove the cached files of every version. Containers, images and volumes are not touched.",
		Example: "  arcbox boot clear",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.refuseWhileRunning(); err != nil {
				return err
			}
			b, err := c.deps.Boot(c.overrides())
			if err != nil {
				return err
			}
			paths, err := b.Clear(cmd.Context())
			if err != nil {
				return err
			}
			if paths == nil {
				paths = []string{}
			}
			return c.print(map[string]any{"cleared": len(paths) > 0, "paths": paths}, func(w io.Writer) {
				for _, p := range paths {
					fmt.Fprintln(w, p)
				}
			}, paths...)
		},
	}
}

// refuseWhileRunning keeps the files of a running daemon in their place.
func (c *command) refuseWhileRunning() error {
	_, _, running, err := c.probe()
	if err == nil && running {
		err = domain.WithHint(fmt.Errorf("a running daemon boots from these files: %w", domain.ErrInvalidState), "arcbox daemon stop")
	}
	return err
}
