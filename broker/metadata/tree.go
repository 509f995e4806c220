package metadata

import (
	"hash/fnv"
	"iter"
	"maps"
	"slices"
)

// tree is an immutable map in key order: a treap whose changes copy the path to the root,
// some twenty nodes among 100,000, and share the rest with the tree they were made from.
// Priorities come from the keys, so equal content has equal shape.
type tree[V any] struct {
	root *node[V]
	n    int
}

type node[V any] struct {
	key         string
	value       V
	priority    uint64
	left, right *node[V]
}

func (t tree[V]) get(key string) (v V, ok bool) {
	for n := t.root; n != nil; {
		switch {
		case key < n.key:
			n = n.left
		case key > n.key:
			n = n.right
		default:
			return n.value, true
		}
	}
	return v, false
}

// with returns the tree in which key has the value v.
func (t tree[V]) with(key string, v V) tree[V] {
	added := 1
	root := t.root.with(key, v, &added)
	return tree[V]{root: root, n: t.n + added}
}

func (n *node[V]) with(key string, v V, added *int) *node[V] {
	if n == nil {
		return &node[V]{key: key, value: v, priority: priority(key)}
	}
	c := *n
	switch {
	case key < n.key:
		c.left = n.left.with(key, v, added)
		if l := c.left; l.priority > c.priority { // l is of this change: it may be written to
			c.left, l.right = l.right, &c
			return l
		}
	case key > n.key:
		c.right = n.right.with(key, v, added)
		if r := c.right; r.priority > c.priority {
			c.right, r.left = r.left, &c
			return r
		}
	default:
		c.value = v
		*added = 0
	}
	return &c
}

// without returns the tree that lacks key.
func (t tree[V]) without(key string) tree[V] {
	if _, ok := t.get(key); !ok {
		return t
	}
	return tree[V]{root: t.root.without(key), n: t.n - 1}
}

func (n *node[V]) without(key string) *node[V] {
	if key == n.key {
		return merge(n.left, n.right)
	}
	c := *n
	if key < n.key {
		c.left = n.left.without(key)
	} else {
		c.right = n.right.without(key)
	}
	return &c
}

// merge joins two trees, every key of a being smaller than those of b.
func merge[V any](a, b *node[V]) *node[V] {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.priority > b.priority:
		c := *a
		c.right = merge(a.right, b)
		return &c
	default:
		c := *b
		c.left = merge(a, b.left)
		return &c
	}
}

// all calls yield in key order until it returns false.
func (t tree[V]) all(yield func(string, V) bool) { t.root.all(yield) }

func (n *node[V]) all(yield func(string, V) bool) bool {
	return n == nil || n.left.all(yield) && yield(n.key, n.value) && n.right.all(yield)
}

// priority spreads keys that differ little: FNV-1a, then the last mixing step of MurmurHash3.
func priority(key string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key))
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	return x ^ x>>33
}

// sortedMap ranges over a map in key order.
func sortedMap[V any](m map[string]V) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}
