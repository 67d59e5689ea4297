package store

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestEngineIsRememberedAcrossProcesses(t *testing.T) {
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	require.Zero(t, NewEngine(dir, domain.RoleNative, log).Load())
	info := domain.EngineInfo{Version: "29.1", APIVersion: "1.56", Ready: true}
	NewEngine(dir, domain.RoleNative, log).Save(info)
	require.Equal(t, domain.EngineInfo{Version: "29.1", APIVersion: "1.56"}, NewEngine(dir, domain.RoleNative, log).Load(),
		"readiness is never remembered")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "engine-native.json"), []byte("{half"), 0o600))
	require.Zero(t, NewEngine(dir, domain.RoleNative, log).Load())
}
