package hostconfig

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"arcbox/domain"
)

// Deadlines of macOS's own tools.
const (
	scutilTimeout   = 2 * time.Second
	securityTimeout = 5 * time.Second
)

// thisHost is a Mac. The authorities that come with it are not read: the guest
// has its own list of these.
func thisHost() host {
	keychains := []string{"/Library/Keychains/System.keychain"}
	if home, err := os.UserHomeDir(); err == nil {
		keychains = append(keychains, filepath.Join(home, "Library", "Keychains", "login.keychain-db"))
	}
	return host{
		localtime: "/etc/localtime",
		zoneinfo:  []string{"/var/db/timezone/zoneinfo", "/usr/share/zoneinfo"},
		keychains: keychains,
		// The system rewrites the latter whenever another network becomes the
		// primary one, which may have other proxies.
		signs:        []string{"/Library/Preferences/SystemConfiguration/preferences.plist", "/var/run/resolv.conf"},
		readKeychain: readKeychain,
		proxy: func(ctx context.Context) (domain.Proxy, error) {
			out, err := run(ctx, scutilTimeout, "/usr/sbin/scutil", "--proxy")
			if err != nil {
				return domain.Proxy{}, err
			}
			return parseScutil(string(out))
		},
	}
}

// readKeychain returns the authorities of a keychain that the Mac trusts:
// keychains also hold ones that it was never told to trust.
func readKeychain(ctx context.Context, path string) ([]byte, error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	rest, err := run(ctx, securityTimeout, "/usr/bin/security", "find-certificate", "-a", "-p", path)
	if err != nil {
		return nil, err
	}
	var trusted []byte
	for ctx.Err() == nil {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return trusted, nil
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil || !c.IsCA {
			continue
		}
		// Without roots of our own the system's trust decides.
		if _, err := c.Verify(x509.VerifyOptions{KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err == nil {
			trusted = append(trusted, pem.EncodeToMemory(block)...)
		}
	}
	return nil, ctx.Err()
}

// run returns what a tool prints, within a deadline and maxCertificateFile bytes.
func run(ctx context.Context, timeout time.Duration, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = time.Second
	var out, problem bounded
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w after %v: %w", domain.ErrTimeout, timeout, ctx.Err())
		}
		return nil, fmt.Errorf("%s %s: %w: %s", filepath.Base(name), args[0], err, bytes.TrimSpace(problem.Bytes()[:min(problem.Len(), 512)]))
	}
	return out.Bytes(), nil
}

// bounded keeps the beginning of what is written.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), maxCertificateFile-b.Len())])
	return len(p), nil
}
