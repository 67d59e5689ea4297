package bootstrap

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/structs"
	"github.com/knadh/koanf/v2"

	"arcbox/bootstrap/tomledit"
	"arcbox/domain"
)

// envOutside are variables that begin with ARCBOX_ and are not configuration keys.
var envOutside = []string{"ARCBOX_CACHE", "ARCBOX_DEBIAN_MIRROR"}

const (
	envPrefix     = "ARCBOX_"
	envTestPrefix = "ARCBOX_TEST_"
)

// Kinds of sources, from the weakest to the strongest.
const (
	fromDefault     = "default"
	fromFile        = "file"
	fromEnvironment = "environment"
	fromFlag        = "flag"
)

// source says where a key was set.
type source struct {
	kind  string
	where string // FILE:LINE, the variable, or the kind in words
}

// configSources are where a configuration is read from.
type configSources struct {
	files   []string
	texts   map[string][]byte // stand in for files that are not written yet
	environ []string          // "K=V"
	flags   map[string]any    // key to value
}

// loadedConfig is a configuration and the strongest source of each key; a key
// without one has its default.
type loadedConfig struct {
	Config
	from map[string]source
}

// LoadConfig reads defaults, the files that exist, the environment ("K=V") and
// flags (key to value), each overriding those before it. An unknown key, a
// value of the wrong type and one that is not allowed are domain.ErrInvalid and
// name where they stand, with the line in a file.
func LoadConfig(files, environ []string, flags map[string]any) (Config, error) {
	l, err := configSources{files: files, environ: environ, flags: flags}.load()
	return l.Config, err
}

func (s configSources) load() (loadedConfig, error) {
	l := &loader{k: koanf.New("."), from: map[string]source{}}
	if err := l.k.Load(structs.Provider(DefaultConfig(), "koanf"), nil); err != nil {
		return loadedConfig{}, fmt.Errorf("configuration defaults: %w", err)
	}
	for _, f := range s.files {
		if err := l.file(f, s.texts); err != nil {
			return loadedConfig{}, err
		}
	}
	if err := l.environment(s.environ); err != nil {
		return loadedConfig{}, err
	}
	if err := l.merge(s.flags, fromFlag, func(string) string { return "the flags" }); err != nil {
		return loadedConfig{}, err
	}
	var c Config
	if err := l.k.UnmarshalWithConf("", &c, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		Result: &c, TagName: "koanf", ErrorUnused: true,
	}}); err != nil {
		return loadedConfig{}, fmt.Errorf("configuration: %s: %w", strings.Join(strings.Fields(err.Error()), " "), domain.ErrInvalid)
	}
	c, err := c.resolve()
	if err != nil {
		return loadedConfig{}, l.locate(err)
	}
	return loadedConfig{c, l.from}, nil
}

type loader struct {
	k    *koanf.Koanf
	from map[string]source
}

func (l *loader) file(path string, texts map[string][]byte) error {
	text, given := texts[path]
	if !given {
		var err error
		if text, err = os.ReadFile(path); errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return fmt.Errorf("configuration file: %w: %w", err, domain.ErrInvalid)
		}
	}
	doc, err := parseConfig(path, text)
	if err != nil {
		return err
	}
	return l.merge(doc.Values(), fromFile, func(key string) string {
		if line := doc.Line(key); line > 0 {
			return fmt.Sprintf("%s:%d", path, line)
		}
		return path
	})
}

// parseConfig is tomledit.Parse with an error for the user.
func parseConfig(path string, text []byte) (*tomledit.Document, error) {
	doc, err := tomledit.Parse(text)
	var syntax *tomledit.SyntaxError
	if errors.As(err, &syntax) && syntax.Line > 0 {
		return nil, fmt.Errorf("configuration file %s:%d:%d: %s: %w", path, syntax.Line, syntax.Column, syntax.Problem, domain.ErrInvalid)
	}
	if err != nil {
		return nil, fmt.Errorf("configuration file %s: %w: %w", path, err, domain.ErrInvalid)
	}
	return doc, nil
}

func (l *loader) environment(environ []string) error {
	names := map[string]string{}
	k := koanf.New(".")
	err := k.Load(env.Provider(".", env.Opt{Prefix: envPrefix, EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, value string) (string, any) {
			key, v := envKey(name, value)
			names[key] = name
			return key, v
		}}), nil)
	if err != nil {
		return fmt.Errorf("configuration in the environment: %w", err)
	}
	return l.merge(k.Raw(), fromEnvironment, func(key string) string { return "the environment (" + names[key] + ")" })
}

// merge checks the values of a source and puts them over those before it.
func (l *loader) merge(values map[string]any, kind string, where func(key string) string) error {
	k := koanf.New(".")
	if err := k.Load(confmap.Provider(values, "."), nil); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	fields := configFields(new(Config))
	checked := map[string]any{}
	keys := k.Keys()
	slices.Sort(keys) // one of several mistakes is reported, and always the same
	for _, key := range keys {
		value := k.Get(key)
		field, known := fields[key]
		if !known {
			if table, ok := value.(map[string]any); ok && len(table) == 0 && isTable(key) {
				continue
			}
			return unknownKey(key, where(key))
		}
		row, _ := findConfigKey(key)
		v, err := convert(field.Type(), value, kind != fromFile)
		if err != nil {
			err = fmt.Errorf("want %s, not %s", row.wantTyped(field.Type()), describe(value))
			if row.secret {
				err = fmt.Errorf("want %s", row.want(field.Type()))
			}
			return fmt.Errorf("configuration key %s in %s: %w: %w", key, where(key), err, domain.ErrInvalid)
		}
		if text, ok := v.(string); ok && len(row.values) > 0 {
			v = strings.ToLower(text)
		}
		checked[key] = v
		l.from[key] = source{kind, where(key)}
	}
	return l.k.Load(confmap.Provider(checked, "."), nil)
}

// locate adds where the key was set that an error is about.
func (l *loader) locate(err error) error {
	var bad *keyError
	if !errors.As(err, &bad) {
		return err
	}
	from, ok := l.from[bad.key]
	if !ok {
		return err
	}
	where := fmt.Errorf("configuration key %s%s in %s: %w", bad.key, bad.value, from.where, bad.err)
	if hint := domain.Hint(err); hint != "" {
		return domain.WithHint(where, hint)
	}
	return where
}

func isTable(name string) bool {
	return slices.ContainsFunc(configKeyNames(), func(key string) bool { return strings.HasPrefix(key, name+".") })
}

func envKey(name, value string) (string, any) {
	if slices.Contains(envOutside, name) || strings.HasPrefix(name, envTestPrefix) || value == "" {
		return "", nil
	}
	if key, ok := map[string]string{"ARCBOX_DNS_PORT": "network.dns_port", "ARCBOX_DNS_DOMAIN": "network.domain"}[name]; ok {
		return key, value
	}
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, envPrefix)), "__", "."), value
}

func unknownKey(key, where string) error {
	err := fmt.Errorf("unknown configuration key %q in %s: %w", key, where, domain.ErrInvalid)
	if isTable(key) {
		return domain.WithHint(err, key+" is a table of keys, see arcbox config list")
	}
	if near, ok := domain.Nearest(key, configKeyNames()); ok {
		return domain.WithHint(err, fmt.Sprintf("did you mean %q?", near))
	}
	return domain.WithHint(err, "arcbox config list shows the keys")
}
