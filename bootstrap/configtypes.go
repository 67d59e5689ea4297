package bootstrap

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// typeName is what a user calls a type.
func typeName(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return `a duration in quotes such as "5m"`
	case t.Kind() == reflect.Slice:
		return "a list of strings"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.String:
		return "a string"
	}
	return "a whole number"
}

// configFields are the fields of a configuration by key; they can be set.
func configFields(c *Config) map[string]reflect.Value {
	out := map[string]reflect.Value{}
	var walk func(prefix string, v reflect.Value)
	walk = func(prefix string, v reflect.Value) {
		for i := range v.NumField() {
			key := prefix + v.Type().Field(i).Tag.Get("koanf")
			if v.Field(i).Kind() == reflect.Struct {
				walk(key+".", v.Field(i))
				continue
			}
			out[key] = v.Field(i)
		}
	}
	walk("", reflect.ValueOf(c).Elem())
	return out
}

// plain is a field's value as TOML and JSON have it.
func plain(v reflect.Value) any {
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		return durationText(time.Duration(v.Int()))
	case v.Kind() == reflect.Slice:
		return append([]string{}, v.Interface().([]string)...)
	case v.Kind() == reflect.Bool:
		return v.Bool()
	case v.Kind() == reflect.String:
		return v.String()
	case v.CanUint():
		return int64(v.Uint()) // bounded by the checks
	}
	return v.Int()
}

// durationText is the shortest form: 5m, not 5m0s.
func durationText(d time.Duration) string {
	text := d.String()
	if d == 0 {
		return "0"
	}
	if cut, ok := strings.CutSuffix(text, "m0s"); ok {
		text = cut + "m"
	}
	if cut, ok := strings.CutSuffix(text, "h0m"); ok {
		text = cut + "h"
	}
	return text
}

// convert makes a value of type t of what a source says. A file has types of
// its own, and loose says that this source has only strings.
func convert(t reflect.Type, value any, loose bool) (any, error) {
	text, isText := value.(string)
	wrong := fmt.Errorf("want %s, not %s", typeName(t), describe(value))
	switch {
	case t == reflect.TypeFor[time.Duration]():
		if n, ok := value.(int64); ok && n == 0 {
			return time.Duration(0), nil
		}
		if d, ok := value.(time.Duration); ok {
			return d, nil
		}
		if !isText {
			return nil, wrong
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			return nil, wrong
		}
		return d, nil
	case t.Kind() == reflect.Slice:
		if isText && loose {
			return splitList(text), nil
		}
		if l, ok := value.([]string); ok {
			return l, nil
		}
		list, ok := value.([]any)
		out := make([]string, len(list))
		for i, e := range list {
			if out[i], ok = e.(string); !ok {
				return nil, wrong
			}
		}
		if !ok {
			return nil, wrong
		}
		return out, nil
	case t.Kind() == reflect.Bool:
		if b, ok := value.(bool); ok {
			return b, nil
		}
		if b, err := strconv.ParseBool(text); isText && loose && err == nil {
			return b, nil
		}
		return nil, wrong
	case t.Kind() == reflect.String:
		if !isText {
			return nil, wrong
		}
		return text, nil
	}
	return convertNumber(t, value, loose, wrong)
}

func convertNumber(t reflect.Type, value any, loose bool, wrong error) (any, error) {
	v := reflect.ValueOf(value)
	var n int64
	switch {
	case value != nil && v.CanInt():
		n = v.Int()
	case value != nil && v.CanUint() && v.Uint() < 1<<62:
		n = int64(v.Uint())
	case loose && value != nil && v.Kind() == reflect.String:
		var err error
		if n, err = strconv.ParseInt(v.String(), 10, 64); err != nil {
			return nil, wrong
		}
	default:
		return nil, wrong
	}
	target := reflect.New(t).Elem()
	if target.CanUint() {
		if n < 0 || target.OverflowUint(uint64(n)) {
			return nil, wrong
		}
	} else if target.OverflowInt(n) {
		return nil, wrong
	}
	return n, nil
}

func describe(value any) string {
	switch v := value.(type) {
	case string:
		return strconv.Quote(v)
	case nil:
		return "nothing"
	case []any, []string:
		return "a list"
	case map[string]any:
		return "a table"
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	return fmt.Sprint(value)
}

func splitList(text string) []string {
	out := []string{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}
