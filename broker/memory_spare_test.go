package broker

import "testing"

// TestSpareMemory: a quiet broker gives memory back where that is worth a collection, a busy one
// keeps it.
func TestSpareMemory(t *testing.T) {
	const mib = 1 << 20
	var h heap
	freed := 0
	s := spareMemory{read: func() heap { return h }, free: func() { freed++ }}
	for _, tt := range []struct {
		name           string
		allocated      uint64 // since the look before
		live, resident uint64
		free           bool
	}{
		{"it has just started", 60 * mib, 14 * mib, 30 * mib, false},
		{"busy", 17 * mib, 14 * mib, 30 * mib, false},
		{"quiet", 8 * mib, 14 * mib, 30 * mib, true},
		{"little to give back", 8 * mib, 14 * mib, 17 * mib, false},
		{"little of much", 8 * mib, 200 * mib, 240 * mib, false},
		{"quiet for its size", 150 * mib, 200 * mib, 300 * mib, true},
		{"busy for its size", 250 * mib, 200 * mib, 300 * mib, false},
	} {
		h = heap{h.allocated + tt.allocated, tt.live, tt.resident}
		freed = 0
		s.look()
		if (freed == 1) != tt.free {
			t.Errorf("%s: gave memory back %d times, want %v", tt.name, freed, tt.free)
		}
	}
	if got := heapFigures(); got.live == 0 && got.resident == 0 || got.allocated == 0 {
		t.Errorf("figures of this process: %+v", got)
	}
}
