package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	arcboxv1 "arcbox/api/arcbox/v1"
)

const versionTimeout = 2 * time.Second

// daemonVersion asks a daemon what it is; nil when it does not say.
func daemonVersion(ctx context.Context, client arcboxv1.SystemServiceClient) *arcboxv1.GetVersionResponse {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	v, err := client.GetVersion(ctx, &arcboxv1.GetVersionRequest{})
	if err != nil {
		return nil
	}
	return v
}

// warnOfSkew tells the user that command and daemon are not of one version.
func (c *command) warnOfSkew(ctx context.Context, s Settings) {
	client, done, err := dial(s)
	if err != nil {
		return
	}
	defer done()
	if v := daemonVersion(ctx, client); v != nil {
		if text := skew(c.deps.Build, Build{Version: v.Version, Commit: v.GitCommit}); text != "" {
			c.warn("%s", text)
		}
	}
}

// skew says how a command and a daemon differ; "" when they are of one build,
// or when one of them does not know what it is.
func skew(mine, daemon Build) string {
	const restart = "; arcbox daemon stop and arcbox daemon start make them one"
	if !known(mine.Version) || !known(daemon.Version) {
		return ""
	}
	switch order := compareVersions(mine.Version, daemon.Version); {
	case order < 0:
		return fmt.Sprintf("this command (%s) is older than the daemon (%s): update it, or use the one that started the daemon", mine.Version, daemon.Version)
	case order > 0:
		return fmt.Sprintf("this command (%s) is newer than the daemon (%s)%s", mine.Version, daemon.Version, restart)
	case mine.Version != daemon.Version:
		return fmt.Sprintf("this command (%s) is not of the daemon's version (%s)%s", mine.Version, daemon.Version, restart)
	case known(mine.Commit) && known(daemon.Commit) && mine.Commit != daemon.Commit:
		return fmt.Sprintf("this command (%s) and the daemon (%s) are builds of different commits%s", mine.Commit, daemon.Commit, restart)
	}
	return ""
}

func known(s string) bool { return s != "" && s != "unknown" }

// compareVersions orders versions such as 1.2.3 and 1.2.3-rc.1 as semver does
// for their numbers; a pre-release is before its release, and two pre-releases
// of one are not told apart.
func compareVersions(a, b string) int {
	an, apre, _ := strings.Cut(strings.TrimPrefix(a, "v"), "-")
	bn, bpre, _ := strings.Cut(strings.TrimPrefix(b, "v"), "-")
	as, bs := strings.Split(an, "."), strings.Split(bn, ".")
	for i := range max(len(as), len(bs)) {
		var x, y uint64
		if i < len(as) {
			x, _ = strconv.ParseUint(as[i], 10, 32) // 0 for what is no number
		}
		if i < len(bs) {
			y, _ = strconv.ParseUint(bs[i], 10, 32)
		}
		if x != y {
			if x < y {
				return -1
			}
			return 1
		}
	}
	switch {
	case apre != "" && bpre == "":
		return -1
	case apre == "" && bpre != "":
		return 1
	}
	return 0
}
