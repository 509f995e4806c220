package commitlog

import (
	"bytes"
	"errors"
	"os"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/errorfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

// TestWhoWaitsIsToldOnce: a sync of the log's own files may overtake the write-ahead file's.
// Who waits for the batch is told by whichever came first, and once.
func TestWhoWaitsIsToldOnce(t *testing.T) {
	hold := make(chan struct{})
	var held atomic.Bool
	l, w := groupLog(t, errorfs.Wrap(newFS(t), func(op errorfs.Op, name string) error {
		if op == errorfs.FileDatasync && strings.HasSuffix(name, "varve-wal") && held.Load() {
			<-hold
		}
		return nil
	}))
	told := make(chan int64, 10)
	OnDurable(l, func() { told <- l.Durable() })
	appendBatch(t, l, records(1, 100, testNowMs), 0) // durable by its own sync, with which the log joins
	if got := <-told; got != 1 {
		t.Fatalf("told of %d", got)
	}
	held.Store(true)
	appendBatch(t, l, records(1, 100, testNowMs), 0)
	if d := l.Durable(); d != 1 {
		t.Fatalf("durable up to %d before any sync", d)
	}
	if err := (redoOwner{l}).SyncForWAL(); err != nil {
		t.Fatal(err)
	}
	if got := <-told; got != 2 {
		t.Fatalf("told of %d", got)
	}
	redoOwner{l}.Committed(l.w.member, 2, 0) // as the write-ahead file does in a moment
	close(hold)
	if err := errors.Join(l.Close(), w.Close(true)); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-told:
		t.Errorf("told of %d again", got)
	default:
	}
}

// TestPowerCutWhereALogRolls: all batches are synced, and the checkpoint says so, when the log
// rolls. The indexes and the snapshot that a roll writes are not, and the snapshot is all that
// knows the producers once the segments in front of it are evicted.
func TestPowerCutWhereALogRolls(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, l *Log){
		"flushed": func(t *testing.T, l *Log) {
			if err := l.Flush(); err != nil {
				t.Fatal(err)
			}
		},
		// The log ends inside what was a closed segment when the last checkpoint but one was taken.
		"truncated": func(t *testing.T, l *Log) {
			for i := range int32(3) {
				if i == 1 {
					if err := l.Roll(); err != nil {
						t.Fatal(err)
					}
				}
				appendBatch(t, l, transactional(7, 0, 6+2*i, 2), 0)
			}
			if err := errors.Join(l.Flush(), l.FlushClosed(), l.opts.Checkpoint(), l.TruncateTo(6)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(40) {
				powerCutWhereALogRolls(t, seed, prepare)
			}
		})
	}
}

func powerCutWhereALogRolls(t *testing.T, seed uint64, prepare func(*testing.T, *Log)) {
	mem := newFS(t)
	var moments []*memfs.FS
	on := false
	o := testOptions(errorfs.Wrap(mem, func(errorfs.Op, string) error {
		if on {
			moments = append(moments, mem.CrashClone(seed))
		}
		return nil
	}))
	var l *Log
	var st State
	o.Checkpoint = func() error { st = l.State(); return nil }
	l = open(t, o)
	for i := range int32(3) {
		appendBatch(t, l, transactional(7, 0, 2*i, 2), 0)
		if i == 0 {
			if err := l.Roll(); err != nil {
				t.Fatal(err)
			}
		}
	}
	prepare(t, l)
	if st.RecoveryPoint == 0 {
		st = l.State()
	}
	if st.RecoveryPoint != 6 {
		t.Fatalf("the checkpoint has %+v", st)
	}
	want := producersOf(t, l)
	on = true
	if err := l.Roll(); err != nil {
		t.Fatal(err)
	}
	on = false
	for i, m := range append(moments, mem.CrashClone(seed)) {
		o.Checkpoint = nil
		c := reopen(t, o, m, &st, false, true)
		if got := producersOf(t, c); !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d, call %d: producers %+v, want %+v", seed, i, got, want)
		}
		if segs := c.Segments(); segs[len(segs)-1].Base != 6 {
			continue
		}
		if n, err := c.EvictBelow(6); n == 0 || err != nil {
			t.Fatalf("seed %d, call %d: evicted %d, %v", seed, i, n, err)
		}
		after := c.State()
		c = reopen(t, o, m.CrashClone(seed), &after, false, true)
		appendBatch(t, c, transactional(7, 0, 6, 2), 0)
		if err := c.TruncateTo(6); err != nil {
			t.Fatal(err)
		}
		if got := producersOf(t, c); !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d, call %d: producers after the eviction %+v, want %+v", seed, i, got, want)
		}
	}
}

// TestCheckpointVouchesForNames: a closed segment whose batches were synced before is no news
// for the recovery point, but the files that its roll made are.
func TestCheckpointVouchesForNames(t *testing.T) {
	fsys := newFS(t)
	l := open(t, testOptions(fsys))
	appendBatch(t, l, transactional(7, 0, 0, 2), 0)
	if err := errors.Join(l.Flush(), l.Roll(), l.FlushClosed()); err != nil {
		t.Fatal(err)
	}
	if st := l.State(); st.closedPoint() != 2 {
		t.Fatalf("the checkpoint has %+v", st)
	}
	want := names(t, fsys)
	for seed := range uint64(20) {
		if got := names(t, fsys.CrashClone(seed)); !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: %v, want %v", seed, got, want)
		}
	}
}

// TestRebuiltIndexesAreDurable: the checkpoint vouches for the indexes of a closed segment, also
// while a recovery, or a check, puts them in order.
func TestRebuiltIndexesAreDurable(t *testing.T) {
	const index = "/data/orders-3/00000000000000000000.index"
	mem := newFS(t)
	var moments []*memfs.FS
	on, seed := false, uint64(0)
	fsys := errorfs.Wrap(mem, func(errorfs.Op, string) error {
		if on {
			seed++
			moments = append(moments, mem.CrashClone(seed))
		}
		return nil
	})
	o := testOptions(fsys)
	l := open(t, o)
	for range 8 {
		appendBatch(t, l, records(1, 300, testNowMs), 0)
	}
	if err := errors.Join(l.Roll(), l.Flush()); err != nil {
		t.Fatal(err)
	}
	st := l.State()
	want, err := vfs.ReadFile(mem, index)
	if err != nil || len(want) < 3*offsetEntrySize {
		t.Fatalf("%d bytes, %v", len(want), err)
	}
	torn := want[:len(want)-3]
	f, err := mem.OpenFile(index, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(int64(len(torn))), f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
	whole := func(what string, old []byte) {
		t.Helper()
		for i, m := range append(moments, mem.CrashClone(99)) {
			got, err := vfs.ReadFile(m, index)
			if last := i == len(moments); err != nil || !bytes.Equal(got, want) && (last || !bytes.Equal(got, old)) {
				t.Fatalf("%s, call %d of %d: %x, %v", what, i, len(moments), got, err)
			}
		}
		moments = nil
	}
	on = true
	c := reopen(t, o, fsys, &st, false, true)
	on = false
	if got := c.State(); got.closedPoint() != 8 {
		t.Fatalf("the checkpoint has %+v", got)
	}
	whole("recovery", torn)
	on = true
	err = Mender{c}.Check(0)
	on = false
	if err != nil {
		t.Fatal(err)
	}
	if got := c.State(); got.closedPoint() != 8 {
		t.Fatalf("the checkpoint has %+v after a check", got)
	}
	whole("check", want)
}

// TestSnapshotFromBelowTheLog is not taken for the state at the log's start.
func TestSnapshotFromBelowTheLog(t *testing.T) {
	fsys := newFS(t)
	o := testOptions(fsys)
	l := open(t, o)
	for i := range int32(2) {
		appendBatch(t, l, transactional(7, 0, 2*i, 2), 0)
		if err := l.Roll(); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, err := l.EvictBelow(4); n != 2 || err != nil {
		t.Fatalf("evicted %d, %v", n, err)
	}
	st := l.State()
	if err := fsys.Remove("/data/orders-3/00000000000000000004.snapshot"); err != nil {
		t.Fatal(err)
	}
	if _, err := fsys.Stat("/data/orders-3/00000000000000000002.snapshot"); err != nil {
		t.Fatal(err)
	}
	if got := producersOf(t, reopen(t, o, fsys, &st, false, true)); len(got) > 0 {
		t.Errorf("the state of evicted batches passes for that of the log's start: %+v", got)
	}
}

// TestTruncatedAbortStaysGone: the marker of an abort is cut off, and the transaction is
// committed at the same offset instead. After a power cut no index says otherwise.
func TestTruncatedAbortStaysGone(t *testing.T) {
	mem := newFS(t)
	o := testOptions(mem)
	var st State
	var l *Log
	o.Checkpoint = func() error { st = l.State(); return nil }
	l = open(t, o)
	appendBatch(t, l, transactional(7, 0, 0, 2), 0)
	appendBatch(t, l, txnMarker(batch.Abort, 7), 0)
	if err := errors.Join(l.Flush(), l.opts.Checkpoint(), l.TruncateTo(2)); err != nil {
		t.Fatal(err)
	}
	appendBatch(t, l, txnMarker(batch.Commit, 7), 0)
	if err := errors.Join(l.Roll(), l.FlushClosed(), l.opts.Checkpoint()); err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(20) {
		r := reopen(t, o, mem.CrashClone(seed), &st, false, true)
		if got, err := r.AbortedTxns(0, r.End()); len(got) > 0 || err != nil || r.End() != 3 {
			t.Errorf("seed %d: aborted %+v in a log that ends at %d, %v", seed, got, r.End(), err)
		}
	}
}

func producersOf(t *testing.T, l *Log) []ProducerSnapshotEntry {
	t.Helper()
	p, err := Producers(l)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestRollInFrontOfASeal: a sealed log opens after a kill with its closed segments for synced.
func TestRollInFrontOfASeal(t *testing.T) {
	l := open(t, testOptions(newFS(t)))
	appendBatch(t, l, records(1, 10, testNowMs), 0)
	if err := errors.Join(l.FlushClosed(), (syncer{l}).flush(syncClosed), l.Roll(), (syncer{l}).seal()); err != nil {
		t.Fatal(err)
	}
	if l.State().Sealed {
		t.Error("sealed with a closed segment that no sync has seen")
	}
	if err := l.FlushClosed(); err != nil || !l.State().Sealed {
		t.Errorf("not sealed by the next checkpoint, %v", err)
	}
}

// TestNobodyIsToldInPagecacheMode: there an append may be acknowledged at once, and a sync is
// nothing to tell of.
func TestNobodyIsToldInPagecacheMode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := testOptions(newFS(t))
		l := open(t, o)
		told := 0
		OnDurable(l, func() { told++ })
		for range 3 {
			appendBatch(t, l, records(1, 100, testNowMs), 0)
			if err := l.Flush(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if told > 0 || l.Durable() != 3 {
			t.Errorf("told %d times; durable up to %d", told, l.Durable())
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
