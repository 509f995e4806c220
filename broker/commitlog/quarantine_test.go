package commitlog

import (
	"errors"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs/errorfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

// TestCrashWhileSettingAside cuts the power at each step at which a damaged segment is
// replaced, in a running log: what comes back has the same hole and all other records.
func TestCrashWhileSettingAside(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 7))
		o, fsys, st := damaged(t, func(b []byte, _ int) []byte { return b })
		o.Config.Compact = seed%4 == 3
		l := reopen(t, o, fsys, &st, false, false)
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
		if seed%2 == 0 { // a closed segment
			if err := l.Roll(); err != nil {
				t.Fatal(err)
			}
			appendBatch(t, l, records(1, 50, testNowMs), 0)
			if err := l.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		st = l.State()
		end := l.End()
		flipBit(t, fsys, "/data/orders-3/00000000000000000000.log", 4*130+40, 2)
		clones := []*memfs.FS{}
		l.opts.FS = hookFS{FS: fsys, after: func() { clones = append(clones, fsys.CrashClone(r.Uint64())) }}
		if err := (Mender{l}).Check(3); err != nil {
			t.Fatal(err)
		}
		if _, ok := l.mu.holes.open(0); !ok || len(clones) < 4 {
			t.Fatalf("seed %d: holes %v, %d steps", seed, l.mu.holes, len(clones))
		}
		hole := l.mu.holes[0]
		for i, c := range append(clones, fsys.CrashClone(r.Uint64())) {
			was := st
			b := reopen(t, o, c, &was, false, true)
			if i < 2 { // the hole was not durable yet: as before the check
				if err := (Mender{b}).Check(3); err != nil {
					t.Fatal(err)
				}
			}
			hs := (Mender{b}).Holes()
			if b.Err() != nil || b.Damage() != nil || b.End() != end || len(hs) != 1 || hs[0].From != hole.From || hs[0].To != hole.To {
				t.Fatalf("seed %d, step %d: ends at %d of %d, holes %v, want %v: %v %v", seed, i, b.End(), end, hs, hole, b.Err(), b.Damage())
			}
			for off := int64(0); off < end; off++ {
				_, err := b.Read(off, 1, end, true)
				if in := off >= hole.From && off < hole.To; in != (kafka.Code(err) == kafka.CorruptMessage) || !in && err != nil {
					t.Fatalf("seed %d, step %d: offset %d: %v", seed, i, off, err)
				}
			}
		}
	}
}

// TestSettingAsideNeedsRoom: where the new file can't be written, the old one stays and the
// log says why it is closed.
func TestSettingAsideNeedsRoom(t *testing.T) {
	o, fsys, st := damaged(t, func(b []byte, n int) []byte { b[4*n+n-3] ^= 4; return b })
	full := errorfs.Wrap(fsys, func(op errorfs.Op, name string) error {
		if op == errorfs.FileWriteAt && name == "/data/orders-3/00000000000000000000.log.tmp" {
			return syscall.ENOSPC
		}
		return nil
	})
	o.FS, o.Files, o.State, o.Fresh = full, NewFileCache(full, 4), &st, false
	l, err := Open(o)
	if err != nil || !errors.Is(l.Err(), syscall.ENOSPC) || !errors.Is(l.Err(), kafka.KafkaStorageError) {
		t.Fatalf("%v, %v", err, l.Err())
	}
	if l = reopen(t, o, fsys, &st, false, false); l.Err() != nil || l.End() != 10 || len(Mender{l}.Holes()) != 1 {
		t.Errorf("with room again: ends at %d, holes %v, %v", l.End(), Mender{l}.Holes(), l.Err())
	}
}

// TestValuesThatLookLikeBatches: bytes of a batch inside of a record are no batch of the log,
// when the length of the one around them is damaged.
func TestValuesThatLookLikeBatches(t *testing.T) {
	fsys := newFS(t)
	o := testOptions(fsys)
	l := open(t, o)
	appendBatch(t, l, records(1, 20, testNowMs), 0)
	inner := records(3, 20, testNowMs) // with offsets that fit
	inner[7] = 5
	at := l.Size()
	var outer batch.Builder
	outer.Append(nil, inner, nil, testNowMs)
	appendBatch(t, l, outer.Bytes(), 0)
	appendBatch(t, l, records(1, 20, testNowMs), 0)
	st := State{TP: testTP, TopicID: testID, HighestRemote: kafka.NoOffset, LatestEpoch: kafka.NoEpoch}
	flipBit(t, fsys, "/data/orders-3/00000000000000000000.log", int(at)+9, 3)
	l = reopen(t, o, fsys, &st, false, false)
	if hs := (Mender{l}).Holes(); l.Err() != nil || l.End() != 3 || len(hs) != 1 || hs[0].From != 1 || hs[0].To != 2 {
		t.Errorf("ends at %d, holes %v, %v", l.End(), hs, l.Err())
	}
}
