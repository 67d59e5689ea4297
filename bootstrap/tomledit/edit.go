// Package tomledit changes single values in the text of a TOML file and leaves
// every other byte of it, comments and order among them, as the user wrote it.
package tomledit

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// ErrByHand is a text in which a key cannot be changed in place, such as one
// whose table is written inline. Nothing was changed.
var ErrByHand = errors.New("cannot be changed in place")

// SyntaxError is a text that is not TOML.
type SyntaxError struct {
	Line, Column int // from 1; 0 when they are not known
	Problem      string
}

func (e *SyntaxError) Error() string { return e.Problem }

// Document is a text that is valid TOML.
type Document struct {
	text       string
	statements []statement
	values     map[string]any
}

// Parse returns the document of a text, or a *SyntaxError.
func Parse(text []byte) (*Document, error) {
	d := &Document{text: string(text)}
	if err := toml.Unmarshal(text, &d.values); err != nil {
		bad := &SyntaxError{Problem: strings.TrimPrefix(err.Error(), "toml: ")}
		var at *toml.DecodeError
		if errors.As(err, &at) {
			bad.Line, bad.Column = at.Position()
		}
		return nil, bad
	}
	if d.values == nil {
		d.values = map[string]any{}
	}
	d.statements = scan(d.text)
	return d, nil
}

// Values are the decoded tables; the caller must not change them.
func (d *Document) Values() map[string]any { return d.values }

// Line is where a key is set, from 1: that of the inline table or of the header
// that holds it where it has no line of its own, 0 where it is not set.
func (d *Document) Line(key string) int {
	path := strings.Split(key, ".")
	best, line := -1, 0
	for _, st := range d.statements {
		n := len(st.path)
		if n > len(path) || n <= best || !slices.Equal(st.path, path[:n]) {
			continue
		}
		best, line = n, st.line
	}
	return line
}

// Set returns the text with one key set to literal, which is the value as TOML
// writes it (see Literal). A key that is there keeps its place and its comment;
// another goes to the end of its table. The result is parsed and compared: an
// error, and no text, is returned when anything but that key would differ.
func (d *Document) Set(key, literal string) ([]byte, error) {
	var value struct{ X any }
	if err := toml.Unmarshal([]byte("X = "+literal), &value); err != nil {
		return nil, fmt.Errorf("%s is no TOML value: %w", literal, err)
	}
	path := strings.Split(key, ".")
	text, err := d.set(path, literal)
	if err != nil {
		return nil, err
	}
	if err := d.verify(text, func(want map[string]any) { put(want, path, value.X) }); err != nil {
		return nil, err
	}
	return []byte(text), nil
}

// Unset returns the text without the lines that set a key; the text as it is,
// and false, when it is not set.
func (d *Document) Unset(key string) ([]byte, bool, error) {
	path := strings.Split(key, ".")
	for _, st := range d.statements {
		if st.header || !slices.Equal(st.path, path) {
			continue
		}
		text := d.text[:st.start] + d.text[st.end:]
		if err := d.verify(text, func(want map[string]any) { remove(want, path) }); err != nil {
			return nil, false, err
		}
		return []byte(text), true, nil
	}
	if at, ok := d.inline(path); ok && has(d.values, path) {
		return nil, false, byHand(at)
	}
	return []byte(d.text), false, nil
}

func byHand(st statement) error {
	return fmt.Errorf("%s on line %d is an inline table: %w", strings.Join(st.path, "."), st.line, ErrByHand)
}

// inline finds the inline table that holds a key.
func (d *Document) inline(path []string) (statement, bool) {
	for _, st := range d.statements {
		if !st.header && len(st.path) < len(path) && slices.Equal(st.path, path[:len(st.path)]) {
			return st, true
		}
	}
	return statement{}, false
}

func (d *Document) set(path []string, literal string) (string, error) {
	for _, st := range d.statements {
		if !st.header && slices.Equal(st.path, path) {
			return d.text[:st.value] + literal + d.text[st.after:], nil
		}
	}
	if st, ok := d.inline(path); ok {
		return "", byHand(st)
	}
	table := path[:len(path)-1]
	after := d.last(func(st statement) bool {
		return st.header && !st.array && slices.Equal(st.path, table) || !st.header && slices.Equal(st.table, table)
	})
	if after == nil { // perhaps the table is written with dotted keys
		after = d.last(func(st statement) bool {
			return !st.header && len(st.table) < len(table) && len(st.path) > len(table) && slices.Equal(st.path[:len(table)], table)
		})
	}
	switch {
	case after != nil:
		relative := path[len(after.table):]
		if after.header {
			relative = path[len(after.path):]
		}
		return d.insert(after.end, after.indent(d.text)+strings.Join(relative, ".")+" = "+literal), nil
	case len(table) == 0:
		return d.insert(d.beforeTables(), strings.Join(path, ".")+" = "+literal), nil
	default:
		header := "[" + strings.Join(table, ".") + "]" + d.eol() + path[len(path)-1] + " = " + literal
		if strings.TrimSpace(d.text) != "" {
			header = d.eol() + header
		}
		return d.insert(len(d.text), header), nil
	}
}

// last returns the last statement of which is holds, nil for none.
func (d *Document) last(is func(statement) bool) *statement {
	for i := len(d.statements) - 1; i >= 0; i-- {
		if is(d.statements[i]) {
			return &d.statements[i]
		}
	}
	return nil
}

// indent is that of a key; a header's own says nothing of the keys in it.
func (st *statement) indent(text string) string {
	if st.header {
		return ""
	}
	line := text[st.start:st.end]
	return line[:len(line)-len(strings.TrimLeft(line, " \t"))]
}

// beforeTables is where a key of no table goes: before the first header and the
// comment that belongs to it.
func (d *Document) beforeTables() int {
	i := slices.IndexFunc(d.statements, func(st statement) bool { return st.header })
	if i < 0 {
		return len(d.text)
	}
	at := d.statements[i].start
	for at > 0 {
		start := strings.LastIndexByte(d.text[:at-1], '\n') + 1
		if !strings.HasPrefix(strings.TrimLeft(d.text[start:at], " \t"), "#") {
			break
		}
		at = start
	}
	return at
}

func (d *Document) eol() string {
	if strings.Contains(d.text, "\r\n") {
		return "\r\n"
	}
	return "\n"
}

// insert puts lines at an offset that begins a line, or that ends the text.
func (d *Document) insert(at int, lines string) string {
	before := d.text[:at]
	if before != "" && !strings.HasSuffix(before, "\n") {
		before += d.eol()
	}
	return before + lines + d.eol() + d.text[at:]
}

// verify decodes a changed text and compares it with what was to come out.
func (d *Document) verify(text string, change func(map[string]any)) error {
	var got, want map[string]any
	if err := toml.Unmarshal([]byte(text), &got); err != nil {
		return fmt.Errorf("the changed file would not be valid (%w): %w", err, ErrByHand)
	}
	if err := toml.Unmarshal([]byte(d.text), &want); err != nil {
		return err
	}
	if got == nil {
		got = map[string]any{}
	}
	if want == nil {
		want = map[string]any{}
	}
	change(want)
	prune(got)
	prune(want)
	if !reflect.DeepEqual(got, want) {
		return fmt.Errorf("other keys of the file would change: %w", ErrByHand)
	}
	return nil
}
