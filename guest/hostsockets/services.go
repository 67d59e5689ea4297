package hostsockets

import (
	"errors"
	"fmt"

	"arcbox/domain"
)

// maxServices is more than a host has.
const maxServices = 64

// SetServices replaces the sockets of services; what leads to the same path
// before and after stays the same file. When it returns, clients can connect to
// all of them. The error is domain.ErrInvalid for a list that makes no sense,
// which then changes nothing; of sockets that cannot be made it names all, and
// the others are there.
func (s *Server) SetServices(list []domain.GuestSocket) error {
	if len(list) > maxServices {
		return fmt.Errorf("%d sockets of services: want at most %d: %w", len(list), maxServices, domain.ErrInvalid)
	}
	wanted := map[string]bool{}
	for _, g := range list {
		err := checkPath(g.Path)
		switch {
		case err != nil:
			return fmt.Errorf("socket of service %q: %w", g.Service, err)
		case g.Service == "" || below(s.cfg.Dir, g.Path) || wanted[g.Path]:
			return fmt.Errorf("socket of service %q: %s is not free for it: %w", g.Service, g.Path, domain.ErrInvalid)
		}
		wanted[g.Path] = true
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	for _, path := range s.paths() {
		if !below(s.cfg.Dir, path) && !wanted[path] {
			s.drop(path)
		}
	}
	var failed []error
	for _, g := range list {
		if err := s.open(g.Path, Target{Service: g.Service}); err != nil {
			failed = append(failed, fmt.Errorf("socket of service %q: %w", g.Service, err))
		}
	}
	return errors.Join(failed...)
}

func (s *Server) paths() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]string, 0, len(s.sockets))
	for path := range s.sockets {
		list = append(list, path)
	}
	return list
}
