package darwin

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// parsePlist reads a property list in XML as Apple's document type describes it:
// dictionaries are maps, arrays are slices, integers are ints.
func parsePlist(data []byte) (any, error) {
	d := xml.NewDecoder(strings.NewReader(string(data)))
	var root *xml.StartElement
	for root == nil {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		if e, ok := token.(xml.StartElement); ok {
			root = &e
		}
	}
	if root.Name.Local != "plist" {
		return nil, fmt.Errorf("root is <%s>", root.Name.Local)
	}
	values, err := plistValues(d)
	switch {
	case err != nil:
		return nil, err
	case len(values) != 1:
		return nil, fmt.Errorf("%d values, want 1", len(values))
	}
	if token, err := d.Token(); !errors.Is(err, io.EOF) {
		if text, ok := token.(xml.CharData); !ok || strings.TrimSpace(string(text)) != "" {
			return nil, fmt.Errorf("there is more after the list: %v, %w", token, err)
		}
	}
	return values[0], nil
}

type plistKey string

// plistValues reads to the end of the element around them.
func plistValues(d *xml.Decoder) ([]any, error) {
	var values []any
	for {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		switch token := token.(type) {
		case xml.EndElement:
			return values, nil
		case xml.CharData:
			if text := strings.TrimSpace(string(token)); text != "" {
				return nil, fmt.Errorf("stray text %q", text)
			}
		case xml.StartElement:
			v, err := plistValue(d, token)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", token.Name.Local, err)
			}
			values = append(values, v)
		}
	}
}

func plistValue(d *xml.Decoder, e xml.StartElement) (any, error) {
	switch e.Name.Local {
	case "dict":
		values, err := plistValues(d)
		if err != nil {
			return nil, err
		}
		return plistDict(values)
	case "array":
		return plistValues(d)
	}
	var text string
	if err := d.DecodeElement(&text, &e); err != nil {
		return nil, err
	}
	switch e.Name.Local {
	case "key":
		return plistKey(text), nil
	case "string":
		return text, nil
	case "integer":
		return strconv.Atoi(text)
	case "true", "false":
		return e.Name.Local == "true", nil
	default:
		return nil, errors.New("no such element")
	}
}

func plistDict(values []any) (map[string]any, error) {
	dict := map[string]any{}
	for len(values) > 1 {
		key, ok := values[0].(plistKey)
		if !ok {
			return nil, fmt.Errorf("%v where a key belongs", values[0])
		}
		if _, there := dict[string(key)]; there {
			return nil, fmt.Errorf("key %s is there twice", key)
		}
		if _, isKey := values[1].(plistKey); isKey {
			return nil, fmt.Errorf("key %s without a value", key)
		}
		dict[string(key)], values = values[1], values[2:]
	}
	if len(values) > 0 {
		return nil, fmt.Errorf("%v without a value", values[0])
	}
	return dict, nil
}
