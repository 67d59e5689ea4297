package domain

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWatchTrees(t *testing.T) {
	shares := []Share{{Path: "/home/u"}, {Path: "/srv", ReadOnly: true}}
	for name, c := range map[string]struct{ binds, want []string }{
		"nothing":                  {nil, nil},
		"a tree":                   {[]string{"/home/u/p"}, []string{"/home/u/p"}},
		"a share itself":           {[]string{"/home/u"}, []string{"/home/u"}},
		"twice":                    {[]string{"/srv/a", "/srv/a"}, []string{"/srv/a"}},
		"nested":                   {[]string{"/home/u/p/src/x", "/home/u/p", "/home/u/p/src"}, []string{"/home/u/p"}},
		"a name that begins alike": {[]string{"/home/u/p", "/home/u/p2", "/home/u/p-x/y"}, []string{"/home/u/p", "/home/u/p-x/y", "/home/u/p2"}},
		"outside":                  {[]string{"/", "/home", "/home/uu/p", "/var/run/docker.sock", "/srv2"}, nil},
		"not clean":                {[]string{"/home/u/../v", "/home/u/p/", "home/u", "", "/home/u//p"}, nil},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, WatchTrees(c.binds, shares)) })
	}
	require.Empty(t, WatchTrees([]string{"/home/u"}, nil))
	require.Equal(t, []string{"/x"}, WatchTrees([]string{"/x/y", "/x"}, []Share{{Path: "/"}}))
}

func TestWatchTreesAreBounded(t *testing.T) {
	var binds []string
	for i := range 3 * MaxWatchTrees {
		binds = append(binds, fmt.Sprintf("/a/%05d", i))
	}
	require.Len(t, WatchTrees(binds, []Share{{Path: "/a"}}), MaxWatchTrees)
}

// Everything that is bound in a share is in one tree, and no tree in another.
func TestWatchTreesCoverAndDoNotOverlap(t *testing.T) {
	shares := []Share{{Path: "/a"}, {Path: "/b/c"}, {Path: "/a/b/c"}}
	rnd := rand.New(rand.NewPCG(1, 5))
	for range 2000 {
		var binds []string
		for range rnd.IntN(12) {
			p := ""
			for range 1 + rnd.IntN(5) {
				p += "/" + string("abc"[rnd.IntN(3)])
			}
			binds = append(binds, p)
		}
		trees := WatchTrees(binds, shares)
		require.True(t, slices.IsSorted(trees))
		for _, b := range binds {
			n := 0
			for _, tree := range trees {
				if Within(b, tree) {
					n++
				}
			}
			_, inside := shareOf(shares, b)
			require.Equal(t, inside, n == 1, "%s in %v", b, trees)
			require.LessOrEqual(t, n, 1)
		}
		for _, tree := range trees {
			require.Contains(t, binds, tree)
		}
		rnd.Shuffle(len(binds), func(i, j int) { binds[i], binds[j] = binds[j], binds[i] })
		require.Equal(t, trees, WatchTrees(binds, shares))
	}
}

func TestPathChanges(t *testing.T) {
	type event struct {
		path string
		kind FileEvent
	}
	for name, c := range map[string]struct {
		events []event
		want   []string // "-" before what was removed
	}{
		"nothing":                      {nil, []string{}},
		"written":                      {[]event{{"/t/a", FileChanged}, {"/t/a", FileChanged}}, []string{"/t/a"}},
		"new":                          {[]event{{"/t/a", FileCreated}, {"/t/a", FileChanged}}, []string{"/t/a"}},
		"removed":                      {[]event{{"/t/a", FileRemoved}}, []string{"-/t/a"}},
		"new and removed":              {[]event{{"/t/a", FileCreated}, {"/t/a", FileChanged}, {"/t/a", FileRemoved}}, []string{}},
		"removed and new":              {[]event{{"/t/a", FileRemoved}, {"/t/a", FileCreated}}, []string{"/t/a"}},
		"removed, new and removed":     {[]event{{"/t/a", FileRemoved}, {"/t/a", FileCreated}, {"/t/a", FileRemoved}}, []string{"-/t/a"}},
		"written to another and moved": {[]event{{"/t/a.tmp", FileCreated}, {"/t/a.tmp", FileChanged}, {"/t/a.tmp", FileRemoved}, {"/t/a", FileChanged}}, []string{"/t/a"}},
		"vim": {[]event{{"/t/4913", FileCreated}, {"/t/4913", FileRemoved}, {"/t/a", FileRemoved}, {"/t/a~", FileChanged},
			{"/t/a", FileCreated}, {"/t/a", FileChanged}, {"/t/a~", FileRemoved}}, []string{"-/t/a~", "/t/a"}},
		"directories before and after": {[]event{{"/t/d/f", FileCreated}, {"/t/d", FileChanged}, {"/t/e", FileRemoved}, {"/t/e/f", FileRemoved}},
			[]string{"-/t/e/f", "-/t/e", "/t/d", "/t/d/f"}},
		"in a directory that went":          {[]event{{"/t/d", FileChanged}, {"/t/d/x/f", FileCreated}, {"/t/d2", FileChanged}, {"/t/d", FileRemoved}}, []string{"-/t/d", "/t/d2"}},
		"in a directory that went and came": {[]event{{"/t/d", FileRemoved}, {"/t/d", FileChanged}, {"/t/d/f", FileCreated}}, []string{"/t/d", "/t/d/f"}},
		"the tree itself":                   {[]event{{"/t", FileRemoved}, {"/t/a", FileChanged}}, []string{"-/t"}},
	} {
		t.Run(name, func(t *testing.T) {
			var p PathChanges
			for _, e := range c.events {
				p.Add("/t", e.path, e.kind)
			}
			require.Equal(t, c.want, shown(p.Take()))
			require.Zero(t, p.Len())
			require.Empty(t, p.Take())
		})
	}
}

func shown(changes []PathChange) []string {
	out := []string{}
	for _, c := range changes {
		if c.Removed {
			c.Path = "-" + c.Path
		}
		out = append(out, c.Path)
	}
	return out
}

func TestTooManyPathChangesBecomeDirectories(t *testing.T) {
	var p PathChanges
	for d := range 10 {
		for f := range MaxPathChanges / 10 {
			p.Add("/t", fmt.Sprintf("/t/d%d/%04d", d, f), FileCreated)
		}
	}
	for i := range 10 {
		require.False(t, p.Full())
		p.Add("/t", fmt.Sprintf("/t/top%d", i), FileCreated)
		if p.Full() {
			break
		}
	}
	require.True(t, p.Full())
	p.Add("/t", "/t/d3/late", FileChanged)
	p.Add("/t", "/t/d4", FileRemoved)
	p.Add("/t", "/t/new/f", FileChanged)
	require.Equal(t, []string{"-/t/d4", "/t", "/t/d0", "/t/d1", "/t/d2", "/t/d3", "/t/d5", "/t/d6", "/t/d7", "/t/d8", "/t/d9", "/t/new/f"}, shown(p.Take()))
}

func TestTooManyDirectoriesBecomeTrees(t *testing.T) {
	var p PathChanges
	for i := range 3 * MaxPathChanges {
		p.Add(fmt.Sprintf("/t%d", i%3), fmt.Sprintf("/t%d/%d/f", i%3, i), FileChanged)
		require.LessOrEqual(t, p.Len(), MaxPathChanges)
	}
	for _, tree := range []string{"/t0", "/t1", "/t2"} {
		require.Contains(t, p.Take(), PathChange{Path: tree})
		for i := range 3 * MaxPathChanges {
			p.Add(fmt.Sprintf("/t%d", i%3), fmt.Sprintf("/t%d/%d/f", i%3, i), FileChanged)
		}
	}
	for i := range 3 * MaxPathChanges { // of more trees than there may be
		p.Add(fmt.Sprintf("/x%d", i), fmt.Sprintf("/x%d", i), FileChanged)
		require.LessOrEqual(t, p.Len(), MaxPathChanges)
	}
}

// Files are made, written, moved and removed in a model; what was told, applied
// to what was known before, is what there is.
func TestPathChangesAreTheDifferenceOfTwoStates(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 4))
	name := func() string {
		p := "/t"
		for range 1 + rnd.IntN(3) {
			p = path.Join(p, string("abc"[rnd.IntN(3)]))
		}
		return p
	}
	for range 3000 {
		files := map[string]int{"/t/a": 1, "/t/b": 2, "/t/c/a": 3} // contents
		version := 10
		known := maps.Clone(files)
		ever := maps.Clone(files) // a name is a file's or a directory's for good
		var p PathChanges
		remove := func(f string) { delete(files, f); p.Add("/t", f, FileRemoved) }
		write := func(f string, content int) {
			kind := FileCreated
			if _, ok := files[f]; ok {
				kind = FileChanged
			}
			files[f] = content
			p.Add("/t", f, kind)
		}
		for range rnd.IntN(20) {
			f := name()
			conflict := false
			for other := range ever {
				conflict = conflict || other != f && (Within(other, f) || Within(f, other))
			}
			if !conflict {
				ever[f], ever[f+"x"] = 0, 0
			}
			_, there := files[f]
			switch {
			case conflict:
			case there && rnd.IntN(3) == 0:
				remove(f)
			case there && rnd.IntN(2) == 0:
				to := f + "x"
				content := files[f]
				remove(f)
				files[to] = content
				p.Add("/t", to, FileChanged) // moved: whatever was there
			default:
				version++
				write(f, version)
			}
		}
		changes := p.Take()
		seen := map[string]bool{}
		for i, c := range changes {
			require.False(t, seen[c.Path], "twice")
			seen[c.Path] = true
			if content, ok := files[c.Path]; ok {
				require.False(t, c.Removed, c.Path)
				known[c.Path] = content
			} else {
				require.True(t, c.Removed, c.Path)
				delete(known, c.Path)
			}
			if i > 0 && changes[i-1].Removed == c.Removed {
				require.Equal(t, c.Removed, strings.Compare(changes[i-1].Path, c.Path) > 0, "order")
			}
		}
		require.Equal(t, files, known)
	}
}
