package hostconfig

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"

	"arcbox/domain"
)

// errAutomaticProxy is about settings that only a browser can follow.
var errAutomaticProxy = errors.New("automatic proxy configuration is not followed: set proxy.http and proxy.https")

// parseScutil reads what macOS's "scutil --proxy" prints. The proxy for https is
// reached by http there, as it is in the settings' own use; a SOCKS proxy stands
// in for what is not set. Passwords are in the keychain and not among this. The
// error is errAutomaticProxy and leaves the rest valid.
func parseScutil(text string) (domain.Proxy, error) {
	values := map[string]string{}
	var exceptions []string
	in := "" // the array that the line is in
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		key, value, ok := strings.Cut(line, " : ")
		switch {
		case line == "}":
			in = ""
		case !ok:
		case strings.HasPrefix(value, "<array>"), strings.HasPrefix(value, "<dictionary>"):
			in = key
		case in == "ExceptionsList":
			if e, ok := exception(value); ok {
				exceptions = append(exceptions, e)
			}
		case in == "":
			values[key] = value
		}
	}
	server := func(kind, scheme string) string {
		host, port := values[kind+"Proxy"], values[kind+"Port"]
		if values[kind+"Enable"] != "1" || host == "" {
			return ""
		}
		if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
			host = "[" + host + "]"
		}
		if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 {
			host += ":" + port
		}
		return scheme + "://" + host
	}
	p := domain.Proxy{HTTP: server("HTTP", "http"), HTTPS: server("HTTPS", "http")}
	socks := server("SOCKS", "socks5")
	p = p.Or(domain.Proxy{HTTP: socks, HTTPS: socks, None: strings.Join(exceptions, ",")})
	if values["ProxyAutoConfigEnable"] == "1" || values["ProxyAutoDiscoveryEnable"] == "1" {
		return p, errAutomaticProxy
	}
	return p, nil
}

// exception translates an entry of the settings: "169.254/16" is a network that
// other tools write in full.
func exception(s string) (string, bool) {
	s = strings.TrimSpace(s)
	if s == "" || strings.ContainsAny(s, ", \t") {
		return "", false
	}
	addr, bits, ok := strings.Cut(s, "/")
	if !ok {
		return s, true
	}
	for i := strings.Count(addr, "."); i < 3 && !strings.Contains(addr, ":"); i++ {
		addr += ".0"
	}
	if p, err := netip.ParsePrefix(addr + "/" + bits); err == nil {
		return p.Masked().String(), true
	}
	return "", false
}
