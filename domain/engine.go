package domain

// EngineInfo is what is known of a Docker engine.
type EngineInfo struct {
	Ready      bool
	Version    string
	APIVersion string // newest, such as "1.56"
}
