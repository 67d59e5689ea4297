package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/bootstrap"
	"arcbox/bootstrap/tomledit"
)

const root = "../../.."

func TestTheReferenceIsFresh(t *testing.T) {
	files, err := generate(root)
	require.NoError(t, err)
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		require.Equal(t, string(want), string(got), "%s is stale: go run ./cmd/arcbox/docs", name)
	}
	pages, err := manPages(root)
	require.NoError(t, err)
	for _, page := range pages {
		require.Contains(t, files, page, "there is no such command any more")
	}
}

// The example is a configuration: as it is, and with each key taken in.
func TestTheExampleIsValid(t *testing.T) {
	text := string(bootstrap.ConfigExample())
	load := func(text string) error {
		file := filepath.Join(t.TempDir(), "config.toml")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		_, err := bootstrap.LoadConfig([]string{file}, nil, nil)
		return err
	}
	require.NoError(t, load(text))
	lines := strings.Split(text, "\n")
	keys := 0
	for i, line := range lines {
		if key, ok := strings.CutPrefix(line, "#"); ok && !strings.HasPrefix(key, " ") {
			taken := slices.Clone(lines)
			taken[i] = key
			require.NoError(t, load(strings.Join(taken, "\n")), key)
			keys++
		}
	}
	require.Equal(t, strings.Count(bootstrap.ConfigMarkdown(), "\n")-2, keys, "every key is in it")
	_, err := tomledit.Parse([]byte(text))
	require.NoError(t, err)
}

func TestTheSchemaHasEveryKey(t *testing.T) {
	type node struct {
		Type       string
		Properties map[string]node
		Additional *bool `json:"additionalProperties"`
		Default    any
		Enum       []string
		Minimum    *int64
	}
	var schema node
	require.NoError(t, json.Unmarshal(bootstrap.ConfigSchema(), &schema))
	require.False(t, *schema.Additional, "unknown keys are mistakes")
	n := 0
	for _, p := range schema.Properties {
		n += max(1, len(p.Properties))
	}
	require.Equal(t, strings.Count(bootstrap.ConfigMarkdown(), "\n")-2, n)
	vm := schema.Properties["vm"].Properties
	require.Equal(t, []string{"eager", "on_demand"}, vm["boot"].Enum)
	require.Equal(t, "eager", vm["boot"].Default)
	require.Equal(t, int64(1), *vm["disk_gb"].Minimum)
	require.Equal(t, "array", vm["mounts"].Type)
	require.Equal(t, "boolean", vm["watch"].Type)
}
