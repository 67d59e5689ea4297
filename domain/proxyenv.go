package domain

import (
	"slices"
	"strings"
)

// ProxyMode says where the proxies of a guest come from.
type ProxyMode string

// The modes. ProxyAuto takes what is configured and, for what is not, what the
// host uses itself; with ProxyNone the guest has no proxy, whatever is set.
const (
	ProxyAuto ProxyMode = "auto"
	ProxyNone ProxyMode = "none"
)

// ProxyFromEnv reads the variables that command-line tools obey, where lookup
// answers "" for one that is not set. Of the two spellings the upper-case one
// wins, as in Go's net/http, which the guest's engine uses. ALL_PROXY stands in
// for what is not set, unless its scheme is one that the engine cannot use. The
// values are not checked otherwise: see Check.
func ProxyFromEnv(lookup func(name string) string) Proxy {
	get := func(name string) string {
		for _, n := range []string{name, strings.ToLower(name)} {
			if v := strings.TrimSpace(lookup(n)); v != "" {
				return v
			}
		}
		return ""
	}
	p := Proxy{HTTP: get("HTTP_PROXY"), HTTPS: get("HTTPS_PROXY"), None: get("NO_PROXY")}
	if all := get("ALL_PROXY"); all != "" {
		if _, err := parseProxyURL(all); err == nil {
			p.HTTP, p.HTTPS = orElse(p.HTTP, all), orElse(p.HTTPS, all)
		}
	}
	return p
}

// ProxyEnv returns p as sorted "NAME=value" entries in both spellings, since
// tools disagree on which they read. What is not set has no entry. The entries
// hold the proxies' passwords.
func ProxyEnv(p Proxy) []string {
	var env []string
	for name, value := range map[string]string{"HTTP_PROXY": p.HTTP, "HTTPS_PROXY": p.HTTPS, "NO_PROXY": p.None} {
		if value != "" {
			env = append(env, name+"="+value, strings.ToLower(name)+"="+value)
		}
	}
	slices.Sort(env)
	return env
}

// Or returns p with what it does not set taken from q.
func (p Proxy) Or(q Proxy) Proxy {
	return Proxy{HTTP: orElse(p.HTTP, q.HTTP), HTTPS: orElse(p.HTTPS, q.HTTPS), None: orElse(p.None, q.None)}
}

// Set says whether p names a proxy: exceptions alone do not.
func (p Proxy) Set() bool { return p.HTTP != "" || p.HTTPS != "" }

func orElse(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
