package commitlog

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/varve-io/varve/broker/kafka"
)

// What a decoder accepts, its encoder writes back byte for byte; what it refuses is
// corrupt data and nothing else.

func refused(t *testing.T, err error) bool {
	t.Helper()
	if err != nil && !errors.Is(err, kafka.ErrCorrupt) {
		t.Fatalf("refused without saying corrupt: %v", err)
	}
	return err != nil
}

func FuzzOffsetIndex(f *testing.F) {
	f.Add([]byte{})
	f.Add(appendOffsetEntry(appendOffsetEntry(nil, 100, OffsetEntry{103, 50}), 100, OffsetEntry{120, 5000}))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := ParseOffsetIndex(100, b)
		if refused(t, err) {
			return
		}
		var again []byte
		for i := range x.Len() {
			e := x.Entry(i)
			again = appendOffsetEntry(again, 100, e)
			if got := x.Lookup(e.Offset); got != e {
				t.Fatalf("look-up of %d answers %+v", e.Offset, got)
			}
		}
		if !bytes.Equal(again, b) {
			t.Fatal("does not round-trip")
		}
	})
}

func FuzzTimeIndex(f *testing.F) {
	f.Add([]byte{})
	f.Add(appendTimeEntry(appendTimeEntry(nil, 100, TimeEntry{5, 103}), 100, TimeEntry{6, 120}))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := ParseTimeIndex(100, b)
		if refused(t, err) {
			return
		}
		var again []byte
		for i := range x.Len() {
			e := x.Entry(i)
			again = appendTimeEntry(again, 100, e)
			if got := x.Lookup(e.TimestampMs); got.TimestampMs >= e.TimestampMs && got.Offset != 100 {
				t.Fatalf("look-up of %d answers %+v", e.TimestampMs, got)
			}
		}
		if !bytes.Equal(again, b) {
			t.Fatal("does not round-trip")
		}
	})
}

func FuzzTxnIndex(f *testing.F) {
	f.Add(appendTxnEntry(nil, AbortedTxn{1, 90, 105, 106}))
	f.Fuzz(func(t *testing.T, b []byte) {
		txns, err := ParseTxnIndex(100, b)
		if refused(t, err) {
			return
		}
		var again []byte
		for _, x := range txns {
			again = appendTxnEntry(again, x)
		}
		if !bytes.Equal(again, b) {
			t.Fatal("does not round-trip")
		}
	})
}

func FuzzProducerSnapshot(f *testing.F) {
	f.Add(AppendProducerSnapshot(nil, nil))
	f.Add(AppendProducerSnapshot(nil, []ProducerSnapshotEntry{{1, 2, 3, 4, 0, 5, 6, 7}, {9, 0, 1, 2, 1, 3, -1, -1}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := ParseProducerSnapshot(b)
		if refused(t, err) {
			return
		}
		if !bytes.Equal(AppendProducerSnapshot(nil, entries), b) {
			t.Fatal("does not round-trip")
		}
		newProducerState(0).load(entries, 10, 0)
	})
}

func FuzzEpochCheckpoint(f *testing.F) {
	f.Add([]byte("0\n0\n"))
	f.Add([]byte("0\n2\n0 0\n5 100\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := ParseEpochCheckpoint(b)
		if refused(t, err) {
			return
		}
		again, err := ParseEpochCheckpoint(AppendEpochCheckpoint(nil, entries))
		if err != nil || len(again) != len(entries) {
			t.Fatalf("%v become %v: %v", entries, again, err)
		}
	})
}

func FuzzPartitionMetadata(f *testing.F) {
	f.Add(AppendPartitionMetadata(nil, testID))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := ParsePartitionMetadata(b)
		if refused(t, err) {
			return
		}
		if again, err := ParsePartitionMetadata(AppendPartitionMetadata(nil, id)); err != nil || again != id {
			t.Fatalf("%s becomes %s: %v", id, again, err)
		}
	})
}

func FuzzDamage(f *testing.F) {
	f.Add(AppendDamage(nil, []Hole{{From: 4, To: 5, File: "00000000000000000000.log", Byte: 520}, {From: 9, To: 12, Accepted: true, FoundMs: 1, File: "a b"}}))
	f.Add([]byte("varve-damage 2\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		hs, err := ParseDamage(b)
		if kafka.Code(err) == kafka.UnsupportedVersion || refused(t, err) {
			return
		}
		if again, err := ParseDamage(AppendDamage(nil, hs)); err != nil || !slices.Equal(again, hs) {
			t.Fatalf("%v came back as %v: %v", hs, again, err)
		}
		for _, h := range hs {
			if end := holes(hs).end(h.From); end < h.To {
				t.Fatalf("%v ends at %d", h, end)
			}
		}
	})
}
