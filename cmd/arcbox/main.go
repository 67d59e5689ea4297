// Command arcbox is ArcBox: the command line and, as arcbox daemon start
// --foreground, the daemon.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"arcbox/adapters/cli"
	"arcbox/bootstrap"
)

// Set by the linker.
var version, commit, buildTime, assetVersion, assetManifest, assetSource string

func main() {
	b := bootstrap.Build{Version: orUnknown(version), Commit: orUnknown(commit), Time: buildTime,
		AssetVersion: assetVersion, AssetManifest: assetManifest, AssetSource: assetSource}
	deps := bootstrap.CommandLine(b, os.Environ())
	deps.Stdout, deps.Stderr = os.Stdout, os.Stderr
	deps.Terminal = term.IsTerminal(int(os.Stderr.Fd()))
	deps.Stdin, deps.Asks = os.Stdin, deps.Terminal && term.IsTerminal(int(os.Stdin.Fd()))
	deps.Color = deps.Terminal && colors(os.Getenv)
	os.Exit(run(deps, os.Args[1:]))
}

// colors says whether a terminal shows them: no-color.org, and terminals that
// say that they cannot.
func colors(getenv func(string) string) bool {
	return getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
}

func run(deps cli.Deps, args []string) int {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	return cli.Execute(ctx, deps, args)
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
