package tomledit

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
)

// Literal writes a bool, an int64, a string or a []string as TOML does, on one line.
func Literal(value any) (string, error) {
	switch v := value.(type) {
	case bool:
		return strconv.FormatBool(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case string:
		return quote(v)
	case []string:
		parts := make([]string, len(v))
		for i, s := range v {
			var err error
			if parts[i], err = quote(s); err != nil {
				return "", err
			}
		}
		return "[" + strings.Join(parts, ", ") + "]", nil
	}
	return "", fmt.Errorf("a %T has no form in TOML here", value)
}

// quote writes a basic string.
func quote(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("%q is not UTF-8", s)
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String(), nil
}

// unquote reads the text of a quoted key, and returns what it cannot read as it is.
func unquote(quoted string) string {
	var v struct{ X string }
	if err := toml.Unmarshal([]byte("X = "+quoted), &v); err != nil {
		return quoted
	}
	return v.X
}

// put sets the value at a path, and makes the tables on the way.
func put(in map[string]any, path []string, value any) {
	for _, p := range path[:len(path)-1] {
		next, ok := in[p].(map[string]any)
		if !ok {
			next = map[string]any{}
			in[p] = next
		}
		in = next
	}
	in[path[len(path)-1]] = value
}

func remove(in map[string]any, path []string) {
	for _, p := range path[:len(path)-1] {
		next, ok := in[p].(map[string]any)
		if !ok {
			return
		}
		in = next
	}
	delete(in, path[len(path)-1])
}

func has(in map[string]any, path []string) bool {
	for _, p := range path[:len(path)-1] {
		next, ok := in[p].(map[string]any)
		if !ok {
			return false
		}
		in = next
	}
	_, ok := in[path[len(path)-1]]
	return ok
}

// prune removes tables without keys: a dotted key that goes takes its table
// with it, which is no change of a value.
func prune(in map[string]any) {
	for k, v := range in {
		if t, ok := v.(map[string]any); ok {
			if prune(t); len(t) == 0 {
				delete(in, k)
			}
		}
	}
}
