package domain

import (
	"encoding/json"
	"path"
	"slices"
	"strings"
)

// CreateBody is the body of a request that creates containers, as far as it
// matters for what they bind. It is read as dockerd reads it (encoding/json:
// keys in any case, only the first JSON value counts); what is not understood
// is left for dockerd to refuse. A key that stands twice, where it matters, is
// refused: which of the two counts depends on the reader.
type CreateBody struct {
	body  jsonEdits
	root  jsonObject
	host  jsonObject // HostConfig
	env   jsonField
	binds jsonField
	list  []bindSource
	taken []string // targets in the container
}

// bindSource is a bind's source and where in the body it stands.
type bindSource struct {
	source string
	rest   string // of an entry of Binds: ":TARGET" and more
	at     jsonSpan
}

// ParseCreateBody reads the body of POST /containers/create. It returns
// ErrInvalid for a key that stands twice.
func ParseCreateBody(body []byte) (*CreateBody, error) {
	b := &CreateBody{body: jsonEdits{text: body}}
	root, ok := firstObject(body)
	if !ok {
		return b, nil
	}
	b.root = root
	host, err := root.field("HostConfig")
	if err != nil {
		return nil, err
	}
	if b.env, err = root.field("Env"); err != nil {
		return nil, err
	}
	if b.host, ok = host.object(body); !ok {
		b.host = jsonObject{span: host.value}
		return b, nil
	}
	if b.binds, err = b.host.field("Binds"); err != nil {
		return nil, err
	}
	mounts, err := b.host.field("Mounts")
	if err != nil {
		return nil, err
	}
	b.readBinds()
	return b, b.readMounts(mounts)
}

// ParseServiceBody reads the body of POST /services/create and of
// POST /services/{id}/update. It returns ErrInvalid for a key that stands twice.
func ParseServiceBody(body []byte) (*CreateBody, error) {
	b := &CreateBody{body: jsonEdits{text: body}}
	at, ok := firstObject(body)
	if !ok {
		return b, nil
	}
	for _, key := range []string{"TaskTemplate", "ContainerSpec"} {
		f, err := at.field(key)
		if err != nil {
			return nil, err
		}
		if at, ok = f.object(body); !ok {
			return b, nil
		}
	}
	mounts, err := at.field("Mounts")
	if err != nil {
		return nil, err
	}
	return b, b.readMounts(mounts)
}

// readBinds reads entries of the form "SOURCE:TARGET[:OPTIONS]". A source that
// is not absolute is a volume's name.
func (b *CreateBody) readBinds() {
	spans, _ := b.binds.elements(b.body.text)
	for _, at := range spans {
		var entry string
		if json.Unmarshal(at.of(b.body.text), &entry) != nil {
			continue
		}
		parts := strings.SplitN(entry, ":", 4)
		if len(parts) < 2 || len(parts) > 3 {
			continue // an anonymous volume, or nothing that dockerd takes
		}
		b.taken = append(b.taken, path.Clean(parts[1]))
		if path.IsAbs(parts[0]) {
			b.list = append(b.list, bindSource{source: parts[0], rest: entry[len(parts[0]):], at: at})
		}
	}
}

func (b *CreateBody) readMounts(mounts jsonField) error {
	spans, _ := mounts.elements(b.body.text)
	for _, at := range spans {
		mount, ok := jsonField{value: at, found: true}.object(b.body.text)
		if !ok {
			continue
		}
		var text [3]string
		var source jsonField
		for i, key := range []string{"Type", "Target", "Source"} {
			f, err := mount.field(key)
			if err != nil {
				return err
			}
			if f.found && json.Unmarshal(f.value.of(b.body.text), &text[i]) != nil {
				text[i] = ""
			}
			source = f
		}
		b.taken = append(b.taken, path.Clean(text[1]))
		// dockerd refuses relative sources, but takes a backslash for a slash when it looks.
		if text[0] == "bind" && (path.IsAbs(text[2]) || strings.HasPrefix(text[2], `\`)) {
			b.list = append(b.list, bindSource{source: text[2], at: source.value})
		}
	}
	return nil
}

// Sources are the bind sources in the order of the body. All are absolute, but
// for those that begin with a backslash.
func (b *CreateBody) Sources() []string {
	sources := make([]string, len(b.list))
	for i, s := range b.list {
		sources[i] = s.source
	}
	return sources
}

// SetSource replaces a source, which is named by its index in Sources. It
// returns ErrInvalid for one that an entry of Binds cannot name.
func (b *CreateBody) SetSource(i int, source string) error {
	s := b.list[i]
	if source == s.source {
		return nil
	}
	if s.rest != "" && strings.Contains(source, ":") {
		return WithHint(kind(ErrInvalid, "bind source "+showPath(s.source)+" leads to "+showPath(source)+", which has a colon"),
			"name it with --mount type=bind instead of -v")
	}
	b.body.replace(s.at, quoteJSON(source+s.rest))
	return nil
}

// Targets reports whether a bind or a mount of the body is at a place in the container.
func (b *CreateBody) Targets(target string) bool { return slices.Contains(b.taken, target) }

// AddBind adds an entry to HostConfig.Binds. It may be called once, for
// a body that ParseCreateBody read.
func (b *CreateBody) AddBind(entry string) {
	list := "[" + quoteJSON(entry) + "]"
	switch {
	case !b.root.found:
	case b.host.found && b.binds.found:
		b.body.extend(b.binds, quoteJSON(entry))
	case b.host.found:
		b.body.insert(b.host, `"Binds":`+list)
	case b.host.span.end > 0:
		b.body.replaceNull(b.host.span, `{"Binds":`+list+`}`)
	default:
		b.body.insert(b.root, `"HostConfig":{"Binds":`+list+`}`)
	}
}

// AddEnv adds those of the entries "NAME=VALUE" to Env whose name it does not
// have in any case. It may be called once, for a body that ParseCreateBody read.
func (b *CreateBody) AddEnv(entries []string) {
	var has []string
	if b.env.found && json.Unmarshal(b.env.value.of(b.body.text), &has) != nil {
		return // dockerd refuses it
	}
	named := func(list []string, entry string, same func(a, b string) bool) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.ContainsFunc(list, func(e string) bool { n, _, _ := strings.Cut(e, "="); return same(n, name) })
	}
	var added, quoted []string
	for _, e := range entries {
		// Lower and upper case of one name may both be among the entries.
		if !named(has, e, strings.EqualFold) && !named(added, e, func(a, b string) bool { return a == b }) {
			added, quoted = append(added, e), append(quoted, quoteJSON(e))
		}
	}
	switch list := strings.Join(quoted, ","); {
	case !b.root.found || list == "":
	case b.env.found:
		b.body.extend(b.env, list)
	default:
		b.body.insert(b.root, `"Env":[`+list+`]`)
	}
}

// Bytes is the body with the changes, nil when there are none. Everything else
// is as it was.
func (b *CreateBody) Bytes() []byte { return b.body.apply() }

func quoteJSON(s string) string {
	text, _ := json.Marshal(s) // strings always marshal
	return string(text)
}
