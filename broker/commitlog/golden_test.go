package commitlog

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// TestGoldenDirectories opens partition directories that Apache Kafka 4.3.1 and version 1 of
// this program wrote, as they are, cleanly and after a crash; it must do so for ever. They
// are made by TestWriteMovedGoldens of test/compat.
func TestGoldenDirectories(t *testing.T) {
	for name, want := range map[string]struct {
		end, stable int64
		epochs      int
		aborted     int
		producers   int
	}{
		"kafka-4.3.1": {end: 234, stable: 234, epochs: 2, aborted: 3, producers: 7},
		"varve-1":     {end: 20, stable: 20, epochs: 1, producers: 5},
	} {
		for _, clean := range []bool{false, true} {
			fsys := newFS(t)
			copyPartition(t, vfs.OS(), "testdata/"+name, fsys, "/data/orders-3")
			meta, err := os.ReadFile("testdata/" + name + "/partition.metadata")
			if err != nil {
				t.Fatal(err)
			}
			o := testOptions(fsys)
			if o.TopicID, err = ParsePartitionMetadata(meta); err != nil {
				t.Fatal(err)
			}
			o.ProducerIDExpirationMs = 1 << 60
			st := &State{TP: testTP, TopicID: o.TopicID, HighestRemote: kafka.NoOffset, End: want.end}
			l := reopen(t, o, fsys, st, clean, false)
			producers, err := Producers(l)
			if l.Err() != nil || l.End() != want.end || l.LastStable(l.End()) != want.stable || len(l.Epochs()) != want.epochs || len(producers) != want.producers || err != nil {
				t.Fatalf("%s, clean %v: ends at %d, stable %d, epochs %v, %d producers: %v %v", name, clean, l.End(), l.LastStable(l.End()), l.Epochs(), len(producers), l.Err(), err)
			}
			aborted, err := l.AbortedTxns(0, l.End())
			if err != nil || len(aborted) != want.aborted {
				t.Errorf("%s, clean %v: aborted %v, %v", name, clean, aborted, err)
			}
			if out := answers(l); strings.Contains(out, "error") {
				t.Errorf("%s, clean %v: %s", name, clean, out)
			}
			if got := readAll(t, l, 0); int64(len(got)) != l.Size() {
				t.Errorf("%s, clean %v: %d of %d bytes", name, clean, len(got), l.Size())
			}
			if len(Mender{l}.Holes()) != 0 {
				t.Errorf("%s, clean %v: holes %v", name, clean, Mender{l}.Holes())
			}
		}
	}
}

// TestGoldenDamage: the list of holes, version 1, must be read for ever.
func TestGoldenDamage(t *testing.T) {
	want, err := os.ReadFile("testdata/varve-damage-1")
	if err != nil {
		t.Fatal(err)
	}
	hs := []Hole{
		{From: 4, To: 5, FoundMs: testNowMs, File: "00000000000000000000.log", Byte: 520},
		{From: 100, To: 250, Accepted: true, FoundMs: testNowMs, File: "00000000000000000100.log"},
	}
	if got := AppendDamage(nil, hs); string(got) != string(want) {
		t.Errorf("written\n%s, the golden file is\n%s", got, want)
	}
	got, err := ParseDamage(want)
	if err != nil || len(got) != 2 || got[0] != hs[0] || got[1] != hs[1] {
		t.Errorf("read %v, %v", got, err)
	}
	for at := range want {
		for bit := range 8 {
			b := []byte(string(want))
			b[at] ^= 1 << bit
			if _, err := ParseDamage(b); !errors.Is(err, kafka.ErrCorrupt) && kafka.Code(err) != kafka.UnsupportedVersion {
				t.Fatalf("a flip of bit %d in byte %d: %v", bit, at, err)
			}
		}
	}
}

// TestScannedBytes: a clean start reads no segment; one after a crash what lies past the
// checkpoint.
func TestScannedBytes(t *testing.T) {
	o, fsys, st := flipLog(t)
	o.Stats = new(Stats)
	l := reopen(t, o, fsys, &st, true, false)
	_ = answers(l)
	if n := o.Stats.ScannedBytes.Load(); n != 0 {
		t.Errorf("a clean start scanned %d bytes", n)
	}
	segs := l.Segments()
	st = l.State()
	l = reopen(t, o, fsys, &st, false, false)
	if n, last := o.Stats.ScannedBytes.Load(), segs[len(segs)-1].SizeBytes; n != last || l.Err() != nil {
		t.Errorf("a start after a crash scanned %d bytes, the segment past the checkpoint holds %d: %v", n, last, l.Err())
	}
}

// TestLossesAreAccepted settles each kind of loss and goes on without giving an offset twice.
func TestLossesAreAccepted(t *testing.T) {
	t.Run("an end below the promise", func(t *testing.T) {
		o, fsys, st := damaged(t, func(b []byte, n int) []byte { return b[:5*n] })
		st.RecoveryPoint, st.End = 8, 10
		l := reopen(t, o, fsys, &st, false, true)
		if _, err := (Mender{l}).AcceptLoss(6, 8); kafka.Code(err) != kafka.InvalidRequest {
			t.Errorf("half of the range: %v", err)
		}
		if lost, err := (Mender{l}).AcceptLoss(5, 8); err != nil || len(lost) != 1 || l.Damage() != nil {
			t.Fatalf("lost %v, %v, damage %v", lost, err, l.Damage())
		}
		if a := appendBatch(t, l, records(1, 1, 0), 0); a.BaseOffset != 8 {
			t.Errorf("goes on at %d, want 8", a.BaseOffset)
		}
		for _, clean := range []bool{false, true} {
			if clean && l.Close() != nil {
				t.Fatal("close failed")
			}
			st = l.State()
			l = reopen(t, o, fsys, &st, clean, false)
			r, err := l.Read(5, 1, l.End(), true)
			if err != nil || r.Base != 8 || l.End() != 9 {
				t.Fatalf("clean %v: read behind the loss at %d of %d: %v", clean, r.Base, l.End(), err)
			}
			r.Range.Release()
		}
	})
	t.Run("all files", func(t *testing.T) {
		o, fsys, st := damaged(t, func(b []byte, _ int) []byte { return b })
		st.RecoveryPoint, st.End = 8, 10
		if err := fsys.RemoveAll("/data/orders-3"); err != nil {
			t.Fatal(err)
		}
		l := reopen(t, o, fsys, &st, false, false)
		if lost, err := (Mender{l}).AcceptLoss(0, 10); err != nil || len(lost) != 1 || l.End() != 10 {
			t.Fatalf("lost %v, ends at %d: %v", lost, l.End(), err)
		}
		if a := appendBatch(t, l, records(1, 1, 0), 0); a.BaseOffset != 10 {
			t.Errorf("goes on at %d, want 10", a.BaseOffset)
		}
	})
	t.Run("a segment in the middle", func(t *testing.T) {
		fsys := newFS(t)
		o := testOptions(fsys)
		l := open(t, o)
		for range 10 {
			appendBatch(t, l, records(1, 1000, testNowMs), 0)
		}
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
		st := l.State()
		gone := l.Segments()[1]
		if err := fsys.Remove(segmentPath("/data/orders-3", gone.Base, ".log")); err != nil {
			t.Fatal(err)
		}
		l = reopen(t, o, fsys, &st, false, true)
		if _, err := l.Read(gone.Base, 1, l.End(), true); kafka.Code(err) != kafka.CorruptMessage || l.End() != 10 {
			t.Fatalf("a read of the lost segment: %v, ends at %d", err, l.End())
		}
		if _, err := (Mender{l}).AcceptLoss(gone.Base, gone.Next); err != nil {
			t.Fatal(err)
		}
		if r, err := l.Read(gone.Base, 1, l.End(), true); err != nil || r.Base != gone.Next {
			t.Errorf("read behind the loss: %d, %v", r.Base, err)
		}
	})
	t.Run("two files swapped", func(t *testing.T) {
		fsys := newFS(t)
		o := testOptions(fsys)
		l := open(t, o)
		for range 10 {
			appendBatch(t, l, records(1, 1000, testNowMs), 0)
		}
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
		segs, st := l.Segments(), l.State()
		a, b := segmentPath("/data/orders-3", segs[0].Base, ".log"), segmentPath("/data/orders-3", segs[1].Base, ".log")
		for _, mv := range [][2]string{{a, "/data/x"}, {b, a}, {"/data/x", b}} {
			if err := fsys.Rename(mv[0], mv[1]); err != nil {
				t.Fatal(err)
			}
		}
		l = reopen(t, o, fsys, &st, false, false)
		if l.Err() != nil || l.End() != 10 {
			t.Fatalf("ends at %d: %v", l.End(), l.Err())
		}
		for off := int64(0); off < 10; off++ {
			r, err := l.Read(off, 1, l.End(), true)
			if lost := off < segs[1].Next; lost != (kafka.Code(err) == kafka.CorruptMessage) || !lost && r.Base != off {
				t.Errorf("offset %d: base %d, %v", off, r.Base, err)
			}
		}
	})
}
