package broker

import (
	sample "runtime/metrics"
	"time"
)

// spareMemoryInterval is how often a quiet broker looks for memory to give back.
const spareMemoryInterval = time.Minute

// What counts as quiet, and what is worth a collection: the most that was allocated since the last look, and the least
// that can be given back. Both grow with what is in use.
const (
	quietBytes = 16 << 20
	spareBytes = 4 << 20
)

// heap is figures of the heap, in bytes.
type heap struct {
	allocated uint64 // in all, since the start
	live      uint64 // found in use by the last collection
	resident  uint64 // all that the system has not got back
}

// spareMemory has a broker that has gone quiet give back the memory that it no longer needs. By itself the runtime keeps as
// much again as is in use, for the work to come, and collects once in two minutes.
type spareMemory struct {
	read func() heap
	free func() // collects, and gives back what is free
	last uint64 // allocated at the last look
}

// look is called at each interval.
func (s *spareMemory) look() {
	h := s.read()
	since := h.allocated - s.last
	s.last = h.allocated
	if since <= max(quietBytes, h.live) && h.resident >= h.live+max(spareBytes, h.live/4) {
		s.free()
	}
}

func heapFigures() heap {
	s := []sample.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
	}
	sample.Read(s)
	return heap{s[0].Value.Uint64(), s[1].Value.Uint64(), s[2].Value.Uint64() + s[3].Value.Uint64() + s[4].Value.Uint64()}
}
