package store

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/google/renameio/v2"

	"arcbox/domain"
)

// Engine remembers what is known of a Docker engine between two runs of the
// daemon, in <data>/run/engine-<role>.json. What cannot be read is not known.
type Engine struct {
	path string
	log  *slog.Logger
	mu   sync.Mutex
}

// NewEngine returns the memory of a role's engine.
func NewEngine(runDir string, role domain.Role, log *slog.Logger) *Engine {
	return &Engine{path: filepath.Join(runDir, "engine-"+string(role)+".json"), log: log}
}

type engineRecord struct {
	Version    string `json:"version"`
	APIVersion string `json:"api_version"`
}

// Load returns what was saved last, the zero value without it.
func (e *Engine) Load() domain.EngineInfo {
	e.mu.Lock()
	defer e.mu.Unlock()
	var r engineRecord
	data, err := os.ReadFile(e.path)
	if err != nil || json.Unmarshal(data, &r) != nil {
		return domain.EngineInfo{}
	}
	return domain.EngineInfo{Version: r.Version, APIVersion: r.APIVersion}
}

// Save keeps info for the next Load, also in another process.
func (e *Engine) Save(info domain.EngineInfo) {
	e.mu.Lock()
	defer e.mu.Unlock()
	data, err := json.Marshal(engineRecord{Version: info.Version, APIVersion: info.APIVersion})
	if err == nil {
		err = renameio.WriteFile(e.path, data, 0o600)
	}
	if err != nil {
		e.log.Warn("remembering the engine's version", "error", err)
	}
}
