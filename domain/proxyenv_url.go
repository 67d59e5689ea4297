package domain

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a proxy's settings, bytes: they end up in the environment of every
// process, where Linux allows 128 KiB for one entry.
const (
	maxProxyURL  = 4 << 10
	maxProxyNone = 64 << 10
)

// proxySchemes are those that Go's net/http connects to.
var proxySchemes = []string{"http", "https", "socks5", "socks5h"}

// hidden stands for what must not be seen.
const hidden = "xxxxx"

// Check refuses what the guest's engine could not use or what could be read as
// more than one setting, with ErrInvalid. The error names the field and never
// its value, which may hold a password.
func (p Proxy) Check() error {
	var errs []error
	for _, f := range []struct{ name, value string }{{"http", p.HTTP}, {"https", p.HTTPS}} {
		if f.value == "" {
			continue
		}
		if _, err := parseProxyURL(f.value); err != nil {
			errs = append(errs, fmt.Errorf("proxy for %s: %w: %w", f.name, err, ErrInvalid))
		}
	}
	switch {
	case len(p.None) > maxProxyNone:
		errs = append(errs, fmt.Errorf("what is reached without a proxy: longer than %d bytes: %w", maxProxyNone, ErrInvalid))
	case !plainText(p.None):
		errs = append(errs, fmt.Errorf("what is reached without a proxy: a control character or no UTF-8: %w", ErrInvalid))
	}
	return errors.Join(errs...)
}

// parseProxyURL takes the forms that Go's net/http takes: a URL, or "host:port"
// with or without user information, which means http. Its errors are free of
// the text: those of net/url quote it, and with it the password.
func parseProxyURL(s string) (*url.URL, error) {
	switch {
	case len(s) > maxProxyURL:
		return nil, fmt.Errorf("longer than %d bytes", maxProxyURL)
	case !plainText(s) || strings.ContainsFunc(s, unicode.IsSpace):
		return nil, errors.New("a space, a control character or no UTF-8")
	}
	u, err := url.Parse(s)
	if !strings.Contains(s, "://") {
		u, err = url.Parse("http://" + s)
	}
	if err != nil || u.Hostname() == "" {
		return nil, errors.New("want a URL such as http://user:password@host:3128, special characters of the password percent-encoded")
	}
	if !slices.Contains(proxySchemes, u.Scheme) {
		return nil, fmt.Errorf("want one of the schemes %s", strings.Join(proxySchemes, ", "))
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, errors.New("want a port from 1 to 65535")
		}
	}
	// A password with a bare "/", "?" or "#" ends the host there: the rest of it
	// would be the path, and the user's name the host.
	if strings.Contains(u.Path+u.RawQuery+u.Fragment, "@") {
		return nil, errors.New(`an "@" after the host: special characters of a password are percent-encoded`)
	}
	return u, nil
}

// plainText says whether s is UTF-8 in one line.
func plainText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// String is for logs and users: of the URLs it has the scheme, host and port
// only. User names are hidden too, since some are tokens.
func (p Proxy) String() string {
	var parts []string
	for _, f := range []struct{ name, value string }{{"http", redactedProxy(p.HTTP)}, {"https", redactedProxy(p.HTTPS)}, {"none", p.None}} {
		if f.value != "" {
			parts = append(parts, f.name+"="+f.value)
		}
	}
	return strings.Join(parts, " ")
}

// GoString hides what String hides.
func (p Proxy) GoString() string { return fmt.Sprintf("domain.Proxy{%s}", p.String()) }

// MarshalText hides what String hides: loggers encode with it, and nothing else does.
func (p Proxy) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

func redactedProxy(s string) string {
	if s == "" {
		return ""
	}
	u, err := parseProxyURL(s)
	if err != nil {
		return "(not a proxy)" // nothing of it is known to be harmless
	}
	shown := url.URL{Scheme: u.Scheme, Host: u.Host}
	if u.User != nil {
		shown.User = url.User(hidden)
	}
	return shown.String()
}
