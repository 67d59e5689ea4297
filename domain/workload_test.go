package domain_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func containerID(prefix string) string { return prefix + strings.Repeat("0", 64-len(prefix)) }

func TestWorkloadLookup(t *testing.T) {
	var r domain.WorkloadRegistry
	a, b, c := containerID("abcd1"), containerID("abcd2"), containerID("abce")
	require.NoError(t, r.Record(a, domain.RoleNative))
	require.NoError(t, r.Record(b, domain.RoleRosetta))
	require.NoError(t, r.Record(c, domain.RoleNative))
	require.NoError(t, r.AddAlias(a, "/web"))
	require.NoError(t, r.AddAlias(b, "abce"), "a name that looks like an id")
	require.NoError(t, r.AddAlias(c, "shared"))
	require.NoError(t, r.AddAlias(b, "shared"))

	for token, want := range map[string]domain.Role{
		a: domain.RoleNative, b: domain.RoleRosetta, "web": domain.RoleNative, "/web": domain.RoleNative,
		"abcd1": domain.RoleNative, "abcd2": domain.RoleRosetta, "abce0": domain.RoleNative,
		"abce": domain.RoleRosetta, // names come before prefixes, as in engines
	} {
		role, err := r.Lookup(token)
		require.NoError(t, err, token)
		require.Equal(t, want, role, token)
	}
	for _, token := range []string{"", "abc", "ABCD1", "abcf", "we", containerID("ffff"), a + "0"} {
		_, err := r.Lookup(token)
		require.ErrorIs(t, err, domain.ErrNotFound, token)
	}
	for _, token := range []string{"abcd", "shared"} {
		_, err := r.Lookup(token)
		require.ErrorIs(t, err, domain.ErrConflict, token)
		require.Contains(t, domain.Hint(err), "full container id")
	}
}

func TestWorkloadRename(t *testing.T) {
	var r domain.WorkloadRegistry
	a, b := containerID("aaaa"), containerID("bbbb")
	require.NoError(t, r.Record(a, domain.RoleNative))
	require.NoError(t, r.Record(b, domain.RoleRosetta))
	require.NoError(t, r.AddAlias(a, "one"))
	require.NoError(t, r.AddAlias(a, "uno"))
	require.NoError(t, r.Rename(a, "/two"))
	for _, old := range []string{"one", "uno"} {
		_, err := r.Lookup(old)
		require.ErrorIs(t, err, domain.ErrNotFound)
	}
	require.NoError(t, r.AddAlias(b, "one"))
	role, err := r.Lookup("one")
	require.NoError(t, err)
	require.Equal(t, domain.RoleRosetta, role)

	require.ErrorIs(t, r.Rename(a, "/"), domain.ErrInvalid)
	_, err = r.Lookup("two")
	require.NoError(t, err, "a refused rename keeps the old name")
	require.ErrorIs(t, r.Rename(containerID("cccc"), "x"), domain.ErrNotFound)
	require.ErrorIs(t, r.AddAlias(a, ""), domain.ErrInvalid)
	require.ErrorIs(t, r.Record("abc", domain.RoleNative), domain.ErrInvalid)
	require.ErrorIs(t, r.Record(strings.Repeat("G", 64), domain.RoleNative), domain.ErrInvalid)
}

func TestWorkloadExecsAndSessions(t *testing.T) {
	var r domain.WorkloadRegistry
	a := containerID("aaaa")
	require.ErrorIs(t, r.RecordExec("e", a), domain.ErrNotFound)
	require.NoError(t, r.Record(a, domain.RoleRosetta))
	require.NoError(t, r.RecordExec("e", a))
	role, err := r.Exec("e")
	require.NoError(t, err)
	require.Equal(t, domain.RoleRosetta, role)
	for i := range 10_000 {
		require.NoError(t, r.RecordExec(fmt.Sprint("x", i), a))
	}
	_, err = r.Exec("e")
	require.ErrorIs(t, err, domain.ErrNotFound, "the oldest is forgotten")
	_, err = r.Exec("x9999")
	require.NoError(t, err)
	r.Forget(a)
	_, err = r.Exec("x9999")
	require.ErrorIs(t, err, domain.ErrNotFound)

	_, err = r.Session("s")
	require.ErrorIs(t, err, domain.ErrNotFound)
	r.RecordSession("s", domain.RoleRosetta)
	role, err = r.Session("s")
	require.NoError(t, err)
	require.Equal(t, domain.RoleRosetta, role)
	r.ForgetSession("s")
	_, err = r.Session("s")
	require.ErrorIs(t, err, domain.ErrNotFound)
}

// The registry agrees with a naive model under random operations.
func TestWorkloadModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	type entry struct {
		role  domain.Role
		names []string
	}
	model := map[string]*entry{}
	var r domain.WorkloadRegistry
	ids := make([]string, 12)
	for i := range ids {
		ids[i] = containerID(fmt.Sprintf("%04x%x", 0xa000+i/3, i))
	}
	names := []string{"web", "db", "cache", "a000", "a001"}
	roles := domain.Roles()
	for range 3000 {
		id, name, role := ids[rnd.IntN(len(ids))], names[rnd.IntN(len(names))], roles[rnd.IntN(2)]
		switch rnd.IntN(6) {
		case 0, 1:
			require.NoError(t, r.Record(id, role))
			if model[id] == nil {
				model[id] = &entry{}
			}
			model[id].role = role
		case 2:
			if r.AddAlias(id, name) == nil && !slices.Contains(model[id].names, name) {
				model[id].names = append(model[id].names, name)
			}
		case 3:
			if r.Rename(id, name) == nil {
				model[id].names = []string{name}
			}
		case 4:
			r.Forget(id)
			delete(model, id)
		case 5:
			keep := ids[:rnd.IntN(len(ids))]
			r.Retain(role, keep)
			for id, e := range model {
				if e.role == role && !slices.Contains(keep, id) {
					delete(model, id)
				}
			}
		}
		for _, token := range append(slices.Clone(names), ids[0], ids[5], ids[1][:5], "a002", "a003") {
			want := map[domain.Role]bool{}
			if e := model[token]; e != nil {
				want[e.role] = true
			}
			for pass := 0; pass < 2 && len(want) == 0; pass++ {
				for id, e := range model {
					if pass == 0 && slices.Contains(e.names, token) || pass == 1 && len(token) < 64 && strings.HasPrefix(id, token) {
						want[e.role] = true
					}
				}
			}
			got, err := r.Lookup(token)
			switch len(want) {
			case 0:
				require.ErrorIs(t, err, domain.ErrNotFound)
			case 1:
				require.NoError(t, err)
				require.True(t, want[got])
			default:
				require.True(t, errors.Is(err, domain.ErrConflict))
			}
		}
	}
}
