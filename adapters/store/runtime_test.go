package store_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/erofs/go-erofs"
	"github.com/stretchr/testify/require"

	"arcbox/adapters/store"
	"arcbox/domain"
)

// content is a data directory's files that belong into the image.
func content(t *testing.T, dir string) map[string][]byte {
	files := map[string][]byte{
		"bin/arcbox-agent":                    random(t, 3<<20+123),
		"runtime/bin/dockerd":                 random(t, 5<<20),
		"runtime/bin/containerd":              random(t, 4096),
		"runtime/bin/containerd-shim-runc-v2": random(t, 4097),
		"runtime/bin/runc":                    []byte("x"),
		"runtime/bin/docker-init":             {},
	}
	for name, data := range files {
		write(t, filepath.Join(dir, name), data)
	}
	return files
}

func random(t *testing.T, n int) []byte {
	b := make([]byte, n)
	_, err := rand.Read(b)
	require.NoError(t, err)
	return b
}

func write(t *testing.T, path string, data []byte) {
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, data, 0o755))
}

func readImage(t *testing.T, path string) map[string][]byte {
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	img, err := erofs.Open(f)
	require.NoError(t, err)
	got := map[string][]byte{}
	require.NoError(t, fs.WalkDir(img, ".", func(p string, e fs.DirEntry, err error) error {
		require.NoError(t, err)
		fi, err := e.Info()
		require.NoError(t, err)
		st := fi.Sys().(*erofs.Stat)
		require.Zero(t, st.UID, p)
		require.Zero(t, st.GID, p)
		require.Equal(t, os.FileMode(0o755), fi.Mode().Perm(), p)
		if e.IsDir() {
			return nil
		}
		require.True(t, fi.Mode().IsRegular(), p)
		data, err := fs.ReadFile(img, p)
		require.NoError(t, err)
		got[p] = data
		return nil
	}))
	return got
}

func same(t *testing.T, want, got map[string][]byte) {
	require.Len(t, got, len(want))
	for name, data := range want {
		require.True(t, bytes.Equal(data, got[name]), name)
	}
}

func images(t *testing.T, dir string) []string {
	all, err := filepath.Glob(filepath.Join(dir, "runtime", "*.erofs"))
	require.NoError(t, err)
	return all
}

func TestEnsureRuntime(t *testing.T) {
	dir := t.TempDir()
	want := content(t, dir)
	write(t, filepath.Join(dir, "runtime/bin/.dockerd.tmp"), []byte("hidden"))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "runtime/bin/dir"), 0o755))
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(dir, "runtime/bin/link")))
	d := store.NewDisks(dir, quiet())

	first, err := d.EnsureRuntime(t.Context())
	require.NoError(t, err)
	require.Regexp(t, `/runtime/runtime-[0-9a-f]{12}\.erofs$`, first)
	same(t, want, readImage(t, first))
	if fsck, err := exec.LookPath("fsck.erofs"); err == nil {
		out, err := exec.CommandContext(t.Context(), fsck, "--extract", first).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	before, err := os.Stat(first)
	require.NoError(t, err)
	require.Zero(t, before.Size()%4096, "a guest's disk is whole blocks")

	again, err := store.NewDisks(dir, quiet()).EnsureRuntime(t.Context())
	require.NoError(t, err)
	require.Equal(t, first, again)
	after, err := os.Stat(again)
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after), "not packed again")

	want["runtime/bin/dockerd"] = random(t, 5<<20)
	write(t, filepath.Join(dir, "runtime/bin/dockerd"), want["runtime/bin/dockerd"])
	second, err := d.EnsureRuntime(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, first, second)
	same(t, want, readImage(t, second))
	require.Equal(t, []string{second}, images(t, dir), "the old image is gone")
}

// A changed byte behind an unchanged size, time and inode is not noticed, which
// shows that the file was not read.
func TestEnsureRuntimeReadsNothingWhenNothingChanged(t *testing.T) {
	dir := t.TempDir()
	content(t, dir)
	d := store.NewDisks(dir, quiet())
	first, err := d.EnsureRuntime(t.Context())
	require.NoError(t, err)
	runc := filepath.Join(dir, "runtime/bin/runc")
	fi, err := os.Stat(runc)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(runc, []byte("y"), 0o755))
	require.NoError(t, os.Chtimes(runc, time.Time{}, fi.ModTime()))
	second, err := d.EnsureRuntime(t.Context())
	require.NoError(t, err)
	require.Equal(t, first, second)

	// But an image is never made under the name of other content.
	require.NoError(t, os.Remove(first))
	healed, err := d.EnsureRuntime(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, first, healed)
	require.Equal(t, "y", string(readImage(t, healed)["runtime/bin/runc"]))

	require.NoError(t, os.WriteFile(runc, []byte("z"), 0o755))
	require.NoError(t, os.Chtimes(runc, time.Time{}, fi.ModTime().Add(time.Second)))
	third, err := d.EnsureRuntime(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, healed, third, "another time is another file")
}

func TestEnsureRuntimeIsDeterministic(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	for name, data := range content(t, a) {
		write(t, filepath.Join(b, name), data)
	}
	ia, err := store.NewDisks(a, quiet()).EnsureRuntime(t.Context())
	require.NoError(t, err)
	ib, err := store.NewDisks(b, quiet()).EnsureRuntime(t.Context())
	require.NoError(t, err)
	require.Equal(t, filepath.Base(ia), filepath.Base(ib))
	da, err := os.ReadFile(ia)
	require.NoError(t, err)
	db, err := os.ReadFile(ib)
	require.NoError(t, err)
	require.True(t, bytes.Equal(da, db))
}

func TestEnsureRuntimeMendsDamage(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, dir, image string){
		"image is cut off": func(t *testing.T, _, image string) {
			require.NoError(t, os.Chmod(image, 0o600))
			require.NoError(t, os.Truncate(image, 100))
		},
		"image is gone": func(t *testing.T, _, image string) { require.NoError(t, os.Remove(image)) },
		"state is gone": func(t *testing.T, dir, _ string) {
			require.NoError(t, os.Remove(filepath.Join(dir, "runtime/.runtime.json")))
		},
		"state is garbage": func(t *testing.T, dir, _ string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "runtime/.runtime.json"), []byte(`{"files":3`), 0o644))
		},
		"a packing was killed": func(t *testing.T, dir, image string) {
			require.NoError(t, os.Remove(image))
			write(t, filepath.Join(dir, "runtime/.runtime-image-123"), []byte("half"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			want := content(t, dir)
			d := store.NewDisks(dir, quiet())
			image, err := d.EnsureRuntime(t.Context())
			require.NoError(t, err)
			damage(t, dir, image)
			again, err := d.EnsureRuntime(t.Context())
			require.NoError(t, err)
			require.Equal(t, image, again)
			same(t, want, readImage(t, again))
			left, err := filepath.Glob(filepath.Join(dir, "runtime/.runtime-image-*"))
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

func TestEnsureRuntimeRefuses(t *testing.T) {
	dir := t.TempDir()
	d := store.NewDisks(dir, quiet())
	_, err := d.EnsureRuntime(t.Context())
	require.ErrorIs(t, err, domain.ErrNotFound)
	require.ErrorContains(t, err, "bin/arcbox-agent")
	require.Contains(t, domain.Hint(err), "arcbox boot prefetch")

	write(t, filepath.Join(dir, "bin/arcbox-agent"), []byte("agent"))
	_, err = d.EnsureRuntime(t.Context())
	require.ErrorIs(t, err, domain.ErrNotFound)
	require.ErrorContains(t, err, "runtime/bin")

	content(t, dir)
	require.NoError(t, os.Chmod(filepath.Join(dir, "bin/arcbox-agent"), 0o644))
	_, err = d.EnsureRuntime(t.Context())
	require.ErrorIs(t, err, domain.ErrPermission)
	require.Contains(t, domain.Hint(err), "chmod +x")
	require.NoError(t, os.Chmod(filepath.Join(dir, "bin/arcbox-agent"), 0o755))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = d.EnsureRuntime(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, images(t, dir))
}

func TestEnsureRuntimeByMany(t *testing.T) {
	dir := t.TempDir()
	want := content(t, dir)
	var wg sync.WaitGroup
	paths, errs := make([]string, 4), make([]error, 4)
	for i := range paths {
		wg.Go(func() { paths[i], errs[i] = store.NewDisks(dir, quiet()).EnsureRuntime(t.Context()) })
	}
	wg.Wait()
	for i := range paths {
		require.NoError(t, errs[i])
		require.Equal(t, paths[0], paths[i])
	}
	same(t, want, readImage(t, paths[0]))
}

func TestEnsureRuntimeKeepsImagesInUse(t *testing.T) {
	dir := t.TempDir()
	content(t, dir)
	d := store.NewDisks(dir, quiet())
	first, err := d.EnsureRuntime(t.Context())
	require.NoError(t, err)
	release := lockLikeQEMU(t, first)

	write(t, filepath.Join(dir, "runtime/bin/runc"), []byte("other"))
	second, err := d.EnsureRuntime(t.Context())
	require.NoError(t, err)
	require.ElementsMatch(t, []string{first, second}, images(t, dir))

	release()
	third, err := d.EnsureRuntime(t.Context())
	require.NoError(t, err)
	require.Equal(t, second, third)
	require.Equal(t, []string{second}, images(t, dir))
}
