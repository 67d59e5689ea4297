package hostconfig

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Bounds of what is read for certificates.
const (
	maxCertificateFile  = 4 << 20 // bytes of one file
	maxCertificateInput = 32 << 20
	maxCertificateFiles = 4096
)

// certificateCache holds the last bundle for as long as nothing that it was made
// of changes.
type certificateCache struct {
	mu     sync.Mutex // held while reading, so that it happens once
	known  bool
	stamps []fileStamp
	bundle []byte
	err    error
}

// fileStamp tells two states of a file apart.
type fileStamp struct {
	path     string
	modified time.Time
	size     int64
}

// certificates returns the host's certificate authorities in PEM, and why there
// may be more than these.
func (s *Source) certificates(ctx context.Context) ([]byte, error) {
	files, problem := s.certificateFiles()
	stamps := stampsOf(slices.Concat(files, s.host.keychains))
	c := &s.certs
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known && slices.Equal(stamps, c.stamps) {
		return c.bundle, errors.Join(problem, c.err)
	}
	bundle, err := s.readCertificates(ctx, files)
	if ctx.Err() == nil { // otherwise it is not all there is
		c.bundle, c.err, c.stamps, c.known = bundle, err, stamps, true
	}
	return bundle, errors.Join(problem, err)
}

func (s *Source) readCertificates(ctx context.Context, files []string) ([]byte, error) {
	var b bundle
	var errs []error
	total := 0
	for _, path := range files {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		data, err := readRegular(path, maxCertificateFile)
		if err == nil && total+len(data) > maxCertificateInput {
			err = fmt.Errorf("%s and what follows it: more than %d bytes of certificates", path, maxCertificateInput)
		}
		if err != nil {
			errs = append(errs, err)
			if total+len(data) > maxCertificateInput {
				break
			}
			continue
		}
		total += len(data)
		b.add(data)
	}
	for _, path := range s.host.keychains {
		data, err := s.host.readKeychain(ctx, path)
		if err != nil {
			errs = append(errs, fmt.Errorf("keychain %s: %w", filepath.Base(path), err))
			continue
		}
		b.add(data)
	}
	if b.left > 0 {
		errs = append(errs, fmt.Errorf("%d certificates are left out: together they are larger than %d bytes", b.left, maxBundle))
	}
	return b.pem, errors.Join(errs...)
}

// certificateFiles lists the files that Go's crypto/x509, and OpenSSL, would
// read: one bundle, and the files of directories where they are asked for or no
// bundle exists.
func (s *Source) certificateFiles() ([]string, error) {
	candidates, dirs := s.host.certFiles, []string(nil)
	file, fileSet := s.env["SSL_CERT_FILE"]
	if fileSet = fileSet && file != ""; fileSet {
		candidates = []string{file}
	}
	if d := s.env["SSL_CERT_DIR"]; d != "" {
		dirs = filepath.SplitList(d)
	}
	var files []string
	var problem error
	for _, path := range candidates {
		_, err := os.Stat(path)
		if err == nil {
			files = append(files, path)
			break
		}
		if fileSet {
			problem = fmt.Errorf("SSL_CERT_FILE of the environment: %w", err)
		}
	}
	if len(files) == 0 && len(dirs) == 0 {
		dirs = s.host.certDirs
	}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			problem = errors.Join(problem, err)
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && len(files) < maxCertificateFiles {
				files = append(files, path)
			}
		}
	}
	return files, problem
}

func stampsOf(files []string) []fileStamp {
	var stamps []fileStamp
	for _, path := range files {
		st := fileStamp{path: path}
		if info, err := os.Stat(path); err == nil {
			st.modified, st.size = info.ModTime().Round(0), info.Size()
		}
		stamps = append(stamps, st)
	}
	return stamps
}
