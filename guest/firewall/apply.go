//go:build linux

package firewall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

const (
	nft   = "/usr/sbin/nft"
	limit = 30 * time.Second // for an emulated processor that is busy booting
)

// Apply hands ruleset to the kernel, all of it or nothing, by a run of nft, for
// which execute starts and waits. It may be called again. The error has what
// nft said.
func Apply(ctx context.Context, execute func(*exec.Cmd) error, ruleset string) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, nft, "-f", "-")
	cmd.Stdin = strings.NewReader(ruleset)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := execute(cmd)
	if ctx.Err() != nil {
		err = errors.Join(ctx.Err(), err)
	}
	if err != nil {
		return fmt.Errorf("load the table %s: %s: %w: %s", Table, nft, err, bytes.TrimSpace(out.Bytes()))
	}
	return nil
}
