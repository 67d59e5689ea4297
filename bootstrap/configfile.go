package bootstrap

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/google/renameio/v2"

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

// Check loads everything with the draft in its file's place.
func (c *configCommand) Check(d cli.ConfigDraft, at string) error {
	_, err := c.check(d, at)
	return err
}

func (c *configCommand) check(d cli.ConfigDraft, at string) (loadedConfig, error) {
	s := c.sources()
	s.files = slices.Clone(s.files)
	for i, f := range s.files {
		if f == d.File {
			s.files[i] = at
		}
	}
	s.texts = map[string][]byte{at: d.Text}
	return s.load()
}

// Apply replaces the file at once; a link in its place stays one.
func (c *configCommand) Apply(d cli.ConfigDraft) (cli.ConfigChange, error) {
	loaded, err := c.check(d, d.File)
	if err != nil {
		return cli.ConfigChange{}, err
	}
	out := cli.ConfigChange{File: d.File, Changed: changedKeys(d.Base, d.Text)}
	for _, key := range out.Changed {
		if row, ok := findConfigKey(key); ok && !row.live {
			out.Restart = true
		}
		if from, ok := loaded.from[key]; ok && !strings.HasPrefix(from.where, d.File) {
			out.Overridden = key + " is also set in " + from.where + ", which wins"
		}
	}
	if bytes.Equal(d.Base, d.Text) {
		return out, nil
	}
	now, err := os.ReadFile(d.File)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return cli.ConfigChange{}, fmt.Errorf("configuration file: %w", err)
	}
	if !bytes.Equal(now, d.Base) {
		return cli.ConfigChange{}, fmt.Errorf("%s was changed by another program meanwhile: %w", d.File, domain.ErrInvalidState)
	}
	return out, c.write(d)
}

func (c *configCommand) write(d cli.ConfigDraft) error {
	file, mode, dirMode := d.File, os.FileMode(0o600), os.FileMode(0o700)
	if d.File == c.files[0] {
		mode, dirMode = 0o644, 0o755 // for all users
	}
	if target, err := filepath.EvalSymlinks(file); err == nil {
		file = target
	}
	if st, err := os.Stat(file); err == nil {
		mode = st.Mode().Perm()
	}
	err := os.MkdirAll(filepath.Dir(file), dirMode)
	if err == nil {
		err = renameio.WriteFile(file, d.Text, mode, renameio.IgnoreUmask())
	}
	if errors.Is(err, fs.ErrPermission) && d.File == c.files[0] {
		return domain.WithHint(fmt.Errorf("write the configuration: %w", err), "sudo arcbox config, for the file of all users")
	}
	if err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	return nil
}

// changedKeys are the keys whose values differ between two texts that were checked.
func changedKeys(before, after []byte) []string {
	was, now := flatValues(before), flatValues(after)
	changed := []string{}
	for key, v := range now {
		if old, ok := was[key]; !ok || !reflect.DeepEqual(old, v) {
			changed = append(changed, key)
		}
	}
	for key := range was {
		if _, ok := now[key]; !ok {
			changed = append(changed, key)
		}
	}
	slices.Sort(changed)
	return changed
}

func flatValues(text []byte) map[string]any {
	out := map[string]any{}
	doc, err := tomledit.Parse(text)
	if err != nil {
		return out
	}
	var walk func(prefix string, in map[string]any)
	walk = func(prefix string, in map[string]any) {
		for k, v := range in {
			if t, ok := v.(map[string]any); ok {
				walk(prefix+k+".", t)
				continue
			}
			out[prefix+k] = v
		}
	}
	walk("", doc.Values())
	return out
}
