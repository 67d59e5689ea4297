package kvm

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A test guest is a few bytes of 32-bit code in an ELF file with the note by
// which QEMU enters a PVH kernel (Xen's docs/misc/pvh.pandoc).
const (
	guestBase = 0x100000 // where the file is loaded; the usual place of kernels
	guestCode = 0x200    // offset of the code in the file
)

// say returns code that writes text to the first serial port.
func say(text string) []byte {
	c := []byte{0x66, 0xba, 0xf8, 0x03} // mov dx, 0x3f8
	for _, b := range []byte(text) {
		c = append(c, 0xb0, b, 0xee) // mov al, b; out dx, al
	}
	return c
}

// The ways in which a test guest can end.
var (
	codeHalt     = []byte{0xfa, 0xf4, 0xeb, 0xfd}                                     // cli; hlt; jmp back
	codePowerOff = []byte{0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x20, 0x66, 0xef} // ACPI: PM1a_CNT = SLP_EN, type S5
	codeReset    = []byte{0x66, 0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee}                   // reset control register of ICH9
)

func guestImage(code ...[]byte) []byte {
	le := binary.LittleEndian
	image := make([]byte, guestCode)
	text := append(bytes.Join(code, nil), codeHalt...)
	size := uint64(guestCode + len(text))
	copy(image, "\x7fELF\x02\x01\x01")
	le.PutUint16(image[16:], 2)  // executable
	le.PutUint16(image[18:], 62) // x86-64
	le.PutUint32(image[20:], 1)
	le.PutUint64(image[24:], guestBase+guestCode)
	le.PutUint64(image[32:], 64) // program headers
	le.PutUint16(image[52:], 64)
	le.PutUint16(image[54:], 56)
	le.PutUint16(image[56:], 2)
	header := func(at int, kind uint32, offset, length uint64) {
		h := image[at:]
		le.PutUint32(h, kind)
		le.PutUint32(h[4:], 7)
		le.PutUint64(h[8:], offset)
		le.PutUint64(h[16:], guestBase+offset)
		le.PutUint64(h[24:], guestBase+offset)
		le.PutUint64(h[32:], length)
		le.PutUint64(h[40:], length)
		le.PutUint64(h[48:], 4)
	}
	header(64, 1, 0, size)     // PT_LOAD
	header(120, 4, 0x100, 24)  // PT_NOTE
	note := image[0x100:]      // XEN_ELFNOTE_PHYS32_ENTRY
	le.PutUint32(note, 4)      // length of name
	le.PutUint32(note[4:], 8)  // length of value
	le.PutUint32(note[8:], 18) // type
	copy(note[12:], "Xen\x00")
	le.PutUint64(note[16:], guestBase+guestCode)
	return append(image, text...)
}

// guestKernel writes a test guest into a file and returns its path.
func guestKernel(t *testing.T, code ...[]byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "guest")
	require.NoError(t, os.WriteFile(path, guestImage(code...), 0o600))
	return path
}
