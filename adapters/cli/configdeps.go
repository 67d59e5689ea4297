package cli

// ConfigKey is a key of the configuration.
type ConfigKey struct {
	Key     string   `json:"key"`
	Meaning string   `json:"meaning"`
	Allowed string   `json:"allowed"`
	Values  []string `json:"values,omitempty"` // the only ones, where they are few
	List    bool     `json:"list"`             // takes several values
	Restart bool     `json:"restart"`          // a change holds from the daemon's next start
}

// ConfigValue is what holds for a key.
type ConfigValue struct {
	ConfigKey
	Value any `json:"value"` // string, int64, bool or []string
	// Shown is Value as text without passwords.
	Shown string `json:"-"`
	// Redacted says that Shown hides a part of Value.
	Redacted bool `json:"redacted"`
	// Source is default, file, environment or flag; Where is FILE:LINE or the variable.
	Source string `json:"source"`
	Where  string `json:"where,omitempty"`
}

// ConfigFile is a configuration file.
type ConfigFile struct {
	Path   string `json:"path"`
	Exists bool   `json:"exists"`
	User   bool   `json:"user"` // the one that arcbox config changes
}

// ConfigChange is what was done to a configuration file.
type ConfigChange struct {
	File    string   `json:"file"`
	Changed []string `json:"changed"` // keys whose value in the file differs; none when nothing was to do
	Restart bool     `json:"restart"` // one of them holds from the daemon's next start
	// Overridden says what wins over the file for a key that was changed; "" for nothing.
	Overridden string `json:"overridden,omitempty"`
}

// ConfigDraft is a file being edited.
type ConfigDraft struct {
	File string // the one to change
	Text []byte
	// Base is what File held when the draft was taken; nil when it did not exist.
	Base []byte
}

// Config reads and changes configuration files. A change that would not be
// valid is refused with the key, the line and what is allowed, and changes
// nothing; system names the file for all users instead of the user's.
type Config interface {
	// Keys are all keys; it reads nothing.
	Keys() []ConfigKey
	// Values are what holds for each key, in the order of Keys.
	Values() ([]ConfigValue, error)
	// Files are those that are read, the weakest first.
	Files() []ConfigFile
	Set(key string, values []string, system bool) (ConfigChange, error)
	Unset(key string, system bool) (ConfigChange, error)
	// Draft is the text to edit: the file's, or the annotated example.
	Draft(system bool) (ConfigDraft, error)
	// Check says what is wrong with a draft, by the name of the file at.
	Check(d ConfigDraft, at string) error
	// Apply writes a draft, unless the file has changed since it was taken.
	Apply(d ConfigDraft) (ConfigChange, error)
	// Editor is the one that the user has chosen, as a shell command; "" for none.
	Editor() string
	// Schema is the JSON schema of a configuration file.
	Schema() []byte
}
