package domain

import (
	"maps"
	"slices"
)

// shards is an immutable map in small parts: a changed one shares the parts
// that did not change, so a change of a few keys among ten thousand copies a
// few hundred entries. The zero value is empty.
type shards[V any] struct {
	parts *[shardCount]map[string]V // nil when empty
}

const shardCount = 256

// shardOf is FNV-1a, folded to a part's index.
func shardOf(key string) int {
	h := uint32(2166136261)
	for i := range len(key) {
		h = (h ^ uint32(key[i])) * 16777619
	}
	return int((h ^ h>>8 ^ h>>16 ^ h>>24) % shardCount)
}

func (s shards[V]) get(key string) (V, bool) {
	if s.parts == nil {
		var none V
		return none, false
	}
	v, ok := s.parts[shardOf(key)][key]
	return v, ok
}

// keys returns all keys, sorted.
func (s shards[V]) keys() []string {
	out := []string{}
	if s.parts != nil {
		for _, part := range s.parts {
			out = slices.AppendSeq(out, maps.Keys(part))
		}
	}
	slices.Sort(out)
	return out
}

// shardEdit makes a changed copy of shards; the original stays as it is.
type shardEdit[V any] struct {
	shards shards[V]
	copied [shardCount]bool
}

func (s shards[V]) edit() *shardEdit[V] {
	e := &shardEdit[V]{shards: shards[V]{new([shardCount]map[string]V)}}
	if s.parts != nil {
		*e.shards.parts = *s.parts
	}
	return e
}

// get returns the value of key as it is by now, the zero value for none.
func (e *shardEdit[V]) get(key string) V {
	v, _ := e.shards.get(key)
	return v
}

func (e *shardEdit[V]) own(key string) map[string]V {
	i := shardOf(key)
	if !e.copied[i] {
		e.copied[i] = true
		part := make(map[string]V, len(e.shards.parts[i])+1)
		maps.Copy(part, e.shards.parts[i])
		e.shards.parts[i] = part
	}
	return e.shards.parts[i]
}

func (e *shardEdit[V]) set(key string, v V) { e.own(key)[key] = v }
func (e *shardEdit[V]) remove(key string)   { delete(e.own(key), key) }

func (e *shardEdit[V]) setOrRemove(key string, v V, set bool) {
	if set {
		e.set(key, v)
	} else {
		e.remove(key)
	}
}
