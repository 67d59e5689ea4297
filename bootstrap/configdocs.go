package bootstrap

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"arcbox/bootstrap/tomledit"
)

// defaultOf is the default of a key as TOML and JSON have it; ok is false where
// it depends on the host or the build, and row.shown says it in words.
func defaultOf(row configKey, v reflect.Value) (value any, ok bool) {
	return plain(v), row.shown == ""
}

// ConfigMarkdown is the reference of the keys as a table.
func ConfigMarkdown() string {
	defaults := DefaultConfig()
	fields := configFields(&defaults)
	var b strings.Builder
	b.WriteString("| key | default | allowed | meaning |\n|---|---|---|---|\n")
	for _, row := range configKeys() {
		v := fields[row.key]
		shown := row.shown
		if value, ok := defaultOf(row, v); ok {
			shown = ""
			if !v.IsZero() || v.Kind() == reflect.Bool || v.CanInt() || v.CanUint() {
				shown = fmt.Sprintf("`%v`", value)
			}
			if v.Kind() == reflect.Slice && v.Len() == 0 {
				shown = ""
			}
		} else if shown != "the build's" {
			shown = "`" + shown + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", row.key, shown, row.want(v.Type()), row.meaning)
	}
	return b.String()
}

// sentence is a meaning as plain text of its own.
func sentence(meaning string) string {
	text := strings.ReplaceAll(meaning, "`", "")
	if meaning[0] != '`' { // a value is spelt as it is
		text = strings.ToUpper(text[:1]) + text[1:]
	}
	return text + "."
}

// schemaNode is the part of JSON schema (draft 2020-12) that is needed here.
type schemaNode struct {
	Schema      string        `json:"$schema,omitempty"`
	Title       string        `json:"title,omitempty"`
	Description string        `json:"description,omitempty"`
	Type        string        `json:"type,omitempty"`
	AnyOf       []*schemaNode `json:"anyOf,omitempty"`
	Enum        []string      `json:"enum,omitempty"`
	Const       *int64        `json:"const,omitempty"`
	Pattern     string        `json:"pattern,omitempty"`
	Minimum     *int64        `json:"minimum,omitempty"`
	Maximum     *int64        `json:"maximum,omitempty"`
	Items       *schemaNode   `json:"items,omitempty"`
	Default     any           `json:"default,omitempty"`
	WriteOnly   bool          `json:"writeOnly,omitempty"`
	Properties  properties    `json:"properties,omitempty"`
	Additional  *bool         `json:"additionalProperties,omitempty"`
}

// properties keep their order.
type properties []property

type property struct {
	name string
	node *schemaNode
}

// MarshalJSON writes an object.
func (p properties) MarshalJSON() ([]byte, error) {
	var b strings.Builder
	for i, one := range p {
		if i > 0 {
			b.WriteByte(',')
		}
		data, err := json.Marshal(one.node)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%q:%s", one.name, data)
	}
	return []byte("{" + b.String() + "}"), nil
}

// table returns the node of the object name, and adds it where it is missing.
func (n *schemaNode) table(name string) *schemaNode {
	for _, p := range n.Properties {
		if p.name == name {
			return p.node
		}
	}
	closed := false
	sub := &schemaNode{Type: "object", Additional: &closed}
	n.Properties = append(n.Properties, property{name, sub})
	return sub
}

// ConfigSchema is the JSON schema of a configuration file, for editors.
func ConfigSchema() []byte {
	defaults := DefaultConfig()
	fields := configFields(&defaults)
	closed := false
	root := &schemaNode{Schema: "https://json-schema.org/draft/2020-12/schema", Title: "ArcBox configuration (config.toml)", Type: "object", Additional: &closed}
	for _, row := range configKeys() {
		at, name := root, row.key
		if table, key, ok := strings.Cut(row.key, "."); ok {
			at, name = root.table(table), key
		}
		at.Properties = append(at.Properties, property{name, keySchema(row, fields[row.key])})
	}
	out, err := json.MarshalIndent(root, "", "  ")
	if err != nil { // a table of constants
		panic(err)
	}
	return append(out, '\n')
}

func keySchema(row configKey, v reflect.Value) *schemaNode {
	n := &schemaNode{Description: sentence(row.meaning), WriteOnly: row.secret}
	if row.allowed != "" {
		n.Description += " Allowed: " + row.allowed + "."
	}
	zero := int64(0)
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		n.AnyOf = []*schemaNode{{Type: "string", Pattern: `^[0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h)([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))*$|^0$`}, {Const: &zero}}
	case v.Kind() == reflect.Slice:
		n.Type, n.Items = "array", &schemaNode{Type: "string"}
	case v.Kind() == reflect.Bool:
		n.Type = "boolean"
	case v.Kind() == reflect.String:
		n.Type, n.Enum = "string", row.values
	case row.zero:
		n.AnyOf = []*schemaNode{{Const: &zero}, {Type: "integer", Minimum: &row.min, Maximum: &row.max}}
	default:
		n.Type, n.Minimum = "integer", &row.min
		if row.max != 0 {
			n.Maximum = &row.max
		}
	}
	if value, ok := defaultOf(row, v); ok {
		n.Default = value
	} else {
		n.Description += " Default: " + row.shown + "."
	}
	return n
}

// ConfigExample is a configuration file with every key, its meaning and its
// default, all of it comments.
func ConfigExample() []byte {
	defaults := DefaultConfig()
	fields := configFields(&defaults)
	var b strings.Builder
	b.WriteString(`# Configuration of ArcBox: ~/.config/arcbox/config.toml, or /etc/arcbox/config.toml for all users.
# Every key is shown with its default. Remove the "#" before one to change it, or
# let arcbox config set do it: it keeps comments and order.
`)
	table := ""
	for _, row := range configKeys() {
		name := row.key
		if t, key, ok := strings.Cut(row.key, "."); ok {
			if name = key; t != table {
				fmt.Fprintf(&b, "\n[%s]\n", t)
				table = t
			}
		}
		v := fields[row.key]
		b.WriteByte('\n')
		for _, line := range wrap(sentence(row.meaning), 96) {
			b.WriteString("# " + line + "\n")
		}
		b.WriteString("# Allowed: " + row.want(v.Type()) + ".\n")
		value, ok := defaultOf(row, v)
		literal, err := tomledit.Literal(value)
		if err != nil { // a default of this package
			panic(err)
		}
		switch {
		case ok:
		case row.shown[0] == '[':
			literal = row.shown
		case row.shown[0] == '~':
			literal = fmt.Sprintf("%q", row.shown)
		default: // what an empty string stands for
			literal = `""`
			b.WriteString("# Default: " + row.shown + ".\n")
		}
		b.WriteString("#" + name + " = " + literal + "\n")
	}
	return []byte(b.String())
}

// wrap breaks a text at blanks.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}
