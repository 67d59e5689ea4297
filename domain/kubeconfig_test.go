package domain_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"arcbox/domain"
)

const fresh = `apiVersion: v1
clusters:
- cluster: # the only one
    certificate-authority-data: REVGQVVMVA==
    server: https://127.0.0.1:6443
    x-unknown: {default: default}
  name: default
contexts:
- context:
    cluster: default
    namespace: default
    user: default
  name: default
current-context: default
kind: Config
preferences: {}
users:
- name: default
  user:
    client-key-data: default
`

const ours = `apiVersion: v1
clusters:
- cluster: # the only one
    certificate-authority-data: REVGQVVMVA==
    server: https://127.0.0.1:16443
    x-unknown: {default: default}
  name: arcbox
contexts:
- context:
    cluster: arcbox
    namespace: default
    user: arcbox
  name: arcbox
current-context: arcbox
kind: Config
preferences: {}
users:
- name: arcbox
  user:
    client-key-data: default
`

const theirs = `# my clusters
apiVersion: v1
clusters:
- cluster:
    server: https://prod.example.com
  name: prod # careful
contexts:
- context:
    cluster: prod
    user: me
  name: prod
current-context: prod
kind: Config
users:
- name: me
  user:
    token: secret
extensions:
- name: x
  extension: {a: 1}
`

func TestRewriteKubeconfig(t *testing.T) {
	got, err := domain.RewriteKubeconfig([]byte(fresh), "https://127.0.0.1:16443")
	require.NoError(t, err)
	require.Equal(t, ours, string(got))
	again, err := domain.RewriteKubeconfig(got, "https://127.0.0.1:16443")
	require.NoError(t, err)
	require.Equal(t, ours, string(again))
}

func TestRewriteKubeconfigRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"empty":                   "",
		"no YAML":                 "a: [",
		"a list":                  "- a",
		"two documents":           fresh + "---\n" + fresh,
		"no users":                strings.Replace(fresh, "users:", "people:", 1),
		"clusters is no list":     "clusters: 1\n",
		"entry is no mapping":     "clusters: [1]\n",
		"cluster without content": "clusters: [{name: default}]\n",
		"key twice":               fresh + "users: []\n",
	} {
		_, err := domain.RewriteKubeconfig([]byte(in), "https://x")
		require.ErrorIs(t, err, domain.ErrInvalid, name)
	}
	_, err := domain.RewriteKubeconfig([]byte(fresh), "")
	require.ErrorIs(t, err, domain.ErrInvalid)
}

func TestMergeKubeconfig(t *testing.T) {
	merged, err := domain.MergeKubeconfig([]byte(theirs), []byte(ours))
	require.NoError(t, err)
	require.Contains(t, string(merged), "# my clusters")
	require.Contains(t, string(merged), "name: prod # careful")
	require.Contains(t, string(merged), "current-context: prod\n", "the user's choice stays")
	require.Contains(t, string(merged), "server: https://127.0.0.1:16443")
	require.Contains(t, string(merged), "extension: {a: 1}")

	again, err := domain.MergeKubeconfig(merged, []byte(ours))
	require.NoError(t, err)
	require.Equal(t, string(merged), string(again))

	moved, err := domain.MergeKubeconfig(merged, []byte(strings.ReplaceAll(ours, "16443", "26443")))
	require.NoError(t, err)
	require.Contains(t, string(moved), "26443")
	require.NotContains(t, string(moved), "16443", "an entry of the same name is replaced")

	removed, err := domain.RemoveKubeconfig(moved, domain.KubeContext)
	require.NoError(t, err)
	require.Equal(t, theirs, string(removed))

	same, err := domain.RemoveKubeconfig([]byte("clusters:   []"), domain.KubeContext)
	require.NoError(t, err)
	require.Equal(t, "clusters:   []", string(same), "nothing to remove, nothing written")
}

func TestMergeKubeconfigIntoLittle(t *testing.T) {
	for name, user := range map[string]string{"no file": "", "blank": "\n \n"} {
		got, err := domain.MergeKubeconfig([]byte(user), []byte(ours))
		require.NoError(t, err, name)
		require.Equal(t, ours, string(got), name)
	}
	for name, user := range map[string]string{
		"nulls":      "apiVersion: v1\nclusters: null\ncontexts: ~\ncurrent-context: \"\"\nkind: Config\nusers:\n",
		"empty":      "apiVersion: v1\nclusters: []\ncontexts: []\nkind: Config\nusers: []\n",
		"only kinds": "apiVersion: v1\nkind: Config\n",
	} {
		got, err := domain.MergeKubeconfig([]byte(user), []byte(ours))
		require.NoError(t, err, name)
		require.Contains(t, string(got), "current-context: arcbox", name)
		require.Contains(t, string(got), "\n- name: arcbox\n  user:\n", name)

		gone, err := domain.RemoveKubeconfig(got, domain.KubeContext)
		require.NoError(t, err, name)
		require.NotContains(t, string(gone), "arcbox", name)
		require.Contains(t, string(gone), `current-context: ""`, name)
	}
}

func TestMergeKubeconfigRefuses(t *testing.T) {
	for name, c := range map[string][2]string{
		"user is broken":    {"clusters: [", ours},
		"user is a list":    {"[]", ours},
		"ours is broken":    {theirs, "clusters: ["},
		"ours without name": {theirs, "clusters: [{cluster: {server: x}}]"},
		"anchor that others use": {
			"clusters:\n- name: arcbox\n  cluster: &c {server: x}\n- name: mine\n  cluster: *c\n", ours,
		},
	} {
		_, err := domain.MergeKubeconfig([]byte(c[0]), []byte(c[1]))
		require.ErrorIs(t, err, domain.ErrInvalid, name)
	}
}

func FuzzKubeconfig(f *testing.F) {
	f.Add([]byte(theirs))
	f.Add([]byte(fresh))
	f.Add([]byte("clusters: &a [{name: x, cluster: {server: &s y}}]\nusers: ~\n? [k]\n: v\nz: *s\n"))
	f.Add([]byte("# c\r\n{\"clusters\":[],\"current-context\":null}"))
	f.Fuzz(func(t *testing.T, user []byte) {
		if _, err := domain.RewriteKubeconfig(user, "https://x"); err != nil {
			require.ErrorIs(t, err, domain.ErrInvalid)
		}
		merged, err := domain.MergeKubeconfig(user, []byte(ours))
		if err != nil {
			return
		}
		require.True(t, foreignSurvive(t, user, merged))
		removed, err := domain.RemoveKubeconfig(merged, domain.KubeContext)
		if err == nil {
			require.True(t, foreignSurvive(t, user, removed))
		}
	})
}

// foreignSurvive decodes both files anew, independently of the code under test.
func foreignSurvive(t *testing.T, before, after []byte) bool {
	type entry struct {
		Name string         `yaml:"name"`
		Rest map[string]any `yaml:",inline"`
	}
	type file struct {
		Clusters, Contexts, Users []entry
	}
	var b, a file
	if yaml.Unmarshal(before, &b) != nil {
		return true // merged as nodes, but no kubeconfig
	}
	require.NoError(t, yaml.Unmarshal(after, &a))
	// As text, in which maps are sorted and not-a-number equals itself.
	foreign := func(in []entry) (out []string) {
		for _, e := range in {
			if e.Name != domain.KubeContext {
				out = append(out, fmt.Sprintf("%q %v", e.Name, e.Rest))
			}
		}
		return out
	}
	require.Equal(t, foreign(b.Clusters), foreign(a.Clusters))
	require.Equal(t, foreign(b.Contexts), foreign(a.Contexts))
	require.Equal(t, foreign(b.Users), foreign(a.Users))
	return true
}
