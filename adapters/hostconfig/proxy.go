package hostconfig

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"arcbox/domain"
)

// proxy returns the proxies as the guest has to use them. Each field is the
// configured one, else the environment's; the host's other settings count only
// when the environment names no proxy at all.
func (s *Source) proxy(ctx context.Context) domain.Proxy {
	if s.options.ProxyMode == domain.ProxyNone {
		return domain.Proxy{}
	}
	env := s.usable(ctx, "proxy of the environment", domain.ProxyFromEnv(func(name string) string { return s.env[name] }))
	if !env.Set() {
		settings, err := s.proxySettings(ctx)
		s.note(ctx, "proxy settings", err)
		env = env.Or(s.usable(ctx, "proxy of the settings", settings))
	}
	p := s.options.Proxy.Or(env)
	if !p.Set() {
		return domain.Proxy{}
	}
	gateway := ""
	if s.options.Gateway.IsValid() {
		gateway = s.options.Gateway.String()
	}
	return p.ForGuest(gateway)
}

func (s *Source) proxySettings(ctx context.Context) (domain.Proxy, error) {
	if s.host.proxy != nil {
		return s.host.proxy(ctx)
	}
	if s.host.environment == "" {
		return domain.Proxy{}, nil
	}
	text, err := readRegular(s.host.environment, maxEnvironment)
	if errors.Is(err, fs.ErrNotExist) {
		return domain.Proxy{}, nil
	}
	env := parseEnvironment(string(text))
	return domain.ProxyFromEnv(func(name string) string { return env[name] }), err
}

// usable takes out what cannot be used: the guest does without rather than with
// something that fails every connection.
func (s *Source) usable(ctx context.Context, subject string, p domain.Proxy) domain.Proxy {
	keep := func(name string, value *string, alone domain.Proxy) {
		err := alone.Check()
		if err != nil {
			*value = ""
		}
		s.note(ctx, fmt.Sprintf("%s, %s", subject, name), err)
	}
	keep("http", &p.HTTP, domain.Proxy{HTTP: p.HTTP})
	keep("https", &p.HTTPS, domain.Proxy{HTTPS: p.HTTPS})
	keep("exceptions", &p.None, domain.Proxy{None: p.None})
	return p
}
