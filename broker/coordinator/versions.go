package coordinator

import (
	"iter"
	"maps"
)

// Versions is the order in which the Maps of a machine were changed, as far as the changes
// are not committed. It lets readers see the committed state, and takes changes back whose
// records could not be written.
type Versions struct {
	changes []change // not committed, oldest first
	first   int64    // the position of changes[0]
	loading bool     // what is replayed is committed already
}

// change is one uncommitted change of a Map.
type change interface {
	commit() // forget what was before
	revert() // restore it
}

// position is the place behind the last change.
func (v *Versions) position() int64 { return v.first + int64(len(v.changes)) }

// commit settles the changes before a position.
func (v *Versions) commit(upTo int64) {
	n := int(max(0, upTo-v.first))
	for _, c := range v.changes[:n] {
		c.commit()
	}
	v.first += int64(n)
	if v.changes = v.changes[n:]; len(v.changes) == 0 {
		v.changes = nil
	}
}

// rollback takes back the changes from a position on, the last one first.
func (v *Versions) rollback(from int64) {
	n := int(max(0, from-v.first))
	for i := len(v.changes) - 1; i >= n; i-- {
		v.changes[i].revert()
	}
	v.changes = v.changes[:min(n, len(v.changes))]
}

// Map is a map with a speculative and a committed state. Values are not changed in place,
// unless what changes in them has no versions.
type Map[K comparable, V any] struct {
	versions *Versions
	now      map[K]V
	before   map[K][]previous[V] // for keys with uncommitted changes: what was before each, oldest first
}

// previous is what a key had before a change.
type previous[V any] struct {
	value   V
	present bool
}

// NewMap makes an empty map whose changes are ordered by v.
func NewMap[K comparable, V any](v *Versions) *Map[K, V] {
	return &Map[K, V]{versions: v, now: map[K]V{}}
}

// Get is the speculative value of a key.
func (m *Map[K, V]) Get(k K) (V, bool) {
	v, ok := m.now[k]
	return v, ok
}

// Committed is the committed value of a key.
func (m *Map[K, V]) Committed(k K) (V, bool) {
	if p := m.before[k]; len(p) > 0 {
		return p[0].value, p[0].present
	}
	return m.Get(k)
}

// Len is how many keys there are, speculatively.
func (m *Map[K, V]) Len() int { return len(m.now) }

// All walks over the speculative state, in no order. The map may be changed meanwhile as
// Go's maps may.
func (m *Map[K, V]) All() iter.Seq2[K, V] { return maps.All(m.now) }

// AllCommitted walks over the committed state, in no order.
func (m *Map[K, V]) AllCommitted() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for k, v := range m.now {
			if len(m.before[k]) == 0 && !yield(k, v) {
				return
			}
		}
		for k, p := range m.before {
			if p[0].present && !yield(k, p[0].value) {
				return
			}
		}
	}
}

// Set gives a key a value.
func (m *Map[K, V]) Set(k K, v V) {
	m.note(k)
	m.now[k] = v
}

// Delete takes a key away.
func (m *Map[K, V]) Delete(k K) {
	if _, ok := m.now[k]; ok {
		m.note(k)
		delete(m.now, k)
	}
}

// note remembers what a key has, before it changes.
func (m *Map[K, V]) note(k K) {
	if m.versions.loading {
		return
	}
	v, ok := m.now[k]
	if m.before == nil {
		m.before = map[K][]previous[V]{}
	}
	m.before[k] = append(m.before[k], previous[V]{v, ok})
	m.versions.changes = append(m.versions.changes, mapChange[K, V]{m, k})
}

// mapChange is a change of a key.
type mapChange[K comparable, V any] struct {
	m *Map[K, V]
	k K
}

func (c mapChange[K, V]) commit() {
	if p := c.m.before[c.k]; len(p) > 1 {
		c.m.before[c.k] = p[1:]
		return
	}
	if delete(c.m.before, c.k); len(c.m.before) == 0 {
		c.m.before = nil // a group with many partitions commits them all at once
	}
}

func (c mapChange[K, V]) revert() {
	p := c.m.before[c.k]
	last := p[len(p)-1]
	if last.present {
		c.m.now[c.k] = last.value
	} else {
		delete(c.m.now, c.k)
	}
	if len(p) > 1 {
		c.m.before[c.k] = p[:len(p)-1]
		return
	}
	delete(c.m.before, c.k)
}
