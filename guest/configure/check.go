package configure

import (
	"fmt"
	"path"
	"strings"

	"arcbox/domain"
)

// The bounds of what a guest takes, in bytes.
const (
	maxCertificates = 4 << 20
	maxTimeZone     = 64 << 10
)

// zoneMagic begins every file of RFC 8536, section 3.1.
const zoneMagic = "TZif"

// check says what of c cannot be. The host is trusted to tell the truth, and
// may be of another version.
func check(c domain.GuestConfig) error {
	if len(c.Shares) > domain.MaxShares {
		return fmt.Errorf("%d shares: want at most %d: %w", len(c.Shares), domain.MaxShares, domain.ErrInvalid)
	}
	seen := map[string]bool{}
	for _, s := range c.Shares {
		if !path.IsAbs(s.Path) || path.Clean(s.Path) != s.Path {
			return fmt.Errorf("share %.200q: want an absolute, clean path: %w", s.Path, domain.ErrInvalid)
		}
		// The rules of which paths a guest can have; ":rw" ends the path whatever it
		// ends with.
		if _, err := domain.ParseShares([]string{s.Path + ":rw"}, ""); err != nil {
			return fmt.Errorf("share %.200q: %w", s.Path, err)
		}
		if seen[s.Path] {
			return fmt.Errorf("share %.200q is there twice: %w", s.Path, domain.ErrInvalid)
		}
		seen[s.Path] = true
	}
	if err := c.Proxy.Check(); err != nil {
		return err
	}
	switch {
	case len(c.Certificates) > maxCertificates:
		return fmt.Errorf("certificates of %d bytes: want at most %d: %w", len(c.Certificates), maxCertificates, domain.ErrInvalid)
	case len(c.TimeZone) > maxTimeZone:
		return fmt.Errorf("time zone of %d bytes: want at most %d: %w", len(c.TimeZone), maxTimeZone, domain.ErrInvalid)
	case len(c.TimeZone) > 0 && !strings.HasPrefix(string(c.TimeZone), zoneMagic):
		return fmt.Errorf("time zone is not in the format of RFC 8536: %w", domain.ErrInvalid)
	}
	return nil
}
