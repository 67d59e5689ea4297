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
