package domain_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestRoles(t *testing.T) {
	machines, images := map[domain.MachineName]bool{}, map[string]bool{}
	for _, r := range domain.Roles() {
		got, err := domain.ParseRole(strings.ToUpper(string(r)))
		require.NoError(t, err)
		require.Equal(t, r, got)
		machines[r.Machine()], images[r.DataImage()] = true, true
	}
	require.Equal(t, map[domain.MachineName]bool{"default": true, "rosetta": true}, machines)
	require.Equal(t, map[string]bool{"docker.img": true, "docker-rosetta.img": true}, images)
	for _, bad := range []string{"", "fex", "native "} {
		_, err := domain.ParseRole(bad)
		require.ErrorIs(t, err, domain.ErrInvalid)
	}
}
