package bootstrap

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"

	"arcbox/adapters/cli"
	"arcbox/bootstrap/tomledit"
	"arcbox/domain"
)

// configCommand is the configuration as arcbox config shows and changes it.
type configCommand struct {
	files   []string // the system's and, unless there is no home, the user's
	environ []string
	flags   map[string]any
}

func (c *configCommand) sources() configSources {
	return configSources{files: c.files, environ: c.environ, flags: c.flags}
}

func (c *configCommand) Keys() []cli.ConfigKey {
	fields := configFields(new(Config))
	var out []cli.ConfigKey
	for _, row := range configKeys() {
		t := fields[row.key].Type()
		k := cli.ConfigKey{Key: row.key, Meaning: sentence(row.meaning), Allowed: row.want(t), Values: row.values,
			List: t.Kind() == reflect.Slice, Restart: !row.live}
		if t.Kind() == reflect.Bool {
			k.Values = []string{"true", "false"}
		}
		out = append(out, k)
	}
	return out
}

func (c *configCommand) Values() ([]cli.ConfigValue, error) {
	l, err := c.sources().load()
	if err != nil {
		return nil, err
	}
	return l.values(c.Keys()), nil
}

func (l loadedConfig) values(keys []cli.ConfigKey) []cli.ConfigValue {
	fields := configFields(&l.Config)
	out := make([]cli.ConfigValue, 0, len(keys))
	for _, k := range keys {
		v := cli.ConfigValue{ConfigKey: k, Value: plain(fields[k.Key]), Source: fromDefault}
		v.Shown = fmt.Sprint(v.Value)
		if list, ok := v.Value.([]string); ok {
			v.Shown = strings.Join(list, ", ")
		}
		if row, _ := findConfigKey(k.Key); row.secret {
			shown := strings.TrimPrefix(domain.Proxy{HTTP: v.Shown}.String(), "http=")
			v.Redacted, v.Shown = shown != v.Shown, shown
		}
		if from, ok := l.from[k.Key]; ok {
			v.Source, v.Where = from.kind, from.where
		}
		out = append(out, v)
	}
	return out
}

func (c *configCommand) Files() []cli.ConfigFile {
	var out []cli.ConfigFile
	for i, f := range c.files {
		_, err := os.Stat(f)
		out = append(out, cli.ConfigFile{Path: f, Exists: err == nil, User: i == 1})
	}
	return out
}

func (c *configCommand) Schema() []byte { return ConfigSchema() }

func (c *configCommand) Editor() string {
	found := ""
	for _, name := range []string{"EDITOR", "VISUAL"} { // the last one wins
		for _, e := range c.environ {
			if v, ok := strings.CutPrefix(e, name+"="); ok && v != "" {
				found = v
			}
		}
	}
	return found
}

func (c *configCommand) file(system bool) (string, error) {
	if system {
		return c.files[0], nil
	}
	if len(c.files) < 2 {
		return "", domain.WithHint(fmt.Errorf("this user has no home directory: %w", domain.ErrNotFound), "--system changes "+c.files[0])
	}
	return c.files[1], nil
}

// Draft begins with the annotated example where there is no file yet.
func (c *configCommand) Draft(system bool) (cli.ConfigDraft, error) {
	d, err := c.current(system)
	if err == nil && d.Base == nil {
		d.Text = ConfigExample()
	}
	return d, err
}

func (c *configCommand) current(system bool) (cli.ConfigDraft, error) {
	f, err := c.file(system)
	if err != nil {
		return cli.ConfigDraft{}, err
	}
	text, err := os.ReadFile(f)
	if errors.Is(err, fs.ErrNotExist) {
		return cli.ConfigDraft{File: f}, nil
	}
	if err != nil {
		return cli.ConfigDraft{}, fmt.Errorf("configuration file: %w", err)
	}
	return cli.ConfigDraft{File: f, Text: text, Base: append([]byte{}, text...)}, nil
}

func (c *configCommand) Set(key string, values []string, system bool) (cli.ConfigChange, error) {
	row, ok := findConfigKey(key)
	if !ok {
		return cli.ConfigChange{}, unknownKey(key, "the command line")
	}
	t := configFields(new(Config))[key].Type()
	literal, err := configLiteral(row, t, values)
	if err != nil {
		return cli.ConfigChange{}, err
	}
	return c.change(system, key, func(d *tomledit.Document) ([]byte, error) { return d.Set(key, literal) })
}

// configLiteral is what the user's words for a key are in TOML.
func configLiteral(row configKey, t reflect.Type, values []string) (string, error) {
	bad := func(err error) (string, error) {
		return "", fmt.Errorf("configuration key %s: %w: %w", row.key, err, domain.ErrInvalid)
	}
	var said any = values
	if t.Kind() != reflect.Slice {
		if len(values) != 1 {
			return bad(fmt.Errorf("want one value, %s, not %d", row.want(t), len(values)))
		}
		said = values[0]
	} else if len(values) == 1 {
		said = splitList(values[0])
	}
	v, err := convert(t, said, true)
	if err != nil && row.secret {
		err = fmt.Errorf("want %s", row.want(t))
	} else if err != nil {
		err = fmt.Errorf("want %s, not %s", row.want(t), describe(said))
	}
	if err != nil {
		return bad(err)
	}
	if text, ok := v.(string); ok && len(row.values) > 0 {
		v = strings.ToLower(text)
	}
	if text, ok := said.(string); ok && t.String() == "time.Duration" {
		v = text // as the user writes it
	}
	literal, err := tomledit.Literal(v)
	if err != nil {
		return bad(err)
	}
	return literal, nil
}

// Unset also takes away keys that are unknown: a misspelt one is a reason to.
func (c *configCommand) Unset(key string, system bool) (cli.ConfigChange, error) {
	return c.change(system, key, func(d *tomledit.Document) ([]byte, error) {
		text, found, err := d.Unset(key)
		if err == nil && !found && !slices.Contains(configKeyNames(), key) {
			err = unknownKey(key, "the command line")
		}
		return text, err
	})
}

func (c *configCommand) change(system bool, key string, edit func(*tomledit.Document) ([]byte, error)) (cli.ConfigChange, error) {
	d, err := c.current(system)
	if err != nil {
		return cli.ConfigChange{}, err
	}
	doc, err := parseConfig(d.File, d.Text)
	if err != nil {
		return cli.ConfigChange{}, domain.WithHint(err, "arcbox config edit")
	}
	if d.Text, err = edit(doc); errors.Is(err, tomledit.ErrByHand) {
		err = domain.WithHint(fmt.Errorf("configuration key %s in %s: %w: %w", key, d.File, err, domain.ErrInvalid), "arcbox config edit")
	}
	if err != nil {
		return cli.ConfigChange{}, err
	}
	return c.Apply(d)
}
