package hostconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"
)

// maxTimeZone bounds a time zone, bytes: the largest that are published have four
// thousand.
const maxTimeZone = 64 << 10

// timeZone returns the host's local time as a file of RFC 8536, or nothing for
// UTC. As in libc the variable TZ wins over the host's setting: a name, a path, or
// either after a colon; empty is UTC. Where it is none of these, such as a rule
// of POSIX, the host's setting counts and the error says so.
func (s *Source) timeZone() ([]byte, error) {
	tz, set := s.env["TZ"]
	if !set {
		return s.localTime()
	}
	name := strings.TrimPrefix(tz, ":")
	if name == "" || name == "UTC" {
		return nil, nil
	}
	zone, err := s.namedZone(name)
	if err == nil {
		return zone, nil
	}
	local, lerr := s.localTime()
	return local, errors.Join(fmt.Errorf("time zone %q of the environment: %w", tz, err), lerr)
}

// localTime reads the host's setting. A host without one is in UTC.
func (s *Source) localTime() ([]byte, error) {
	zone, err := readZone(s.host.localtime)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return zone, err
}

func (s *Source) namedZone(name string) ([]byte, error) {
	if filepath.IsAbs(name) {
		return readZone(name)
	}
	if !fs.ValidPath(name) || strings.ContainsFunc(name, notInZoneName) {
		return nil, errors.New("no name of a time zone")
	}
	var last error = fs.ErrNotExist
	for _, dir := range s.host.zoneinfo {
		zone, err := readZone(filepath.Join(dir, filepath.FromSlash(name)))
		if err == nil {
			return zone, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			last = err
		}
	}
	return nil, last
}

func notInZoneName(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("/_+-", r))
}

func readZone(path string) ([]byte, error) {
	zone, err := readRegular(path, maxTimeZone)
	if err != nil {
		return nil, err
	}
	if _, err := time.LoadLocationFromTZData("", zone); err != nil {
		return nil, fmt.Errorf("%s holds no time zone: %w", path, err)
	}
	return zone, nil
}
