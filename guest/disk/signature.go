// Package disk prepares the data disk: it formats a blank one, recognises its
// own, and refuses every other.
package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Label is the ext4 label by which the agent knows its own data disk.
const Label = "arcbox-data"

// Window is how much of the beginning and of the end of a device is looked at.
const Window = 1 << 20

// Kind is what a device holds.
type Kind int

// The kinds. Only Blank and Unfinished may be formatted, only Ours mounted.
const (
	Blank Kind = iota
	Ours
	Foreign
	// Unfinished is a disk that was blank and whose formatting was cut off: its
	// file system, if there is one, was never mounted.
	Unfinished
)

// formatting is at the beginning of a device's last Window while it is being
// formatted: where no file system begins, and before what mke2fs clears at the
// end. It is gone before the file system is mounted for the first time.
const formatting = "arcbox: being formatted, blank before\x01"

// Found is what Identify saw.
type Found struct {
	Kind Kind
	// What names the content of a Foreign device for people.
	What string
	// BlockSize and Blocks are the size of the file system on a disk of Ours.
	BlockSize, Blocks uint64
}

// signature is a magic number at an offset from the beginning of the device.
type signature struct {
	offset int
	magic  string
	what   string
}

// head are the signatures at the beginning of a device, the most telling
// first: several kinds leave room for a boot sector, and so for an older one.
var head = []signature{
	{0, "LUKS\xba\xbe", "a LUKS encrypted volume"},
	{0, "SKUL\xba\xbe", "a LUKS encrypted volume"},
	{0, "XFSB", "an XFS file system"},
	{0, "hsqs", "a squashfs image"},
	{0, "QFI\xfb", "a qcow2 image"},
	{1024, "\xe2\xe1\xf5\xe0", "an EROFS image"},
	{512, "LABELONE", "an LVM physical volume"},
	{0, "LABELONE", "an LVM physical volume"},
	{1024, "LABELONE", "an LVM physical volume"},
	{1536, "LABELONE", "an LVM physical volume"},
	{65536 + 64, "_BHRfS_M", "a btrfs file system"},
	{4096 - 10, "SWAPSPACE2", "swap space"},
	{4096 - 10, "SWAP-SPACE", "swap space"},
	{16384 - 10, "SWAPSPACE2", "swap space"},
	{65536 - 10, "SWAPSPACE2", "swap space"},
	{32768 + 1, "CD001", "an ISO 9660 image"},
	{0, "\xfc\x4e\x2b\xa9", "a member of a Linux RAID"},
	{4096, "\xfc\x4e\x2b\xa9", "a member of a Linux RAID"},
	{1024, "\x10\x20\xf5\xf2", "an F2FS file system"},
	{4096 + 24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", "a bcache device"},
	{3, "NTFS    ", "an NTFS file system"},
	{3, "EXFAT   ", "an exFAT file system"},
	{82, "FAT32   ", "a FAT file system"},
	{54, "FAT1", "a FAT file system"},
	{512, "EFI PART", "a GPT partition table"},
	{4096, "EFI PART", "a GPT partition table"},
}

// The fields of an ext2/3/4 superblock that are needed.
// Source: Linux, fs/ext4/ext4.h, struct ext4_super_block.
const (
	extSuper          = 1024
	extBlocksLow      = extSuper + 0x04
	extLogBlockSize   = extSuper + 0x18
	extMountTime      = extSuper + 0x2c
	extMounts         = extSuper + 0x34
	extMagic          = extSuper + 0x38
	extCompat         = extSuper + 0x5c
	extIncompat       = extSuper + 0x60
	extLabel          = extSuper + 0x78
	extBlocksHigh     = extSuper + 0x150
	extMagicValue     = 0xef53
	extCompatJournal  = 0x4
	extIncompatExtent = 0x40
	extIncompat64     = 0x80
)

// zfsLabels are where a ZFS label keeps its ring of uberblocks, and the magic
// number that each of them begins with.
const (
	zfsRing  = 128 << 10
	zfsLabel = 256 << 10
	zfsSlot  = 1 << 10
	zfsMagic = 0x00bab10c
)

// Identify says what a device holds. first and last are its first and last
// Window bytes; on a smaller device they may be shorter and may overlap. Any
// byte that is not zero, in either, keeps a device from being Blank.
func Identify(first, last []byte) Found {
	marked := hasAt(last, 0, formatting)
	if le16(first, extMagic) == extMagicValue {
		found := identifyExt(first)
		// Once it is mounted, the same bytes are something of the user's.
		if found.Kind == Ours && marked && neverMounted(first) {
			return Found{Kind: Unfinished}
		}
		return found
	}
	for _, s := range head {
		if hasAt(first, s.offset, s.magic) {
			return foreign(s.what)
		}
	}
	switch {
	case hasZFS(first) || hasZFS(last):
		return foreign("a member of a ZFS pool")
	case len(last) >= 512 && hasAt(last, len(last)-512, "EFI PART"):
		return foreign("the backup of a GPT partition table")
	case hasOldRAID(last):
		return foreign("a member of a Linux RAID")
	case hasAt(first, 510, "\x55\xaa"):
		return foreign("an MBR partition table or a boot sector")
	}
	if marked {
		return Found{Kind: Unfinished}
	}
	if i := firstNonZero(first); i >= 0 {
		return foreign(fmt.Sprintf("data that this agent does not know, at byte %d", i))
	}
	if i := firstNonZero(last); i >= 0 {
		return foreign(fmt.Sprintf("data that this agent does not know, %d bytes before its end", len(last)-i))
	}
	return Found{Kind: Blank}
}

func identifyExt(first []byte) Found {
	if len(first) < extSuper+1024 {
		return foreign("a cut ext file system")
	}
	label := string(bytes.TrimRight(first[extLabel:extLabel+16], "\x00"))
	incompat := binary.LittleEndian.Uint32(first[extIncompat:])
	name := "an ext2 file system"
	switch {
	case incompat&extIncompatExtent != 0:
		name = "an ext4 file system"
	case binary.LittleEndian.Uint32(first[extCompat:])&extCompatJournal != 0:
		name = "an ext3 file system"
	}
	if label != Label || incompat&extIncompatExtent == 0 {
		return foreign(fmt.Sprintf("%s labelled %q", name, label))
	}
	shift := binary.LittleEndian.Uint32(first[extLogBlockSize:])
	blocks := uint64(binary.LittleEndian.Uint32(first[extBlocksLow:]))
	if incompat&extIncompat64 != 0 {
		blocks |= uint64(binary.LittleEndian.Uint32(first[extBlocksHigh:])) << 32
	}
	if shift > 6 || blocks == 0 || blocks > 1<<48 {
		return foreign(fmt.Sprintf("%s labelled %q whose superblock makes no sense", name, label))
	}
	return Found{Kind: Ours, BlockSize: 1024 << shift, Blocks: blocks}
}

func neverMounted(first []byte) bool {
	return binary.LittleEndian.Uint32(first[extMountTime:]) == 0 && le16(first, extMounts) == 0
}

func foreign(what string) Found { return Found{Kind: Foreign, What: what} }

func hasAt(b []byte, offset int, magic string) bool {
	return offset >= 0 && offset+len(magic) <= len(b) && string(b[offset:offset+len(magic)]) == magic
}

func le16(b []byte, offset int) uint16 {
	if offset+2 > len(b) {
		return 0
	}
	return binary.LittleEndian.Uint16(b[offset:])
}

// hasZFS looks into the rings of both labels that fit into a window.
func hasZFS(b []byte) bool {
	for label := 0; label+zfsLabel <= len(b); label += zfsLabel {
		for at := label + zfsRing; at < label+zfsLabel; at += zfsSlot {
			if v := binary.LittleEndian.Uint64(b[at:]); v == zfsMagic {
				return true
			}
			if v := binary.BigEndian.Uint64(b[at:]); v == zfsMagic {
				return true
			}
		}
	}
	return false
}

// hasOldRAID looks for RAID superblocks that are kept at the end: version 1.0
// at 8 KiB, and 0.90 in the last whole 64 KiB.
func hasOldRAID(last []byte) bool {
	const magic = "\xfc\x4e\x2b\xa9"
	for at := len(last) - 128<<10; at < len(last); at += 4 << 10 {
		if hasAt(last, at, magic) {
			return true
		}
	}
	return false
}

func firstNonZero(b []byte) int {
	return bytes.IndexFunc(b, func(r rune) bool { return r != 0 })
}
