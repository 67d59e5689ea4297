package vz

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"arcbox/domain"
)

// kernelHead is how much of a kernel says what it is, bytes.
const kernelHead = 0x206

// checkKernel says whether the framework can boot a kernel of which head is the
// start. The framework itself reports any other file as an internal error.
//
// On arm64 it takes an uncompressed Image ("ARM\x64" at 0x38,
// Documentation/arch/arm64/booting.rst), on amd64 a bzImage ("HdrS" at 0x202,
// Documentation/arch/x86/boot.rst).
func checkKernel(head []byte, arch string) error {
	magic, at := []byte("ARM\x64"), 0x38
	if arch == "amd64" {
		magic, at = []byte("HdrS"), 0x202
	}
	if len(head) >= at+len(magic) && bytes.Equal(head[at:at+len(magic)], magic) {
		return nil
	}
	if bytes.HasPrefix(head, []byte{0x1f, 0x8b}) {
		return domain.WithHint(fmt.Errorf("the kernel is compressed with gzip: %w", domain.ErrInvalid), "decompress it with gunzip")
	}
	return fmt.Errorf("the kernel is no Linux image for %s: %w", arch, domain.ErrInvalid)
}

func checkKernelFile(path, arch string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("opening the kernel: %w: %w", fileKind(err), err)
	}
	defer f.Close()
	head := make([]byte, kernelHead)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("reading the kernel: %w: %w", domain.ErrUnavailable, err)
	}
	if err := checkKernel(head[:n], arch); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// fileKind is the domain's name for why a file cannot be opened.
func fileKind(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return domain.ErrNotFound
	case errors.Is(err, fs.ErrPermission):
		return domain.ErrPermission
	default:
		return domain.ErrUnavailable
	}
}
