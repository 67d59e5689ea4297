package domain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// jsonSpan is where a JSON value stands in a text.
type jsonSpan struct{ start, end int }

func (s jsonSpan) of(text []byte) []byte { return text[s.start:s.end] }

// jsonObject is an object of a text with its members in their order.
type jsonObject struct {
	found   bool
	span    jsonSpan
	members []jsonMember
}

type jsonMember struct {
	key   string
	value jsonSpan
}

// jsonField is the member of an object that has a key; not found, if none has.
type jsonField struct {
	found bool
	value jsonSpan
}

// firstObject reads the first value of a text if it is an object. What follows
// it is not looked at: dockerd's decoder does not reject all of that.
func firstObject(text []byte) (jsonObject, bool) {
	d := json.NewDecoder(bytes.NewReader(text))
	var raw json.RawMessage
	if d.Decode(&raw) != nil {
		return jsonObject{}, false
	}
	end := int(d.InputOffset())
	return jsonField{found: true, value: jsonSpan{end - len(raw), end}}.object(text)
}

// object reads a value that is an object. The text was decoded before: its
// syntax is right.
func (f jsonField) object(text []byte) (jsonObject, bool) {
	if !f.found {
		return jsonObject{}, false
	}
	d := json.NewDecoder(bytes.NewReader(f.value.of(text)))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return jsonObject{}, false
	}
	o := jsonObject{found: true, span: f.value}
	for d.More() {
		key, err := d.Token()
		name, ok := key.(string)
		span, more := f.next(d)
		if err != nil || !ok || !more {
			return jsonObject{}, false
		}
		o.members = append(o.members, jsonMember{name, span})
	}
	return o, true
}

// elements reads a value that is an array.
func (f jsonField) elements(text []byte) ([]jsonSpan, bool) {
	if !f.found {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(f.value.of(text)))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return nil, false
	}
	spans := []jsonSpan{}
	for d.More() {
		span, ok := f.next(d)
		if !ok {
			return nil, false
		}
		spans = append(spans, span)
	}
	return spans, true
}

// next reads the next value inside of f.
func (f jsonField) next(d *json.Decoder) (jsonSpan, bool) {
	var raw json.RawMessage
	if d.Decode(&raw) != nil {
		return jsonSpan{}, false
	}
	end := f.value.start + int(d.InputOffset())
	return jsonSpan{end - len(raw), end}, true
}

// field finds the member that encoding/json decodes into a field with the name:
// its keys are compared by Unicode's simple folding, as EqualFold does.
func (o jsonObject) field(name string) (jsonField, error) {
	var f jsonField
	for _, m := range o.members {
		if !strings.EqualFold(m.key, name) {
			continue
		}
		if f.found {
			return jsonField{}, kind(ErrInvalid, fmt.Sprintf("the request's body has the key %s twice", name))
		}
		f = jsonField{found: true, value: m.value}
	}
	return f, nil
}

// jsonEdits are changes of a JSON text that leave everything else as it is.
type jsonEdits struct {
	text  []byte
	edits []jsonEdit
}

type jsonEdit struct {
	at   jsonSpan
	with string
}

func (e *jsonEdits) replace(at jsonSpan, with string) { e.edits = append(e.edits, jsonEdit{at, with}) }

// replaceNull replaces a value that is null; any other is not understood.
func (e *jsonEdits) replaceNull(at jsonSpan, with string) {
	if string(at.of(e.text)) == "null" {
		e.replace(at, with)
	}
}

// insert adds a member at the end of an object.
func (e *jsonEdits) insert(o jsonObject, member string) {
	at := jsonSpan{o.span.end - 1, o.span.end - 1}
	if len(o.members) > 0 || slices.ContainsFunc(e.edits, func(edit jsonEdit) bool { return edit.at == at }) {
		member = "," + member
	}
	e.replace(at, member)
}

// extend adds elements at the end of an array, which may be null instead.
func (e *jsonEdits) extend(f jsonField, elements string) {
	spans, ok := f.elements(e.text)
	switch {
	case !ok:
		e.replaceNull(f.value, "["+elements+"]")
		return
	case len(spans) > 0:
		elements = "," + elements
	}
	e.replace(jsonSpan{f.value.end - 1, f.value.end - 1}, elements)
}

// apply returns the changed text, nil without changes.
func (e *jsonEdits) apply() []byte {
	if len(e.edits) == 0 {
		return nil
	}
	// Insertions at one place keep their order; no other edits overlap.
	slices.SortStableFunc(e.edits, func(a, b jsonEdit) int { return a.at.start - b.at.start })
	var out bytes.Buffer
	from := 0
	for _, edit := range e.edits {
		out.Write(e.text[from:edit.at.start])
		out.WriteString(edit.with)
		from = edit.at.end
	}
	out.Write(e.text[from:])
	return out.Bytes()
}
