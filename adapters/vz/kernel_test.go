package vz

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

// image is the start of a kernel with a magic at an offset.
func image(at int, magic string) []byte {
	b := make([]byte, 4096)
	copy(b[at:], magic)
	return b
}

func TestCheckKernel(t *testing.T) {
	arm, x86 := image(56, "ARMd"), image(514, "HdrS")
	require.NoError(t, checkKernel(arm, "arm64"))
	require.NoError(t, checkKernel(x86, "amd64"))
	for name, test := range map[string]struct {
		head []byte
		arch string
	}{
		"other arch":       {arm, "amd64"},
		"other arch 2":     {x86, "arm64"},
		"empty":            {nil, "arm64"},
		"cut in the magic": {arm[:58], "arm64"},
		"text":             {[]byte("#!/bin/sh"), "amd64"},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, checkKernel(test.head, test.arch), domain.ErrInvalid)
		})
	}
	err := checkKernel([]byte{0x1f, 0x8b, 8}, "arm64")
	require.ErrorIs(t, err, domain.ErrInvalid)
	require.Contains(t, domain.Hint(err), "gunzip")
}

func TestCheckKernelFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "kernel")
	require.ErrorIs(t, checkKernelFile(path, "arm64"), domain.ErrNotFound)
	require.NoError(t, os.WriteFile(path, []byte("short"), 0o600))
	err := checkKernelFile(path, "arm64")
	require.ErrorIs(t, err, domain.ErrInvalid)
	require.ErrorContains(t, err, path)
	require.NoError(t, os.WriteFile(path, image(56, "ARMd"), 0o600))
	require.NoError(t, checkKernelFile(path, "arm64"))
	require.ErrorIs(t, checkKernelFile(dir, "arm64"), domain.ErrUnavailable)
}
