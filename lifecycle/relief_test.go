package lifecycle

import (
	"slices"
	"testing"
)

func TestSpareOf(t *testing.T) {
	local := []Segment{{Base: 0, Next: 10}, {Base: 10, Next: 20}, {Base: 20, Next: 30}, {Base: 30, Next: 40, Active: true}}
	for _, c := range []struct {
		name string
		p    Policy
		s    State
		want int
	}{
		{"not tiered", Policy{}, State{HighWatermark: 40, Local: local, Remote: Remote{Known: true, Claimed: true, Next: 40}}, 0},
		{"not claimed", Policy{Tiered: true}, State{HighWatermark: 40, Local: local, Remote: Remote{Known: true, Next: 40}}, 0},
		{"up to the manifest", Policy{Tiered: true}, State{HighWatermark: 40, Local: local, Remote: Remote{Known: true, Claimed: true, Next: 20}}, 2},
		{"up to the high watermark", Policy{Tiered: true}, State{HighWatermark: 15, Local: local, Remote: Remote{Known: true, Claimed: true, Next: 40}}, 1},
		{"never the active one", Policy{Tiered: true}, State{HighWatermark: 40, Local: local, Remote: Remote{Known: true, Claimed: true, Next: 40}}, 3},
	} {
		if got := len(SpareOf(c.p, c.s).Segments); got != c.want {
			t.Errorf("%s: %d segments, want %d", c.name, got, c.want)
		}
	}
}

func TestRelieveTakesTheOldestFirst(t *testing.T) {
	seg := func(next, bytes, ts int64) Segment { return Segment{Next: next, SizeBytes: bytes, MaxTimestampMs: ts} }
	spares := []Spare{
		{[]Segment{seg(10, 100, 50), seg(20, 100, 60), seg(30, 100, 10)}}, // the last one waits for those before it
		{},
		{[]Segment{seg(5, 30, 20), seg(6, 30, -1), seg(7, 30, 55)}},
	}
	for _, c := range []struct {
		want, freed int64
		below       []int64
	}{
		{0, 0, []int64{0, 0, 0}},
		{1, 30, []int64{0, 0, 5}},
		{31, 60, []int64{0, 0, 6}},
		{61, 160, []int64{10, 0, 6}},
		{161, 190, []int64{10, 0, 7}},
		{300, 390, []int64{30, 0, 7}},
		{10_000, 390, []int64{30, 0, 7}},
	} {
		below, freed := Relieve(spares, c.want)
		if freed != c.freed || !slices.Equal(below, c.below) {
			t.Errorf("want %d bytes: below %v, %d freed; want %v, %d", c.want, below, freed, c.below, c.freed)
		}
	}
}
