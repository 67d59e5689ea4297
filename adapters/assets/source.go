// Package assets fetches asset sets over HTTPS, from a directory or from a
// bundle file, and keeps their verified files on disk.
package assets

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"arcbox/application/port"
	"arcbox/domain"
)

// SourceOptions are the ways in which sources differ; the zero value is good.
type SourceOptions struct {
	// Version replaces "{version}" in the source's address; a "+" in it is
	// written "-", as asset servers do.
	Version string
	// UserAgent is sent to servers, default "arcbox-asset/1".
	UserAgent string
	// Client talks to servers; nil for one with sensible timeouts. Whatever its
	// own policy, redirects from https to anything else are refused.
	Client *http.Client
	// RetryDelay is the first pause before a failed request is repeated; later
	// ones grow. Default 500 ms.
	RetryDelay time.Duration
	// StallTimeout ends a transfer in which nothing arrives. Default 30 s.
	StallTimeout time.Duration
	// TempDir receives the content of a compressed bundle while it is in use.
	TempDir string
	Log     *slog.Logger
}

const versionMark = "{version}"

// NewSource returns the source that an address names: https://... (http only
// for this computer itself), file://... or a plain path of a directory, or of
// a bundle that ends in .tar, .tar.zst or .tzst. The address is the manifest's
// directory. Neither disk nor network is touched, but for looking whether a
// path is a directory. It returns ErrInvalid for anything else.
func NewSource(address string, opts SourceOptions) (port.AssetSource, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if strings.Contains(address, versionMark) {
		if opts.Version == "" {
			return nil, fmt.Errorf("asset source %q needs an asset version: %w", address, domain.ErrInvalid)
		}
		address = strings.ReplaceAll(address, versionMark, strings.ReplaceAll(opts.Version, "+", "-"))
	}
	if filepath.IsAbs(address) {
		return newFileSource(address, opts)
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme == "" {
		return nil, badAddress(address)
	}
	switch u.Scheme {
	case "https":
		return newHTTPSource(u, opts)
	case "http":
		if !loopback(u.Hostname()) {
			return nil, fmt.Errorf("asset source %s: plain http is only for this computer itself, use https: %w", u.Redacted(), domain.ErrInvalid)
		}
		return newHTTPSource(u, opts)
	case "file":
		if u.Host != "" && u.Host != "localhost" || !filepath.IsAbs(u.Path) {
			return nil, fmt.Errorf("asset source %q must be file:// and an absolute path: %w", address, domain.ErrInvalid)
		}
		return newFileSource(filepath.FromSlash(u.Path), opts)
	}
	return nil, badAddress(u.Redacted())
}

func badAddress(address string) error {
	return fmt.Errorf("asset source %q must be https://..., file://... or the absolute path of a directory or of a .tar or .tar.zst bundle: %w",
		address, domain.ErrInvalid)
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func newFileSource(path string, opts SourceOptions) (port.AssetSource, error) {
	path = strings.TrimSuffix(path, "/"+domain.ManifestFile)
	// A directory may well be called assets.tar; what it is decides.
	fi, err := os.Stat(path)
	switch {
	case err == nil && fi.IsDir():
		return &dirSource{root: path}, nil
	case strings.HasSuffix(path, ".tar"):
		return &bundleSource{path: path}, nil
	case strings.HasSuffix(path, ".tar.zst"), strings.HasSuffix(path, ".tzst"):
		return &bundleSource{path: path, compressed: true, tempDir: opts.TempDir}, nil
	case err == nil:
		return nil, badAddress(path)
	}
	return &dirSource{root: path}, nil // it may appear before it is used
}
