package vz

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestResolveShares(t *testing.T) {
	none, err := resolveShares(nil)
	require.NoError(t, err)
	require.Nil(t, none)

	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	link, file, dangling := filepath.Join(dir, "link"), filepath.Join(dir, "file"), filepath.Join(dir, "dangling")
	target := filepath.Join(dir, "target")
	require.NoError(t, os.Mkdir(target, 0o755))
	require.NoError(t, os.Symlink(target, link))
	require.NoError(t, os.Symlink(filepath.Join(dir, "nothing"), dangling))
	require.NoError(t, os.WriteFile(file, nil, 0o600))

	tree := sharedTree([]domain.Share{{Path: dir}, {Path: link, ReadOnly: true}})
	got, err := resolveShares(tree)
	require.NoError(t, err)
	require.Equal(t, &SharedTree{Tag: domain.ShareTag, Directories: []SharedDirectory{
		{Name: "0", Path: dir}, {Name: "1", Path: target, ReadOnly: true}}}, got)
	require.Equal(t, link, tree.Directories[1].Path, "the argument is left alone")

	for _, bad := range []string{file, dangling, filepath.Join(dir, "missing")} {
		_, err := resolveShares(sharedTree([]domain.Share{{Path: dir}, {Path: bad}}))
		require.ErrorIs(t, err, domain.ErrInvalid)
		require.ErrorContains(t, err, bad)
	}
}

func TestStartGivesSharesToTheFramework(t *testing.T) {
	b := newBench(t)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	b.spec.Plan.Shares = []domain.Share{{Path: dir, ReadOnly: true}}
	vm := b.start(t)
	require.Equal(t, &SharedTree{Tag: domain.ShareTag, Directories: []SharedDirectory{{Name: "0", Path: dir, ReadOnly: true}}}, b.f.config.Shares)
	require.NoError(t, vm.Kill(t.Context()))

	b = newBench(t)
	b.spec.Plan.Shares = []domain.Share{{Path: filepath.Join(dir, "missing")}}
	_, err = b.h.Start(t.Context(), b.spec)
	require.ErrorIs(t, err, domain.ErrInvalid)
	require.Empty(t, b.f.config, "nothing is built")
}
