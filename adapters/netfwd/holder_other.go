//go:build !linux

package netfwd

import (
	"context"
	"net/netip"

	"arcbox/domain"
)

// findHolder says who has host in words, or "" when that cannot be known: this
// system tells it to the administrator only.
func findHolder(context.Context, domain.Protocol, netip.AddrPort) string { return "" }
