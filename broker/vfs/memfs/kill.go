package memfs

import (
	"maps"
	"slices"
)

// KillClone is what the next process finds when this one was killed at this moment and the
// machine went on: everything, and every lock is free. What was not synced still is not, and
// goes with the next power cut. f goes on undisturbed.
func (f *FS) KillClone() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := kill{nodes: map[*node]*node{}, groups: map[*group]*group{}}
	clone := New()
	clone.mu.root = k.node(f.mu.root)
	clone.mu.limit = f.mu.limit
	clone.mu.used = k.used
	return clone
}

// kill copies a tree with all that is not durable in it; a file with two names stays one, and so
// does an operation on two directories.
type kill struct {
	nodes  map[*node]*node
	groups map[*group]*group
	used   int64
}

func (k *kill) node(n *node) *node {
	if n == nil || k.nodes[n] != nil {
		return k.nodes[n]
	}
	c := &node{born: n.born, mode: n.mode, modTime: n.modTime, names: n.names}
	k.nodes[n] = c
	if !n.isDir() {
		c.data, c.disk, c.pending = slices.Clone(n.data), slices.Clone(n.disk), slices.Clone(n.pending)
		if n.names > 0 {
			k.used += int64(len(n.data))
		}
		return c
	}
	c.entries, c.durable = k.names(n.entries), k.names(n.durable)
	for _, g := range n.changes {
		c.changes = append(c.changes, k.group(g))
	}
	return c
}

func (k *kill) names(entries map[string]*node) map[string]*node {
	c := maps.Clone(entries)
	for base, n := range c {
		c[base] = k.node(n)
	}
	return c
}

func (k *kill) group(g *group) *group {
	c := k.groups[g]
	if c == nil {
		c = &group{durable: g.durable, changes: slices.Clone(g.changes)}
		k.groups[g] = c
		for i, ch := range c.changes {
			c.changes[i].dir, c.changes[i].node = k.node(ch.dir), k.node(ch.node)
		}
	}
	return c
}
