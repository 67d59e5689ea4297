package assets

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/cenkalti/backoff/v5"

	"arcbox/adapters/internal/hostfile"
	"arcbox/application/port"
	"arcbox/domain"
)

const (
	maxAsset    = 8 << 30 // bytes; a manifest does not pin sizes
	partExt     = ".part"
	partInfoExt = ".json"
	// Transfers that may break off in a row without a byte, and altogether.
	maxFruitless = 5
	maxTransfers = 30
)

// part is an unfinished download. Its name is the content's checksum, so the
// same file is gone on with under whatever version it is wanted.
type part struct {
	path, infoPath string
	file           *os.File
	info           partInfo
	hash           hash.Hash // of the first size bytes
	size           int64
	resumed        bool // some of the bytes are from another process
}

// partInfo is stored beside a part, so that going on can be refused when the
// source has another version of the file.
type partInfo struct {
	Source    string `json:"source"`
	Path      string `json:"path"`
	Validator string `json:"validator"`
}

// download must be called with the lock held.
func (c *Cache) download(ctx context.Context, target string, a domain.Asset, src port.AssetSource, report *reporter) error {
	for {
		p, err := c.openPart(ctx, a, src)
		if err != nil {
			return fmt.Errorf("opening the download of %s: %w", a.Name, err)
		}
		err = c.transfer(ctx, p, a, src, report)
		if err == nil {
			report.step(domain.AssetVerifying)
			err = p.check(a)
		}
		if err == nil {
			err = c.install(p, target, a)
		}
		p.file.Close()
		if !errors.Is(err, domain.ErrChecksum) {
			return err
		}
		if rerr := p.remove(); rerr != nil {
			return rerr
		}
		if !p.resumed {
			return fmt.Errorf("%s from %s: %w", a.Path, src.Describe(), err)
		}
		c.log.Warn("a download that was gone on with is damaged, fetching all of it", "asset", a.Name)
	}
}

func (c *Cache) openPart(ctx context.Context, a domain.Asset, src port.AssetSource) (*part, error) {
	base := filepath.Join(c.downloadDir(), a.SHA256)
	f, err := os.OpenFile(base+partExt, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, hostfile.Fault(err)
	}
	p := &part{
		path: base + partExt, infoPath: base + partInfoExt, file: f, hash: sha256.New(),
		info: partInfo{Source: src.Describe(), Path: a.Path},
	}
	var stored partInfo
	data, err := os.ReadFile(p.infoPath)
	if err == nil && json.Unmarshal(data, &stored) == nil && stored.Source == p.info.Source && stored.Path == p.info.Path {
		p.info.Validator = stored.Validator
		if p.size, err = hostfile.HashRest(ctx, p.hash, f); err != nil {
			f.Close()
			return nil, err
		}
		p.resumed = p.size > 0
		return p, nil
	}
	if err := p.restart(); err != nil {
		f.Close()
		return nil, err
	}
	return p, nil
}

func (p *part) restart() error {
	p.hash.Reset()
	p.size, p.resumed = 0, false
	if err := p.file.Truncate(0); err != nil {
		return err
	}
	_, err := p.file.Seek(0, io.SeekStart)
	return err
}

func (p *part) sum() string { return hex.EncodeToString(p.hash.Sum(nil)) }

func (p *part) check(a domain.Asset) error {
	if sum := p.sum(); sum != a.SHA256 {
		return fmt.Errorf("%w: expected sha256 %s, actual %s", domain.ErrChecksum, a.SHA256, sum)
	}
	return nil
}

func (p *part) remove() error {
	return errors.Join(os.Remove(p.path), ignoreMissing(os.Remove(p.infoPath)))
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// transfer fills the part, asking the source again whenever it breaks off.
func (c *Cache) transfer(ctx context.Context, p *part, a domain.Asset, src port.AssetSource, report *reporter) error {
	if p.size > 0 && p.sum() == a.SHA256 {
		return nil // its process died between the last byte and the rename
	}
	delays := backoff.NewExponentialBackOff()
	delays.InitialInterval, delays.MaxInterval = c.delay, maxRetryDelay
	for fruitless, transfers := 0, 1; ; transfers++ {
		before := p.size
		broke, err := c.transferOnce(ctx, p, a, src, report)
		if err != nil || broke == nil {
			return err
		}
		if p.size > before {
			fruitless = 0
			delays.Reset()
		}
		if fruitless++; fruitless == maxFruitless || transfers == maxTransfers {
			return fmt.Errorf("fetching %s from %s broke off %d times: %w: %w", a.Path, src.Describe(), transfers, domain.ErrUnavailable, broke)
		}
		c.log.Info("a download broke off, going on", "asset", a.Name, "at", p.size, "error", broke)
		select {
		case <-time.After(delays.NextBackOff()):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// transferOnce returns as broke what a new request may mend, as err what it
// will not.
func (c *Cache) transferOnce(ctx context.Context, p *part, a domain.Asset, src port.AssetSource, report *reporter) (broke, err error) {
	body, at, size, validator, err := src.Fetch(ctx, a.Path, p.size, p.info.Validator)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	switch {
	case at == p.size:
	case at == 0:
		if err := p.restart(); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("%s begins at byte %d, asked for %d: %w", a.Path, at, p.size, domain.ErrCorrupt)
	}
	if size > maxAsset {
		return nil, fmt.Errorf("%s has %d bytes, more than the %d allowed: %w", a.Path, size, int64(maxAsset), domain.ErrInvalid)
	}
	if err := p.remember(validator); err != nil {
		return nil, err
	}
	buf := make([]byte, hostfile.CopyBuffer)
	for {
		n, rerr := body.Read(buf)
		if n > 0 {
			if _, err := p.file.Write(buf[:n]); err != nil {
				return nil, hostfile.Fault(err)
			}
			p.hash.Write(buf[:n])
			p.size += int64(n)
			report.bytes(p.size, size)
		}
		switch {
		case p.size > maxAsset:
			return nil, fmt.Errorf("%s is larger than the %d bytes allowed: %w", a.Path, int64(maxAsset), domain.ErrInvalid)
		case errors.Is(rerr, io.EOF) && size >= 0 && p.size < size:
			return io.ErrUnexpectedEOF, nil
		case errors.Is(rerr, io.EOF):
			return nil, nil
		case rerr != nil && ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case rerr != nil:
			return rerr, nil
		}
	}
}

// remember stores the validator before the first byte that it stands for.
func (p *part) remember(validator string) error {
	if p.size > 0 && validator == p.info.Validator {
		return nil
	}
	p.info.Validator = validator
	data, err := json.Marshal(p.info)
	if err != nil {
		return err
	}
	return writeAtomic(p.infoPath, data, 0o600)
}

// install gives the finished part its name.
func (c *Cache) install(p *part, target string, a domain.Asset) error {
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return hostfile.Fault(err)
	}
	if err := p.file.Chmod(modeOf(a)); err != nil {
		return err
	}
	if err := p.file.Sync(); err != nil {
		return hostfile.Fault(err)
	}
	if err := os.Rename(p.path, target); err != nil {
		return fmt.Errorf("installing %s: %w", target, err)
	}
	if err := hostfile.SyncDir(filepath.Dir(target)); err != nil {
		return err
	}
	if err := ignoreMissing(os.Remove(p.infoPath)); err != nil {
		return err
	}
	fi, err := p.file.Stat()
	if err != nil {
		return err
	}
	return c.updateVerified(func(v verified) { v[c.key(target)] = recordOf(fi, a.SHA256) })
}
