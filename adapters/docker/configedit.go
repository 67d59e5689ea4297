package docker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"arcbox/domain"
)

// currentKey holds the current context's name in Docker's config.json.
const currentKey = "currentContext"

// member is one key of a JSON object and where it stands in the text.
type member struct {
	key                  string
	start, value, endsAt int // offsets: of the key, of the value, after the value
}

// checkObject returns domain.ErrInvalid unless text is one JSON object.
func checkObject(text []byte) error {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil {
		return fmt.Errorf("not a JSON object: %w: %w", domain.ErrInvalid, err)
	}
	if object == nil {
		return fmt.Errorf("not a JSON object: %w", domain.ErrInvalid)
	}
	return nil
}

// members lists an object's members in their order. text passed checkObject.
func members(text []byte) []member {
	d := json.NewDecoder(bytes.NewReader(text))
	_, _ = d.Token() // {
	var list []member
	for d.More() {
		start := int(d.InputOffset())
		start += bytes.IndexByte(text[start:], '"')
		key, err := d.Token()
		if err != nil {
			return list
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return list
		}
		end := int(d.InputOffset())
		name, _ := key.(string)
		list = append(list, member{name, start, end - len(value), end})
	}
	return list
}

// find returns the member that the Docker CLI reads for key: names match in
// any case, and the last of several counts.
func find(text []byte, key string) (member, bool) {
	list := members(text)
	for i := len(list) - 1; i >= 0; i-- {
		if strings.EqualFold(list[i].key, key) {
			return list[i], true
		}
	}
	return member{}, false
}

// topString returns a member of the object in text, "" if it is not there or
// no string.
func topString(text []byte, key string) (value string, found bool) {
	m, found := find(text, key)
	if found {
		_ = json.Unmarshal(text[m.value:m.endsAt], &value)
	}
	return value, found
}

// setTopString returns text with a member set, everything else as it was. Nil
// text is an object without members.
func setTopString(text []byte, key, value string) []byte {
	quoted, _ := json.Marshal(value) // strings always marshal
	if len(text) == 0 {
		return fmt.Appendf(nil, "{\n\t%q: %s\n}\n", key, quoted)
	}
	if m, found := find(text, key); found {
		return splice(text, m.value, m.endsAt, string(quoted))
	}
	list := members(text)
	if len(list) == 0 {
		open, end := bytes.IndexByte(text, '{'), bytes.LastIndexByte(text, '}')
		return splice(text, open, end+1, fmt.Sprintf("{\n\t%q: %s\n}", key, quoted))
	}
	// The new member stands after the last one, spaced as the first one is.
	first, last := list[0], list[len(list)-1]
	space := string(text[bytes.IndexByte(text, '{')+1 : first.start])
	colon := string(text[first.value-1 : first.value])
	if colon != " " {
		colon = ""
	}
	return splice(text, last.endsAt, last.endsAt, fmt.Sprintf(",%s%q:%s%s", space, key, colon, quoted))
}

// removeTop returns text without the members called key.
func removeTop(text []byte, key string) []byte {
	for {
		m, found := find(text, key)
		if !found {
			return text
		}
		list := members(text)
		start, end := bytes.IndexByte(text, '{')+1, m.endsAt
		switch i := indexOf(list, m); {
		case i > 0:
			start = list[i-1].endsAt // takes the comma before it along
		case len(list) > 1:
			start, end = m.start, list[1].start
		default:
			end = bytes.LastIndexByte(text, '}')
		}
		text = splice(text, start, end, "")
	}
}

func indexOf(list []member, m member) int {
	for i := range list {
		if list[i] == m {
			return i
		}
	}
	return -1
}

func splice(text []byte, start, end int, with string) []byte {
	out := make([]byte, 0, len(text)+len(with))
	out = append(out, text[:start]...)
	out = append(out, with...)
	return append(out, text[end:]...)
}
