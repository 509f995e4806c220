package server

import (
	"sync"
	"sync/atomic"
)

const (
	// readSlabBytes is what one read of small frames brings in at most, and the most
	// that a connection holds for requests before it has authenticated.
	readSlabBytes = 64 << 10
	// peekSlabBytes is the first read on a connection whose last frame was large: enough
	// for the length and the header, so that nearly all of a large frame is received
	// straight into its own slab.
	peekSlabBytes = 4 << 10
	// largeFrameBytes is the smallest frame that gets a slab of its own. A smaller one and
	// its length fit into a read slab.
	largeFrameBytes = readSlabBytes - lengthBytes
	// slack is what a request adds around a batch of a round size.
	slack = 64 << 10
)

// slabClasses are the sizes of pooled slabs, in bytes, ascending. A client with batches for many partitions sends them in
// requests of several MiB; above the largest class a slab is as large as it has to be and left to the garbage collector.
var slabClasses = [...]int{
	1 << 10, peekSlabBytes, 16 << 10, readSlabBytes, 256 << 10,
	1<<20 + slack, 2<<20 + slack, 4<<20 + slack, 6<<20 + slack, 8<<20 + slack, 12<<20 + slack, 16<<20 + slack, 24<<20 + slack, 32<<20 + slack,
}

// slab is a counted run of memory that requests alias. The connection that reads into it
// holds one count; each Request.Retain adds one. The last release gives the memory back
// to its pool and its bytes back to the budget.
type slab struct {
	b    []byte
	home *slabs
	refs atomic.Int32
	// overdraft says that the slab stands on the budget's one permitted excess.
	overdraft bool
}

// slabs hands out slabs by size class, accounted to a budget.
type slabs struct {
	pools  [len(slabClasses)]sync.Pool
	budget *budget
}

// classOf finds the index of the smallest class that holds n bytes, and len(slabClasses)
// when none does.
func classOf(n int) int {
	for i, size := range slabClasses {
		if n <= size {
			return i
		}
	}
	return len(slabClasses)
}

// sizeOf is the capacity of a slab for n bytes.
func sizeOf(n int) int {
	if c := classOf(n); c < len(slabClasses) {
		return slabClasses[c]
	}
	const mib = 1 << 20
	return (n + mib - 1) / mib * mib
}

// try takes a slab of at least n bytes if the budget has room for it, and nil otherwise.
func (p *slabs) try(n int) *slab {
	size := sizeOf(n)
	if !p.budget.try(int64(size)) {
		return nil
	}
	return p.make(size, false)
}

// heir takes a slab of at least n bytes that replaces old, which stands on the overdraft,
// and takes the overdraft over.
func (p *slabs) heir(n int, old *slab) *slab {
	size := sizeOf(n)
	p.budget.exceed(int64(size))
	old.overdraft = false
	return p.make(size, true)
}

// make builds or reuses a slab whose size is charged to the budget already.
func (p *slabs) make(size int, overdraft bool) *slab {
	var s *slab
	if c := classOf(size); c < len(slabClasses) {
		s, _ = p.pools[c].Get().(*slab)
	}
	if s == nil {
		s = &slab{b: make([]byte, size), home: p}
	}
	s.overdraft = overdraft
	s.refs.Store(1)
	return s
}

// retain adds a holder.
func (s *slab) retain() {
	if s.refs.Add(1) <= 1 {
		panic("BUG: request memory retained after its release")
	}
}

// sole says whether the caller is the only holder, so that it may move bytes about.
func (s *slab) sole() bool { return s.refs.Load() == 1 }

// release takes a holder away.
func (s *slab) release() {
	switch n := s.refs.Add(-1); {
	case n > 0:
		return
	case n < 0:
		panic("BUG: request memory released more often than retained")
	}
	poison(s.b)
	size, overdraft := len(s.b), s.overdraft
	if c := classOf(size); c < len(slabClasses) && slabClasses[c] == size {
		s.home.pools[c].Put(s)
	}
	s.home.budget.release(int64(size), overdraft)
}
