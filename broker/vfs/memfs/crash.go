package memfs

import (
	"hash/fnv"
	"math/rand/v2"
)

// sectorBytes is the unit that a disk writes whole.
const sectorBytes = 512

// CrashClone is what a power cut at this moment would leave, as a file system of its own;
// f goes on undisturbed. The same tree and seed give the same clone.
//
//   - Content that was synced, and entries whose directory was synced, are always there.
//   - Of a file's later writes nothing, everything, a prefix or any subset is there. The
//     last write of a prefix, and any write of a subset, may be torn: whole sectors are
//     missing and one sector ends in the middle. Bytes never written are zeros, and the
//     size may be ahead of the content.
//   - A change of size is journalled: writes that came after it survive only with it.
//   - Of a directory's later creations, renames, links and removals nothing, everything, a
//     prefix or any subset is there; one operation is there whole or not at all, also
//     when it touched two directories.
//   - Every lock is free.
func (f *FS) CrashClone(seed uint64) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := crash{seed: seed, kept: map[*group]bool{}, clones: map[*node]*node{}}
	clone := New()
	clone.mu.root = c.dir(f.mu.root)
	clone.mu.limit = f.mu.limit
	clone.mu.used = c.used
	return clone
}

// crash is one throw of the dice over a file system.
type crash struct {
	seed   uint64
	kept   map[*group]bool
	clones map[*node]*node // a file with two names stays one file
	used   int64
}

// style is how much of a file's or directory's un-synced changes survives.
type style int

const (
	loseAll style = iota
	keepAll
	keepPrefix
	keepSubset
	styles
)

// dice gives each node its own throw, so that one file's history does not move another's.
func (c *crash) dice(n *node) (*rand.Rand, style) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(n.born))
	r := rand.New(rand.NewPCG(c.seed, h.Sum64()))
	return r, style(r.IntN(int(styles)))
}

func (c *crash) dir(n *node) *node {
	clone := newDir(n.born)
	clone.mode, clone.modTime = n.mode, n.modTime
	c.clones[n] = clone
	for base, child := range c.entries(n) {
		set(clone.durable, base, child)
	}
	for _, base := range sortedNames(clone.durable) {
		child := clone.durable[base]
		survivor := c.clones[child]
		switch {
		case survivor != nil:
		case child.isDir():
			survivor = c.dir(child)
		default:
			survivor = c.file(child)
		}
		survivor.names++
		clone.durable[base], clone.entries[base] = survivor, survivor
	}
	return clone
}

// entries is what is left of a directory, still naming the nodes of before the crash.
func (c *crash) entries(n *node) map[string]*node {
	r, how := c.dice(n)
	prefix := r.IntN(len(n.changes) + 1)
	left := make(map[string]*node, len(n.durable))
	for base, child := range n.durable {
		left[base] = child
	}
	for i, g := range n.changes {
		if g.durable {
			continue // is in n.durable
		}
		coin := r.IntN(2) == 0
		kept, decided := c.kept[g]
		if !decided {
			kept = how == keepAll || how == keepPrefix && i < prefix || how == keepSubset && coin
			c.kept[g] = kept
		}
		for _, ch := range g.changes {
			if kept && ch.dir == n {
				set(left, ch.base, ch.node)
			}
		}
	}
	return left
}

func (c *crash) file(n *node) *node {
	clone := newFile(n.born, n.mode)
	clone.modTime = n.modTime
	clone.disk = c.content(n)
	clone.data = append([]byte(nil), clone.disk...)
	c.used += int64(len(clone.data))
	c.clones[n] = clone
	return clone
}

// content is what is left of a file.
func (c *crash) content(n *node) []byte {
	r, how := c.dice(n)
	b := append([]byte(nil), n.disk...)
	if how == loseAll || len(n.pending) == 0 {
		return b
	}
	prefix := r.IntN(len(n.pending) + 1)
	for i, e := range n.pending {
		keep := how == keepAll || how == keepPrefix && i < prefix || how == keepSubset && r.IntN(2) == 0
		tear := how == keepPrefix && i == prefix || how == keepSubset && keep && r.IntN(2) == 0
		switch {
		case e.b == nil && !keep:
			return b
		case e.b != nil && tear:
			b = torn(r, b, e)
		case keep:
			b = e.applyTo(b)
		}
		if how == keepPrefix && i == prefix {
			break
		}
	}
	if len(b) < len(n.data) && r.IntN(4) == 0 {
		b = sized(b, int64(len(n.data)))
	}
	return b
}

// torn writes some sectors of the edit, one of them only in part.
func torn(r *rand.Rand, b []byte, e edit) []byte {
	for off, rest := e.off, e.b; len(rest) > 0; {
		n := min(int(sectorBytes-off%sectorBytes), len(rest))
		keep := n
		switch r.IntN(4) {
		case 0:
			keep = 0
		case 1:
			keep = r.IntN(n + 1)
		}
		if keep > 0 {
			b = edit{off, rest[:keep]}.applyTo(b)
		}
		off, rest = off+int64(n), rest[n:]
	}
	return b
}
