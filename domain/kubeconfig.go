package domain

import (
	"bytes"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
)

// KubeContext is the name of ArcBox's cluster, user and context in kubeconfigs.
const KubeContext = "arcbox"

// kubeDefault is how a fresh cluster calls its cluster, user and context.
const kubeDefault = "default"

const maxKubeconfig = 16 << 20

// The lists of a kubeconfig whose entries have names.
var kubeLists = [...]string{"clusters", "contexts", "users"}

// RewriteKubeconfig turns the kubeconfig of a fresh cluster into one for the
// host: every cluster, user and context named "default" and every reference to
// one becomes KubeContext, and every cluster's server becomes server. All else,
// unknown fields and comments included, stays.
func RewriteKubeconfig(data []byte, server string) ([]byte, error) {
	if server == "" {
		return nil, fmt.Errorf("kubeconfig without a server: %w", ErrInvalid)
	}
	doc, root, err := parseKubeconfig(data)
	if err != nil {
		return nil, err
	}
	for _, list := range kubeLists {
		for _, entry := range kubeEntries(root, list) {
			renameDefault(field(entry, "name"))
			switch list {
			case "clusters":
				cluster := field(entry, "cluster")
				if cluster == nil || cluster.Kind != yaml.MappingNode {
					return nil, fmt.Errorf("kubeconfig has a cluster without content: %w", ErrInvalid)
				}
				setField(cluster, "server", server)
			case "contexts":
				renameDefault(field(entry, "context", "cluster"))
				renameDefault(field(entry, "context", "user"))
			}
		}
	}
	renameDefault(field(root, "current-context"))
	for _, list := range kubeLists {
		if len(kubeEntries(root, list)) == 0 {
			return nil, fmt.Errorf("kubeconfig has no %s: %w", list, ErrInvalid)
		}
	}
	return encodeKubeconfig(doc)
}

// MergeKubeconfig adds the clusters, users and contexts of ours to the user's
// kubeconfig; an entry of the same name is replaced. No other entry changes.
// The current context is set only where there is none. An empty user file
// becomes ours. When nothing changes, user is returned as it is.
func MergeKubeconfig(user, ours []byte) ([]byte, error) {
	_, add, err := parseKubeconfig(ours)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig to add: %w", err)
	}
	if len(bytes.TrimSpace(user)) == 0 {
		return ours, nil
	}
	doc, root, err := parseKubeconfig(user)
	if err != nil {
		return nil, err
	}
	changed, touched := false, map[string]bool{}
	for _, list := range kubeLists {
		for _, entry := range kubeEntries(add, list) {
			name := scalar(field(entry, "name"))
			if name == "" {
				return nil, fmt.Errorf("kubeconfig to add has an entry without a name in %s: %w", list, ErrInvalid)
			}
			touched[name] = true
			changed = putEntry(root, list, name, entry) || changed
		}
	}
	if current := field(add, "current-context"); scalar(current) != "" && scalar(field(root, "current-context")) == "" {
		setField(root, "current-context", current.Value)
		changed = true
	}
	return finishKubeconfig(user, doc, changed, touched)
}

// RemoveKubeconfig removes the cluster, user and context of this name from the
// user's kubeconfig, and the current context if it is that one. When there is
// nothing to remove, user is returned as it is.
func RemoveKubeconfig(user []byte, name string) ([]byte, error) {
	if len(bytes.TrimSpace(user)) == 0 {
		return user, nil
	}
	doc, root, err := parseKubeconfig(user)
	if err != nil {
		return nil, err
	}
	changed := false
	for _, list := range kubeLists {
		seq := field(root, list)
		if seq == nil || seq.Kind != yaml.SequenceNode {
			continue
		}
		before := len(seq.Content)
		seq.Content = slices.DeleteFunc(seq.Content, func(e *yaml.Node) bool { return scalar(field(e, "name")) == name })
		changed = changed || len(seq.Content) != before
	}
	if current := field(root, "current-context"); current != nil && scalar(current) == name {
		setField(root, "current-context", "")
		changed = true
	}
	return finishKubeconfig(user, doc, changed, map[string]bool{name: true})
}

// putEntry reports whether it changed anything.
func putEntry(root *yaml.Node, list, name string, entry *yaml.Node) bool {
	seq := field(root, list)
	if seq == nil {
		seq = &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		root.Content = append(root.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: list}, seq)
	}
	if seq.Kind != yaml.SequenceNode { // parseKubeconfig lets only null through
		*seq = yaml.Node{
			Kind: yaml.SequenceNode, Tag: "!!seq",
			HeadComment: seq.HeadComment, LineComment: seq.LineComment, FootComment: seq.FootComment,
		}
	}
	if len(seq.Content) == 0 {
		seq.Style = 0 // an empty list is written [], which would make the entries unreadable
	}
	for i, e := range seq.Content {
		if scalar(field(e, "name")) == name {
			if sameNode(e, entry) {
				return false
			}
			seq.Content[i] = entry
			return true
		}
	}
	seq.Content = append(seq.Content, entry)
	return true
}

// finishKubeconfig writes the changed document, and refuses a result in which
// an entry that is none of ours is not what it was.
func finishKubeconfig(user []byte, doc *yaml.Node, changed bool, touched map[string]bool) ([]byte, error) {
	if !changed {
		return user, nil
	}
	out, err := encodeKubeconfig(doc)
	if err != nil {
		return nil, err
	}
	_, before, err := parseKubeconfig(user)
	if err != nil {
		return nil, err
	}
	_, after, err := parseKubeconfig(out)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig cannot be rewritten without loss: %w", err)
	}
	if !sameForeign(before, after, touched) {
		err := fmt.Errorf("kubeconfig cannot be rewritten without loss: %w", ErrInvalid)
		return nil, WithHint(err, "it uses YAML that does not survive rewriting; add the context with KUBECONFIG instead")
	}
	return out, nil
}
