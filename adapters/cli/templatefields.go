package cli

import (
	"maps"
	"reflect"
	"slices"
	"strings"
)

// templateFields is a result as a template sees it: structs are maps with the
// names of JSON. Unlike in JSON no field is left out, so that a template that
// names one works whatever its value, and a misspelt one is an error.
func templateFields(v any) any { return fieldsOf(reflect.ValueOf(v)) }

func fieldsOf(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			if v.Kind() == reflect.Pointer && v.Type().Elem().Kind() == reflect.Struct {
				return map[string]any(nil) // false in {{with}}
			}
			return nil
		}
		return fieldsOf(v.Elem())
	case reflect.Struct:
		out := map[string]any{}
		addFields(out, v)
		return out
	case reflect.Map:
		out := map[string]any{}
		for _, k := range v.MapKeys() {
			out[k.String()] = fieldsOf(v.MapIndex(k))
		}
		return out
	case reflect.Slice:
		out := make([]any, v.Len())
		for i := range out {
			out[i] = fieldsOf(v.Index(i))
		}
		return out
	case reflect.Invalid:
		return nil
	}
	return v.Interface()
}

func addFields(out map[string]any, v reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			addFields(out, v.Field(i))
		case name == "-" || !f.IsExported():
		case name == "":
			out[f.Name] = fieldsOf(v.Field(i))
		default:
			out[name] = fieldsOf(v.Field(i))
		}
	}
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }
