package domain

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"go.yaml.in/yaml/v3"
)

// parseKubeconfig returns the document and its top mapping, whose named lists
// are absent, null, or sequences of mappings.
func parseKubeconfig(data []byte) (doc, root *yaml.Node, err error) {
	if len(data) > maxKubeconfig {
		return nil, nil, fmt.Errorf("kubeconfig of %d bytes is too large: %w", len(data), ErrInvalid)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	doc = new(yaml.Node)
	if err := dec.Decode(doc); err != nil {
		return nil, nil, fmt.Errorf("kubeconfig is not YAML: %w: %w", ErrInvalid, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, nil, fmt.Errorf("kubeconfig must be one YAML document: %w", ErrInvalid)
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, nil, fmt.Errorf("kubeconfig must be a mapping: %w", ErrInvalid)
	}
	root = doc.Content[0]
	seen := map[string]bool{}
	for i := 0; i < len(root.Content); i += 2 {
		key := root.Content[i].Value
		if seen[key] {
			return nil, nil, fmt.Errorf("kubeconfig has the key %q twice: %w", key, ErrInvalid)
		}
		seen[key] = true
	}
	for _, list := range kubeLists {
		seq := field(root, list)
		if seq == nil || seq.Tag == "!!null" {
			continue
		}
		if seq.Kind != yaml.SequenceNode {
			return nil, nil, fmt.Errorf("kubeconfig: %s must be a list: %w", list, ErrInvalid)
		}
		for _, e := range seq.Content {
			if e.Kind != yaml.MappingNode {
				return nil, nil, fmt.Errorf("kubeconfig: an entry of %s is not a mapping: %w", list, ErrInvalid)
			}
		}
	}
	return doc, root, nil
}

// encodeKubeconfig writes in the style of kubectl: two spaces, lists flush
// with their key.
func encodeKubeconfig(doc *yaml.Node) ([]byte, error) {
	var buf bytes.Buffer
	enc := yaml.NewEncoder(&buf)
	enc.SetIndent(2)
	enc.CompactSeqIndent()
	if err := enc.Encode(doc); err != nil {
		return nil, fmt.Errorf("writing kubeconfig: %w", err)
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("writing kubeconfig: %w", err)
	}
	return buf.Bytes(), nil
}

func kubeEntries(root *yaml.Node, list string) []*yaml.Node {
	if seq := field(root, list); seq != nil && seq.Kind == yaml.SequenceNode {
		return seq.Content
	}
	return nil
}

// field walks down mappings; nil when a step is missing.
func field(n *yaml.Node, path ...string) *yaml.Node {
	for _, key := range path {
		if n == nil || n.Kind != yaml.MappingNode {
			return nil
		}
		var next *yaml.Node
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Kind == yaml.ScalarNode && n.Content[i].Value == key {
				next = n.Content[i+1]
				break
			}
		}
		n = next
	}
	return n
}

func scalar(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return ""
	}
	return n.Value
}

func renameDefault(n *yaml.Node) {
	if scalar(n) == kubeDefault {
		n.Value = KubeContext
	}
}

// setField sets a string, keeping the comments of a value that was there.
func setField(mapping *yaml.Node, key, value string) {
	n := field(mapping, key)
	if n == nil {
		n = new(yaml.Node)
		mapping.Content = append(mapping.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, n)
	}
	style := n.Style & (yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle)
	switch {
	case value == "":
		style = yaml.DoubleQuotedStyle // a bare nothing would read as null
	case n.Value == "":
		style = 0
	}
	*n = yaml.Node{
		Kind: yaml.ScalarNode, Tag: "!!str", Value: value, Style: style,
		HeadComment: n.HeadComment, LineComment: n.LineComment, FootComment: n.FootComment,
	}
}

// sameNode compares content, not style or comments.
func sameNode(a, b *yaml.Node) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Kind == b.Kind && a.ShortTag() == b.ShortTag() && a.Value == b.Value && a.Anchor == b.Anchor &&
		slices.EqualFunc(a.Content, b.Content, sameNode)
}

// sameForeign says whether everything but the touched entries and the current
// context is the same in both.
func sameForeign(before, after *yaml.Node, touched map[string]bool) bool {
	return slices.EqualFunc(foreign(before, touched), foreign(after, touched), sameNode)
}

func foreign(root *yaml.Node, touched map[string]bool) []*yaml.Node {
	var out []*yaml.Node
	for i := 0; i+1 < len(root.Content); i += 2 {
		switch key := root.Content[i].Value; {
		case key == "current-context":
		case slices.Contains(kubeLists[:], key):
			for _, e := range kubeEntries(root, key) {
				if !touched[scalar(field(e, "name"))] {
					out = append(out, e)
				}
			}
		default:
			out = append(out, root.Content[i], root.Content[i+1])
		}
	}
	return out
}
