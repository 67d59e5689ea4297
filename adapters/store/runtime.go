package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"arcbox/adapters/internal/hostfile"
	"arcbox/domain"
)

// imageFormat is part of every image's key: another number makes every image
// anew, for when the layout or the way of packing changes.
const imageFormat = "arcbox runtime image 1"

const lockPoll = 50 * time.Millisecond

// member is one file of the runtime image.
type member struct {
	inside string // path in the image, without a leading slash
	host   string
	info   os.FileInfo
	sum    string // sha256, lower-case hex
}

func (d *Disks) runtimeDir() string { return filepath.Join(d.data, "runtime") }

// EnsureRuntime implements port.Disks: the regular files of runtime/bin and the
// agent become an EROFS image with /runtime/bin and /bin/arcbox-agent, all mode
// 0755 and root's, named after their content: runtime/runtime-<hash>.erofs.
// Files whose size, time and inode are as before are not read again. Images of
// other content are removed unless a virtual machine holds them. A missing
// agent or runtime is domain.ErrNotFound with a hint.
func (d *Disks) EnsureRuntime(ctx context.Context) (string, error) {
	unlock, err := d.lockRuntime(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	st := d.loadState()
	image, err := d.ensureImage(ctx, st)
	if errors.Is(err, domain.ErrConflict) {
		// A file was written to, now or in the past without its time showing
		// it: nothing that was read before counts any more.
		clear(st.Files)
		image, err = d.ensureImage(ctx, st)
	}
	if err != nil {
		return "", err
	}
	d.removeOthers(filepath.Base(image), st)
	if err := d.saveState(st); err != nil {
		return "", hostfile.Fault(fmt.Errorf("saving the state of the runtime image: %w", err))
	}
	return image, nil
}

func (d *Disks) ensureImage(ctx context.Context, st *runtimeState) (string, error) {
	members, err := d.members()
	if err != nil {
		return "", err
	}
	if err := st.fillSums(ctx, members); err != nil {
		return "", fmt.Errorf("reading the runtime: %w", err)
	}
	name := "runtime-" + contentKey(members) + imageExt
	image := filepath.Join(d.runtimeDir(), name)
	if st.complete(image, name) {
		return image, nil
	}
	started := time.Now()
	if err := d.pack(ctx, image, members); err != nil {
		return "", hostfile.Fault(fmt.Errorf("packing the runtime image: %w", err))
	}
	fi, err := os.Lstat(image)
	if err != nil {
		return "", err
	}
	st.Images[name] = hostfile.IdentityOf(fi)
	d.log.Info("packed the runtime image", "path", image, "files", len(members), "bytes", fi.Size(), "took", time.Since(started))
	return image, nil
}

func (d *Disks) lockRuntime(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(d.runtimeDir(), 0o755); err != nil {
		return nil, hostfile.Fault(err)
	}
	l := flock.New(filepath.Join(d.runtimeDir(), ".lock"))
	if _, err := l.TryLockContext(ctx, lockPoll); err != nil {
		l.Close()
		if cause := context.Cause(ctx); cause != nil {
			return nil, fmt.Errorf("waiting for another process that packs the runtime image: %w", cause)
		}
		return nil, fmt.Errorf("locking the runtime image: %w: %w", domain.ErrUnavailable, err)
	}
	return func() { l.Close() }, nil
}

// members lists the image's files in the order of their paths.
func (d *Disks) members() ([]member, error) {
	agent := filepath.Join(d.data, domain.AgentBinDir, domain.AgentBinary)
	fi, err := os.Lstat(agent)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, hostfile.Fault(err)
	}
	facts := domain.FileFacts{}
	if err == nil {
		facts = domain.FileFacts{Exists: true, Regular: fi.Mode().IsRegular(), Executable: fi.Mode()&0o111 != 0, Size: fi.Size()}
	}
	if err := domain.CheckBootFile("guest agent", agent, facts); err != nil {
		return nil, err
	}
	all := []member{{inside: path.Join(domain.AgentBinDir, domain.AgentBinary), host: agent, info: fi}}
	bin := filepath.Join(d.data, filepath.FromSlash(domain.RuntimeBinDir))
	entries, err := os.ReadDir(bin) // sorted
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, hostfile.Fault(err)
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		fi, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, member{inside: path.Join(domain.RuntimeBinDir, e.Name()), host: filepath.Join(bin, e.Name()), info: fi})
	}
	if len(all) == 1 {
		err := fmt.Errorf("no runtime binaries in %s: %w", bin, domain.ErrNotFound)
		return nil, domain.WithHint(err, "run `arcbox boot prefetch` to fetch them")
	}
	return all, nil
}

// contentKey names the content of an image: 12 hex digits.
func contentKey(members []member) string {
	h := sha256.New()
	fmt.Fprintln(h, imageFormat)
	for _, m := range members {
		fmt.Fprintf(h, "%q %s\n", m.inside, m.sum)
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// removeOthers deletes the images of other content, and what an interrupted
// packing left. It never fails the caller: the next call tries again.
func (d *Disks) removeOthers(current string, st *runtimeState) {
	entries, err := os.ReadDir(d.runtimeDir())
	if err != nil {
		d.log.Warn("old runtime images are not removed", "error", err)
		return
	}
	for _, e := range entries {
		name := e.Name()
		left := strings.HasPrefix(name, tempPrefix)
		old := strings.HasPrefix(name, "runtime-") && strings.HasSuffix(name, imageExt) && name != current
		if !e.Type().IsRegular() || !left && !old {
			continue
		}
		full := filepath.Join(d.runtimeDir(), name)
		if old && inUse(full) {
			continue
		}
		if err := os.Remove(full); err != nil {
			d.log.Warn("an old runtime image is not removed", "path", full, "error", err)
			continue
		}
		delete(st.Images, name)
	}
}
