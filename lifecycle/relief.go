package lifecycle

import "slices"

// Spare is what one tiered partition could give up on a disk that fills: closed local
// segments that its manifest holds, oldest first.
type Spare struct {
	Segments []Segment
}

// SpareOf is what a partition may give up now. Nothing goes before the manifest claim of this
// epoch, above the high watermark or behind the end of the manifest.
func SpareOf(p Policy, s State) Spare {
	if !p.Tiered || !s.Remote.Known || !s.Remote.Claimed {
		return Spare{}
	}
	limit := min(s.HighWatermark, s.Remote.Next)
	n := 0
	for n < len(s.Local) && !s.Local[n].Active && s.Local[n].Next <= limit {
		n++
	}
	return Spare{Segments: s.Local[:n:n]}
}

// Relieve chooses what is evicted for wantBytes of room on a disk that fills: of all the
// partitions' segments those with the oldest records first, whatever the partitions' local
// retention says. It answers, for each partition, the offset below which its local
// segments go, 0 for none, and what that frees.
func Relieve(spares []Spare, wantBytes int64) (below []int64, freed int64) {
	type piece struct {
		partition, index int
		age              int64 // the newest record up to here: a partition's segments go in their order
	}
	var pieces []piece
	for i, sp := range spares {
		age := int64(-1)
		for j, seg := range sp.Segments {
			age = max(age, seg.MaxTimestampMs)
			pieces = append(pieces, piece{i, j, age})
		}
	}
	slices.SortStableFunc(pieces, func(a, b piece) int {
		switch {
		case a.age < b.age:
			return -1
		case a.age > b.age:
			return 1
		}
		return 0
	})
	below = make([]int64, len(spares))
	for _, p := range pieces {
		if freed >= wantBytes {
			break
		}
		seg := spares[p.partition].Segments[p.index]
		below[p.partition] = seg.Next
		freed += seg.SizeBytes
	}
	return below, freed
}
