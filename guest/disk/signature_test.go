package disk

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func window() []byte { return make([]byte, Window) }

func with(offset int, s string) []byte {
	b := window()
	copy(b[offset:], s)
	return b
}

// ext makes a superblock.
func ext(label string, compat, incompat uint32, blocks uint64) []byte {
	b := window()
	binary.LittleEndian.PutUint16(b[extMagic:], extMagicValue)
	binary.LittleEndian.PutUint32(b[extCompat:], compat)
	binary.LittleEndian.PutUint32(b[extIncompat:], incompat)
	binary.LittleEndian.PutUint32(b[extBlocksLow:], uint32(blocks))
	binary.LittleEndian.PutUint32(b[extBlocksHigh:], uint32(blocks>>32))
	binary.LittleEndian.PutUint32(b[extLogBlockSize:], 2)
	copy(b[extLabel:], label)
	return b
}

// mounted makes a superblock one that was mounted.
func mounted(super []byte) []byte {
	binary.LittleEndian.PutUint32(super[extMountTime:], 1)
	binary.LittleEndian.PutUint16(super[extMounts:], 1)
	return super
}

func TestIdentifyAnUnfinishedDisk(t *testing.T) {
	ours := func() []byte { return ext(Label, extCompatJournal, extIncompatExtent, 100) }
	mark := with(0, formatting)
	for name, c := range map[string]struct {
		first, last []byte
		want        Kind
	}{
		"nothing written yet":         {window(), mark, Unfinished},
		"some of a file system":       {with(4096, "descriptors"), mark, Unfinished},
		"all of it":                   {ours(), mark, Unfinished},
		"mounted: a file of the user": {mounted(ours()), mark, Ours},
		"no mark":                     {ours(), window(), Ours},
		"another version":             {window(), with(0, strings.Replace(formatting, "\x01", "\x02", 1)), Foreign},
		"elsewhere":                   {window(), with(1, formatting), Foreign},
		"ext4 of somebody":            {ext("root", extCompatJournal, extIncompatExtent, 100), mark, Foreign},
		"xfs":                         {with(0, "XFSB"), mark, Foreign},
		"luks":                        {with(0, "LUKS\xba\xbe"), mark, Foreign},
		"mbr":                         {with(510, "\x55\xaa"), mark, Foreign},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, Identify(c.first, c.last).Kind)
		})
	}
}

func TestIdentify(t *testing.T) {
	const journal, extents, bits64 = extCompatJournal, extIncompatExtent, extIncompat64
	for name, c := range map[string]struct {
		first, last []byte
		want        string // part of What; "" is blank; "ours" is ours
	}{
		"blank":                    {window(), window(), ""},
		"ours":                     {ext(Label, journal, extents|bits64, 1<<33), window(), "ours"},
		"ext4 of somebody":         {ext("root", journal, extents, 100), window(), `ext4 file system labelled "root"`},
		"label continues":          {ext(Label+"x", journal, extents, 100), window(), `labelled "arcbox-datax"`},
		"ext3 with our label":      {ext(Label, journal, 0, 100), window(), "an ext3"},
		"ext2":                     {ext("", 0, 0, 100), window(), "an ext2"},
		"ours without blocks":      {ext(Label, journal, extents, 0), window(), "makes no sense"},
		"xfs":                      {with(0, "XFSB"), window(), "XFS"},
		"btrfs":                    {with(0x10040, "_BHRfS_M"), window(), "btrfs"},
		"swap":                     {with(4086, "SWAPSPACE2"), window(), "swap"},
		"swap of large pages":      {with(65526, "SWAPSPACE2"), window(), "swap"},
		"lvm":                      {with(512, "LABELONE"), window(), "LVM"},
		"luks":                     {with(0, "LUKS\xba\xbe\x00\x02"), window(), "LUKS"},
		"gpt":                      {with(512, "EFI PART"), window(), "GPT"},
		"gpt backup only":          {window(), with(Window-512, "EFI PART"), "backup of a GPT"},
		"mbr":                      {with(510, "\x55\xaa"), window(), "MBR"},
		"fat32":                    {with(82, "FAT32   "), window(), "FAT"},
		"fat16":                    {with(54, "FAT16   "), window(), "FAT"},
		"ntfs":                     {with(3, "NTFS    "), window(), "NTFS"},
		"squashfs":                 {with(0, "hsqs"), window(), "squashfs"},
		"erofs":                    {with(1024, "\xe2\xe1\xf5\xe0"), window(), "EROFS"},
		"iso":                      {with(32769, "CD001"), window(), "ISO 9660"},
		"zfs":                      {with(zfsRing+5*zfsSlot, "\x0c\xb1\xba\x00"), window(), "ZFS"},
		"zfs at the end":           {window(), with(Window-zfsLabel+zfsRing, "\x00\x00\x00\x00\x00\xba\xb1\x0c"), "ZFS"},
		"raid 1.2":                 {with(4096, "\xfc\x4e\x2b\xa9"), window(), "RAID"},
		"raid 1.0":                 {window(), with(Window-8192, "\xfc\x4e\x2b\xa9"), "RAID"},
		"raid 0.90":                {window(), with(Window-65536, "\xfc\x4e\x2b\xa9"), "RAID"},
		"one byte":                 {with(777777, "\x01"), window(), "at byte 777777"},
		"one byte that is no rune": {with(777, "\xff"), window(), "at byte 777"},
		"one byte at the end":      {window(), with(Window-1, "\x01"), "1 bytes before its end"},
		"tiny device":              {make([]byte, 100), make([]byte, 100), ""},
		"cut superblock":           {ext(Label, journal, extents, 9)[:1500], nil, "cut ext"},
	} {
		t.Run(name, func(t *testing.T) {
			got := Identify(c.first, c.last)
			switch c.want {
			case "":
				require.Equal(t, Found{Kind: Blank}, got)
			case "ours":
				require.Equal(t, Found{Kind: Ours, BlockSize: 4096, Blocks: 1 << 33}, got)
			default:
				require.Equal(t, Foreign, got.Kind)
				require.Contains(t, got.What, c.want)
			}
		})
	}
}

// Whatever a device holds, it is blank only if every byte is zero.
func FuzzIdentify(f *testing.F) {
	f.Add([]byte{}, []byte{})
	f.Add(ext(Label, 4, 0x40, 100)[:4096], []byte{0})
	f.Add(make([]byte, 70000), []byte("EFI PART"))
	f.Fuzz(func(t *testing.T, first, last []byte) {
		got := Identify(first, last)
		zero := strings.Trim(string(first), "\x00") == "" && strings.Trim(string(last), "\x00") == ""
		require.Equal(t, zero, got.Kind == Blank)
		if got.Kind == Foreign {
			require.NotEmpty(t, got.What)
		}
	})
}
