package bootstrap

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/knadh/koanf/providers/structs"
	"github.com/knadh/koanf/v2"
	"github.com/stretchr/testify/require"
)

// Every key is documented, and nothing else is.
func TestTheConfigurationIsDocumented(t *testing.T) {
	k := koanf.New(".")
	require.NoError(t, k.Load(structs.Provider(DefaultConfig(), "koanf"), nil))
	text, err := os.ReadFile("../docs/configuration.md")
	require.NoError(t, err)
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		documented = append(documented, m[1])
	}
	slices.Sort(documented)
	keys := k.Keys()
	slices.Sort(keys)
	require.Equal(t, keys, documented)
}
