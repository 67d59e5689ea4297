package hostconfig

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"arcbox/domain"
)

// A change of the host is often several of its files: reading waits until they
// are quiet, but not for ever.
const (
	quietFor  = 500 * time.Millisecond
	noLonger  = 5 * time.Second
	allOfADir = "" // among a directory's watched names
)

// Watch calls changed, in its own goroutine and one call at a time, whenever
// GuestConfig would answer something else than at its last call before Watch, or
// at the last call of changed: proxies, certificates or time zone, not the
// shares. It returns nil when ctx has ended, and an error when the host has no
// more watches to give.
func (s *Source) Watch(ctx context.Context, changed func()) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching the host's configuration: %w", err)
	}
	defer func() { _ = w.Close() }()
	places := s.places()
	if err := follow(w, places); err != nil {
		return err
	}
	s.mu.Lock()
	given := s.given
	s.mu.Unlock()
	last := digestOf(s.read(ctx)) // after the watches are there, so that nothing is missed
	if given != nil && *given != last && ctx.Err() == nil {
		changed()
	}
	timer := time.NewTimer(0)
	timer.Stop()
	defer timer.Stop()
	var latest time.Time // when to read at the latest; zero when nothing waits
	wait := func() {
		now := time.Now()
		if latest.IsZero() {
			latest = now.Add(noLonger)
		}
		timer.Reset(min(quietFor, latest.Sub(now)))
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.Events:
			if !ok {
				return fmt.Errorf("watching the host's configuration: %w", fsnotify.ErrClosed)
			}
			// Attributes alone are no change of what is in a file.
			if e.Op != fsnotify.Chmod && places.contains(e.Name) {
				wait()
			}
		case err, ok := <-w.Errors:
			if !ok {
				return fmt.Errorf("watching the host's configuration: %w", fsnotify.ErrClosed)
			}
			s.options.Log.Debug("changes of the host's configuration may have been missed", "error", err)
			wait()
		case <-timer.C:
			latest = time.Time{}
			// Links may lead elsewhere now, and directories may be new.
			places = s.places()
			if err := follow(w, places); err != nil {
				return err
			}
			now := digestOf(s.read(ctx))
			if now != last && ctx.Err() == nil {
				last = now
				changed()
			}
		}
	}
}

// places maps directories, with links resolved where they exist, to the names in
// them that matter. A directory has one key, because its events come under the
// one path with which it was watched first.
type places map[string][]string

func (p places) add(dir, name string) {
	if target, err := filepath.EvalSymlinks(dir); err == nil {
		dir = target
	}
	if !slices.Contains(p[dir], name) {
		p[dir] = append(p[dir], name)
	}
}

// addFile adds a file, and the one that it leads to if it is a link.
func (p places) addFile(path string) {
	p.add(filepath.Dir(path), filepath.Base(path))
	if target, err := filepath.EvalSymlinks(path); err == nil && target != path {
		p.add(filepath.Dir(target), filepath.Base(target))
	}
}

func (p places) contains(path string) bool {
	names, ok := p[filepath.Dir(path)]
	if !ok { // the directory itself
		_, ok = p[path]
		return ok
	}
	return slices.Contains(names, allOfADir) || slices.Contains(names, filepath.Base(path))
}

// places are those of everything that GuestConfig reads, or would read if it
// existed.
func (s *Source) places() places {
	p := places{}
	files := slices.Concat([]string{s.host.environment, s.host.localtime, s.env["SSL_CERT_FILE"]}, s.host.certFiles, s.host.keychains, s.host.signs)
	for _, f := range files {
		if f != "" {
			p.addFile(f)
		}
	}
	dirs := s.host.certDirs
	if d := s.env["SSL_CERT_DIR"]; d != "" {
		dirs = filepath.SplitList(d)
	}
	for _, d := range dirs {
		if d != "" {
			p.add(filepath.Clean(d), allOfADir)
		}
	}
	return p
}

// follow watches the directories that exist.
func follow(w *fsnotify.Watcher, p places) error {
	for dir := range p {
		if err := w.Add(dir); err != nil && !noDirectory(err) {
			err = fmt.Errorf("watching %s for changes of the host's configuration: %w", dir, err)
			return domain.WithHint(err, "let users have more of them: sysctl fs.inotify.max_user_watches fs.inotify.max_user_instances")
		}
	}
	return nil
}

// noDirectory says whether there is nothing to watch, rather than no watch to have.
func noDirectory(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOTDIR)
}

// digest stands for the parts of a configuration that change while a guest runs.
type digest [sha256.Size]byte

func digestOf(c domain.GuestConfig) digest {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(c.Proxy.HTTP), []byte(c.Proxy.HTTPS), []byte(c.Proxy.None), c.Certificates, c.TimeZone} {
		_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part)))) // a hash takes everything
		_, _ = h.Write(part)
	}
	return digest(h.Sum(nil))
}
