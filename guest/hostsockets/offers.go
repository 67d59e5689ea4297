package hostsockets

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"

	"arcbox/domain"
)

const (
	// maxOffers bounds the paths of the host that have a socket.
	maxOffers = 256
	// maxOffersFile is more than that many paths need.
	maxOffersFile = 8 << 20
)

// offers are the paths of the host that have a socket, oldest first, and the
// file that keeps them over boots; "" before there is one.
type offers struct {
	file  string
	paths []string
}

// offersFile is the content of the file.
type offersFile struct {
	HostPaths []string `json:"host_paths"`
}

// Load makes the sockets that were offered in earlier boots, and from then on
// keeps those that are offered in file, whose directory it makes. It is called
// once, before the engine starts: containers that it starts again have the
// sockets mounted. What cannot be had is left out; the error names it.
func (s *Server) Load(file string) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.offers.file = file
	kept, err := readOffers(file)
	failed := []error{err}
	for _, p := range kept {
		err := checkPath(p)
		if err == nil && len(s.offers.paths) == maxOffers {
			err = fmt.Errorf("more than %d paths: %w", maxOffers, domain.ErrInvalid)
		}
		if err == nil && !slices.Contains(s.offers.paths, p) {
			if err = s.open(s.guestPath(p), Target{HostPath: p}); err == nil {
				s.offers.paths = append(s.offers.paths, p)
			}
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("socket of the host %.100q: %w", p, err))
		}
	}
	return errors.Join(failed...)
}

func readOffers(file string) ([]string, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read which sockets of the host were offered: %w", err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxOffersFile))
	if err != nil {
		return nil, fmt.Errorf("read which sockets of the host were offered: %w", err)
	}
	var content offersFile
	if err := json.Unmarshal(data, &content); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", file, err, domain.ErrCorrupt)
	}
	return content.HostPaths, nil
}

// Offer makes a socket that leads to a path of the host, and returns where it
// is in the guest; a path that has one keeps it. It lasts over boots. When there
// are too many, the oldest whose path is gone makes room. The errors are
// domain.ErrInvalid for a path that cannot be one, domain.ErrInvalidState before
// Load, and domain.ErrConflict when there is no room.
func (s *Server) Offer(hostPath string) (guestPath string, err error) {
	if err := checkPath(hostPath); err != nil {
		return "", fmt.Errorf("offer a socket of the host: %w", err)
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	guestPath = s.guestPath(hostPath)
	switch {
	case s.offers.file == "":
		return "", fmt.Errorf("offer the host's socket %s: the data disk is not ready: %w", hostPath, domain.ErrInvalidState)
	case slices.Contains(s.offers.paths, hostPath):
		return guestPath, nil
	}
	next, dropped, err := s.offers.add(hostPath, s.cfg.Exists)
	if err != nil {
		return "", err
	}
	for _, p := range dropped { // their files can be in the way
		s.drop(s.guestPath(p))
	}
	s.offers.paths = slices.Clone(next[:len(next)-1])
	if err := s.open(guestPath, Target{HostPath: hostPath}); err != nil {
		return "", fmt.Errorf("offer the host's socket %s: %w", hostPath, err)
	}
	if err := writeOffers(s.offers.file, next); err != nil {
		s.drop(guestPath)
		return "", fmt.Errorf("keep the offer of the host's socket %s: %w", hostPath, err)
	}
	s.offers.paths = next
	return guestPath, nil
}

// guestPath is the path below the directory of all. One with a colon, which no
// container can bind in the short form of a mount, has another name.
func (s *Server) guestPath(hostPath string) string {
	if !strings.Contains(hostPath, ":") {
		return s.cfg.Dir + hostPath
	}
	sum := sha256.Sum256([]byte(hostPath))
	return s.cfg.Dir + "/" + hex.EncodeToString(sum[:16]) + "/socket"
}

// add returns the paths with another one, and which had to go for it: one that
// is above or below the new one, as no socket is in another, and when there are
// too many, the oldest that is gone.
func (o offers) add(path string, exists func(string) bool) (next, dropped []string, err error) {
	for _, p := range o.paths {
		if below(p, path) || below(path, p) {
			dropped = append(dropped, p)
		} else {
			next = append(next, p)
		}
	}
	if len(next) == maxOffers {
		i := slices.IndexFunc(next, func(p string) bool { return !exists(p) })
		if i < 0 {
			return nil, nil, domain.WithHint(fmt.Errorf("offer the host's socket %s: %d others are offered already: %w", path, maxOffers, domain.ErrConflict),
				"delete those on the host that nobody listens on")
		}
		dropped = append(dropped, next[i])
		next = slices.Delete(next, i, i+1)
	}
	return append(next, path), dropped, nil
}

func writeOffers(file string, paths []string) error {
	data, err := json.MarshalIndent(offersFile{HostPaths: paths}, "", "\t")
	if err != nil {
		return err
	}
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := renameio.WriteFile(file, append(data, '\n'), 0o600, renameio.WithTempDir(dir)); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
