package main

import (
	"fmt"
	"math/rand/v2"
)

// kind is what an operation does.
type kind int

const (
	opOpen kind = iota
	opClose
	opWrite
	opAppend
	opRead
	opReadAll
	opTruncate
	opTruncatePath
	opMapWrite
	opMapRead
	opRename
	opRenameExclusive
	opLink
	opSymlink
	opReadlink
	opUnlink
	opMkdir
	opRmdir
	opChmod
	opTimes
	opAllocate
	opPunch
	opSeek
	opReadDir
	opReadDirWhileChanging
	opSync
	opStat
	opStatOpen
	kinds
)

var kindNames = [kinds]string{
	"open", "close", "write", "append", "read", "readall", "truncate", "truncatepath", "mapwrite", "mapread",
	"rename", "renameexclusive", "link", "symlink", "readlink", "unlink", "mkdir", "rmdir", "chmod", "utimes",
	"allocate", "punch", "seek", "readdir", "readdirwhilechanging", "fsync", "stat", "fstat",
}

// weights say how often each kind comes; what makes content is more frequent.
var weights = [kinds]int{
	opOpen: 20, opClose: 5, opWrite: 26, opAppend: 6, opRead: 12, opReadAll: 8, opTruncate: 5, opTruncatePath: 4,
	opMapWrite: 6, opMapRead: 4, opRename: 8, opRenameExclusive: 2, opLink: 4, opSymlink: 4, opReadlink: 4, opUnlink: 7,
	opMkdir: 6, opRmdir: 2, opChmod: 4, opTimes: 4, opAllocate: 3, opPunch: 3, opSeek: 3, opReadDir: 3,
	opReadDirWhileChanging: 1, opSync: 3, opStat: 6, opStatOpen: 4,
}

// Bounds of the operations. All files of one process together fit into a small
// tmpfs.
const (
	slots     = 6       // files that are open at once
	maxOffset = 192_000 // where writes begin, in bytes
	maxLength = 40_000  // of one write
)

// op is one operation, complete: two trees that are given the same operations
// have to answer the same.
type op struct {
	Kind   kind
	Slot   int
	Path   string
	Target string
	Flags  int
	Mode   uint32
	Offset int64
	Length int
	Fill   uint64 // seed of the bytes that are written
	Time   int64  // nanoseconds since 1970
}

func (o op) String() string {
	switch o.Kind {
	case opOpen:
		return fmt.Sprintf("open slot=%d path=%s flags=%#x mode=%#o", o.Slot, o.Path, o.Flags, o.Mode)
	case opWrite, opAppend, opRead, opMapWrite, opAllocate, opPunch:
		return fmt.Sprintf("%s slot=%d offset=%d length=%d fill=%#x flags=%d", kindNames[o.Kind], o.Slot, o.Offset, o.Length, o.Fill, o.Flags)
	case opTruncate, opSeek:
		return fmt.Sprintf("%s slot=%d offset=%d", kindNames[o.Kind], o.Slot, o.Offset)
	case opClose, opMapRead, opSync, opStatOpen:
		return fmt.Sprintf("%s slot=%d", kindNames[o.Kind], o.Slot)
	case opRename, opRenameExclusive, opLink, opSymlink:
		return fmt.Sprintf("%s %s %s", kindNames[o.Kind], o.Path, o.Target)
	case opChmod, opMkdir:
		return fmt.Sprintf("%s %s mode=%#o", kindNames[o.Kind], o.Path, o.Mode)
	case opTimes:
		return fmt.Sprintf("utimes %s time=%d", o.Path, o.Time)
	case opTruncatePath:
		return fmt.Sprintf("truncatepath %s offset=%d", o.Path, o.Offset)
	default:
		return kindNames[o.Kind] + " " + o.Path
	}
}

// generator makes operations; the same seed and process give the same ones.
type generator struct {
	random *rand.Rand
	total  int
	then   *op // comes next
}

func newGenerator(seed, process uint64) *generator {
	g := &generator{random: rand.New(rand.NewPCG(seed, process))} //nolint:gosec // it has to be reproducible
	for _, w := range weights {
		g.total += w
	}
	return g
}

func (g *generator) next() op {
	if then := g.then; then != nil {
		g.then = nil
		return *then
	}
	o := op{
		Kind: g.kind(), Slot: g.random.IntN(slots), Path: g.path(15), Target: g.path(15), Fill: g.random.Uint64(),
		Offset: int64(g.random.IntN(maxOffset)), Length: 1 + g.random.IntN(maxLength),
		// An owner that may read and write: whoever serves the tree may not be root.
		Mode: 0o600 | uint32(g.random.IntN(0o200)),
		// Between 2001 and 2020, which no clock of a test is at.
		Time: 1_000_000_000e9 + g.random.Int64N(600_000_000e9),
	}
	if g.random.IntN(3) == 0 { // edges of pages are where mistakes are
		o.Offset &^= 4095
	}
	if g.random.IntN(4) == 0 {
		o.Length = min(4096<<g.random.IntN(4), maxLength)
	}
	switch o.Kind {
	case opOpen:
		o.Flags = g.openFlags()
	case opMkdir:
		o.Mode |= 0o700
		o.Path = g.path(1)
	case opRmdir, opReadDir:
		o.Path = g.path(1)
	case opSymlink:
		o.Path = []string{"a", "b", "x", "x/a", "nowhere", "a/b"}[g.random.IntN(6)]
	case opAllocate:
		o.Flags = g.random.IntN(2) // whether the size stays
	case opWrite, opMapWrite, opPunch:
		// What was done is looked at, before something else hides it.
		if g.random.IntN(2) == 0 {
			look := o
			look.Kind = opRead
			g.then = &look
		}
	}
	return o
}

func (g *generator) kind() kind {
	n := g.random.IntN(g.total)
	for k, w := range weights {
		if n < w {
			return kind(k)
		}
		n -= w
	}
	return opStat
}

// path has one to three parts out of few names, so that operations meet; one in
// so many is named as directories are.
func (g *generator) path(directory int) string {
	files, directories := "abcd", "xy"
	var p string
	for range g.random.IntN(3) {
		p += string(directories[g.random.IntN(len(directories))]) + "/"
	}
	if g.random.IntN(directory) == 0 {
		return p + string(directories[g.random.IntN(len(directories))])
	}
	return p + string(files[g.random.IntN(len(files))])
}
