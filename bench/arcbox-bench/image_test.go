package main

import (
	"archive/tar"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheImageIsWhatDockerLoadTakes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image.tar")
	require.NoError(t, writeImage(path, 1<<20))
	require.NoFileExists(t, path+".layer")
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	sizes := map[string]int64{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		sizes[h.Name] = h.Size
	}
	require.Len(t, sizes, 3)
	require.Greater(t, sizes["layer.tar"], int64(1<<20))
	require.Positive(t, sizes["config.json"])
	require.Positive(t, sizes["manifest.json"])
}
