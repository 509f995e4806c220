package batch

import (
	"errors"
	"fmt"
	"testing"

	"github.com/varve-io/varve/broker/kafka"
)

// keyed builds a batch of n records with keys k0…; every third one has no value.
func keyed(c Codec, n int) []byte {
	b := Builder{Codec: c, BaseOffset: 100, LeaderEpoch: 4, ProducerID: 9, ProducerEpoch: 2, BaseSequence: 50}
	for i := range n {
		value := fmt.Appendf(nil, "value %d", i)
		if i%3 == 2 {
			value = nil
		}
		b.Append(fmt.Appendf(nil, "k%d", i), value, []RecordHeader{{Key: "h", Value: nil}, {Key: "", Value: []byte("x")}}, 5000+int64(i*7))
	}
	return b.Bytes()
}

func collect(t *testing.T, b []byte) []Record {
	t.Helper()
	if err := CheckCRC(b); err != nil {
		t.Fatal(err)
	}
	var out []Record
	for r, err := range Records(b, Limits{}) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

func TestRetain(t *testing.T) {
	for c := None; c <= Zstd; c++ {
		in := keyed(c, 10)
		before := collect(t, in)
		got, err := Retain(nil, in, Retention{HorizonMs: 777, Keep: func(k Kept) bool { return k.Offset%2 == 1 }})
		if err != nil || got.Read != 10 || got.Kept != 5 {
			t.Fatalf("%s: %+v, %v", c, got, err)
		}
		h, err := ParseHeader(got.Batch)
		if err != nil {
			t.Fatal(err)
		}
		if h.BaseOffset != 100 || h.LastOffset() != 109 || h.Codec() != c || h.Count != 5 || h.ProducerID != 9 ||
			h.BaseSequence != 50 || h.LastSequence() != 59 || h.LeaderEpoch != 4 || h.MaxTimestampMs != 5063 {
			t.Errorf("%s: header %+v", c, h)
		}
		if ms, ok := h.DeleteHorizonMs(); !ok || ms != 777 { // k5 has no value and stays
			t.Errorf("%s: horizon %d, %v", c, ms, ok)
		}
		for i, r := range collect(t, got.Batch) {
			if want := before[2*i+1]; fmt.Sprint(r) != fmt.Sprint(want) || (r.Value == nil) != (want.Value == nil) {
				t.Errorf("%s: record %+v, want %+v", c, r, want)
			}
		}
		// A horizon stays, and so do the bytes when nothing goes.
		again, err := Retain(nil, got.Batch, Retention{HorizonMs: 999, Keep: func(Kept) bool { return true }})
		if err != nil || &again.Batch[0] != &got.Batch[0] {
			t.Errorf("%s: a batch that loses nothing was written anew: %v", c, err)
		}
		none, err := Retain(nil, in, Retention{Keep: func(Kept) bool { return false }})
		if err != nil || none.Batch != nil || none.Read != 10 {
			t.Errorf("%s: %+v, %v", c, none, err)
		}
	}
}

// TestRetainMarker gives a transaction's marker its delete horizon.
func TestRetainMarker(t *testing.T) {
	in := ControlBatch(Abort, 3, 9, 1, 5000)
	got, err := Retain(nil, in, Retention{HorizonMs: 9000, Marker: true, Keep: func(Kept) bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	h, _ := ParseHeader(got.Batch)
	if ms, ok := h.DeleteHorizonMs(); !ok || ms != 9000 || !h.IsControl() || h.ProducerEpoch != 1 || h.MaxTimestampMs != 5000 {
		t.Errorf("header %+v", h)
	}
	recs := collect(t, got.Batch)
	if kind, epoch, err := ParseControl(recs[0]); err != nil || kind != Abort || epoch != 3 || recs[0].TimestampMs != 5000 {
		t.Errorf("%+v: %v %d %v", recs[0], kind, epoch, err)
	}
}

func TestHollow(t *testing.T) {
	h, _ := ParseHeader(keyed(LZ4, 10))
	b := Hollow(nil, h)
	if got := collect(t, b); len(got) != 0 {
		t.Errorf("%d records", len(got))
	}
	e, err := ParseHeader(b)
	if err != nil || e.LastOffset() != h.LastOffset() || e.LastSequence() != h.LastSequence() || e.MaxTimestampMs != h.MaxTimestampMs ||
		e.ProducerID != h.ProducerID || e.Codec() != None || e.Size() != HeaderSize {
		t.Errorf("header %+v, %v", e, err)
	}
}

// TestRetainMalformed wants an error, and no panic, of every cut and flip.
func TestRetainMalformed(t *testing.T) {
	all := Retention{Keep: func(Kept) bool { return true }}
	for c := None; c <= Zstd; c++ {
		in := keyed(c, 6)
		for i := HeaderSize; i < len(in); i++ {
			bad := append([]byte(nil), in...)
			bad[i] ^= 0x55
			if _, err := Retain(nil, bad, all); err != nil && !errors.Is(err, kafka.CorruptMessage) && !errors.Is(err, kafka.MessageTooLarge) {
				t.Fatalf("%s: byte %d: %v", c, i, err)
			}
		}
		bad := append([]byte(nil), in...)
		bad[offCount+3]++
		if err := Keys(bad, Limits{}, func(Kept) {}); !errors.Is(err, kafka.CorruptMessage) {
			t.Errorf("%s: one record too many: %v", c, err)
		}
	}
}

func FuzzRetain(f *testing.F) {
	f.Add(keyed(None, 5), uint64(3))
	f.Add(keyed(Snappy, 5), uint64(9))
	f.Fuzz(func(t *testing.T, b []byte, mask uint64) {
		h, err := ParseHeader(b)
		if err != nil || h.Size() != int64(len(b)) {
			return
		}
		keep := func(k Kept) bool { return mask>>(uint64(k.Offset)&63)&1 == 1 }
		got, err := Retain(nil, b, Retention{Keep: keep, HorizonMs: 1000, Limits: Limits{MaxBytes: 1 << 20}})
		if err != nil || got.Batch == nil {
			return
		}
		n := 0
		for r, err := range Records(got.Batch, Limits{}) {
			if err != nil {
				t.Fatalf("what Retain wrote does not decode: %v", err)
			}
			if !keep(Kept{Offset: r.Offset}) {
				t.Fatalf("offset %d was to go", r.Offset)
			}
			n++
		}
		if n != got.Kept {
			t.Fatalf("%d records, want %d", n, got.Kept)
		}
	})
}
