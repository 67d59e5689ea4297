package docker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/swarm"
	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

// decodes reads a body as dockerd does (moby daemon/internal/runconfig, loadJSON,
// and daemon/server/httputils, ReadJSON).
func decodes[T any](body []byte) (v T, ok bool) {
	d := json.NewDecoder(bytes.NewReader(body))
	if err := d.Decode(&v); err != nil {
		return v, false
	}
	return v, !d.More()
}

// boundByBinds is the source that dockerd binds for an entry of Binds (moby
// daemon/volume/mounts, ParseMountRaw).
func boundByBinds(entry string) (source string, ok bool) {
	parts := strings.SplitN(entry, ":", 4)
	return parts[0], (len(parts) == 2 || len(parts) == 3) && path.IsAbs(parts[0])
}

// boundByMount is the same for a mount (validateMountConfigImpl there).
func boundByMount(m mount.Mount) (source string, ok bool) {
	return m.Source, m.Type == mount.TypeBind && path.IsAbs(strings.ReplaceAll(m.Source, `\`, `/`))
}

// bound is what dockerd binds of the host for a container.
func bound(r container.CreateRequest) []string {
	sources := []string{}
	if r.HostConfig == nil {
		return sources
	}
	for _, entry := range r.HostConfig.Binds {
		if source, ok := boundByBinds(entry); ok {
			sources = append(sources, source)
		}
	}
	for _, m := range r.HostConfig.Mounts {
		if source, ok := boundByMount(m); ok {
			sources = append(sources, source)
		}
	}
	return sources
}

// dockerd binds exactly what was looked at, and after a change exactly what it
// was changed to; nothing else of the request is another.
func FuzzCreateBody(f *testing.F) {
	for _, seed := range []string{
		`{"Image":"x","Env":["A=b"],"HostConfig":{"Binds":["/a:/b:ro","v:/w"],"Mounts":[{"Type":"bind","Source":"/c","Target":"/d","BindOptions":{"Propagation":"rshared"}}]}}`,
		`{"hostConfig":{"binds":["/a:/b"]},"env":null}`, `{"HostConfig":{"Binds":["/a:/b"]},"HostConfig":{"Memory":1}}`,
		`{"HostConfig":{"Binds":["/a:/b"]}}}`, `{"HostConfig":{"Bind` + "\u017f" + `":["/a:/b"],"Mounts":[{"Type":"bind","Source":"\\a"}]}}`,
		`{"HostConfig":null,"Image":"` + "\xff" + `"}`, `{"HostConfig":{"Mounts":[{"Type":"bind","Source":"/a"}],"Mounts":[{"Target":"/b"}]}} `,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) { requireSameAsDockerd(t, body) })
}

// requireSameAsDockerd reports whether the body was judged: it may have been
// refused, or be one that dockerd refuses.
func requireSameAsDockerd(t *testing.T, body []byte) bool {
	t.Helper()
	before, ok := decodes[container.CreateRequest](body)
	b, err := domain.ParseCreateBody(body)
	if err != nil {
		require.ErrorIs(t, err, domain.ErrInvalid)
		return false
	}
	require.Nil(t, b.Bytes())
	if !ok {
		return false
	}
	require.Equal(t, bound(before), b.Sources(), "%s", body)
	want := []string{}
	for i := range b.Sources() {
		want = append(want, fmt.Sprintf("/checked/%d <ü>", i))
		require.NoError(t, b.SetSource(i, want[i]))
	}
	if before.Config != nil {
		b.AddEnv([]string{"ADDED=1"})
		b.AddBind("/added:/x")
	}
	changed := b.Bytes()
	if changed == nil {
		changed = body
	}
	after, ok := decodes[container.CreateRequest](changed)
	require.True(t, ok, "%q", changed)
	if before.Config != nil {
		binds := after.HostConfig.Binds
		require.Equal(t, "/added:/x", binds[len(binds)-1])
		after.HostConfig.Binds = binds[:len(binds)-1]
		require.Equal(t, want, bound(after))
		after.Env = withoutAdded(after.Env)
	}
	for _, r := range []*container.CreateRequest{&before, &after} {
		if r.HostConfig == nil {
			r.HostConfig = &container.HostConfig{}
		}
		unname(r.HostConfig)
	}
	if diff := cmp.Diff(before, after, cmpopts.EquateEmpty(), cmpopts.EquateComparable()); diff != "" {
		t.Fatalf("%q became %q: %s", body, changed, diff)
	}
	return true
}

// TestCreateBodiesOfAnyShape makes bodies that are nearly all taken by dockerd,
// in spellings that clients do not use.
func TestCreateBodiesOfAnyShape(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 2))
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	several := func(n int, make func() string) string {
		var all []string
		for range random.IntN(n + 1) {
			all = append(all, make())
		}
		return strings.Join(all, pick(",", " , ", ",\n"))
	}
	word := func() string {
		return pick(`"/a:/b"`, `"/a b/ü:/c:ro"`, `"v:/d"`, `"/d"`, `"/e:/f:g:h"`, `"\/x\u003a/y"`, `"A=1"`, `"added"`, `"bind"`, `"volume"`, `"/src"`, `"\\src"`, `"rel"`, `""`, `"\ud800"`, "\"\xff\"", "null")
	}
	words := func() string {
		return pick("null", "[]", "["+several(4, word)+"]", "[ "+several(4, word)+"\n]", "["+several(4, word)+"]")
	}
	mount := func() string {
		return pick("null", "{"+several(4, func() string {
			return pick(`"Type":"bind"`, `"Type" : `+word(), `"type":"bind"`, `"Source":`+word(), `"SOURCE": `+word(), `"Target":"/t"`, `"BindOptions":{"Propagation":"rshared"}`, `"Unknown":[{"Source":"/no"}]`)
		})+"}", `{"Source":`+word()+`,"Type":"bind"}`)
	}
	host := func() string {
		return pick("null", "{"+several(3, func() string {
			return pick(`"Binds":`, `"binds" :`, `"B\u0069nds":`, "\"Bind\u017f\":", `"CapAdd":`, `"Unknown":`) + words()
		})+"}", `{"Memory":1,"Mounts":[`+several(3, mount)+`]}`, `{"mounts": [`+several(3, mount)+`],"Binds":`+words()+`}`)
	}
	judged := 0
	for range 2500 {
		body := "{" + several(4, func() string {
			return pick(`"Image":"x"`, `"HostConfig":`+host(), `"hostconfig" :`+host(), `"HostConfig":`+host(), `"Env":`+words(), `"ENV":`+words(), `"Cmd":["a"]`, `"Labels":{"HostConfig":"{}"}`)
		}) + "}" + pick("", "", "", "\n", "}", "]x", " {}")
		if requireSameAsDockerd(t, []byte(body)) {
			judged++
		}
	}
	require.Greater(t, judged, 600)
}

func withoutAdded(env []string) []string {
	if n := len(env); n > 0 && env[n-1] == "ADDED=1" {
		return env[:n-1]
	}
	return env
}

// unname takes all sources away.
func unname(c *container.HostConfig) {
	for i, entry := range c.Binds {
		if source, ok := boundByBinds(entry); ok {
			c.Binds[i] = entry[len(source):]
		}
	}
	for i, m := range c.Mounts {
		if _, ok := boundByMount(m); ok {
			c.Mounts[i].Source = ""
		}
	}
}

func FuzzServiceBody(f *testing.F) {
	f.Add([]byte(`{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"bind","Source":"/a"},{"Type":"volume","Source":"v"}]}}}`))
	f.Add([]byte(`{"tasktemplate":{"containerspec":{"mounts":[{"type":"bind","source":"/a"}]}},"TaskTemplate":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		before, ok := decodes[swarm.ServiceSpec](body)
		b, err := domain.ParseServiceBody(body)
		if err != nil || !ok {
			return
		}
		want := []string{}
		if c := before.TaskTemplate.ContainerSpec; c != nil {
			for _, m := range c.Mounts {
				if source, ok := boundByMount(m); ok {
					want = append(want, source)
				}
			}
		}
		require.Equal(t, want, b.Sources())
	})
}

// A body that is followed is one that net/http's server would read the same way.
func FuzzWholeBody(f *testing.F) {
	f.Add([]byte("3\r\n{\"a\r\n4;x\r\n\":1}\r\n0\r\n\r\n"))
	f.Add([]byte("2\n{}\n0\n\n"))
	f.Add([]byte("0\r\nA: b\r\n\r\nrest"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		follow := body{kind: bodyChunked}
		n, done, err := follow.follow(raw)
		if err != nil || !done {
			return
		}
		content, err := decoded(raw[:n], body{kind: bodyChunked})
		if err != nil {
			return
		}
		again, err := decoded(raw, body{kind: bodyChunked})
		require.NoError(t, err, "what follows a body is no part of it")
		require.Equal(t, content, again)
	})
}
