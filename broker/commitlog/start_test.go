package commitlog

import (
	"bytes"
	"log/slog"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/errorfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

// TestF13StartOfALogThatWasNotReadYet: a log that a clean start has opened without reading
// it keeps what it is told before its first use.
func TestF13StartOfALogThatWasNotReadYet(t *testing.T) {
	fsys := newFS(t)
	o := testOptions(fsys)
	l := open(t, o)
	for range 10 {
		appendBatch(t, l, records(1, 100, testNowMs), 0)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	st := l.State()
	l = reopen(t, o, fsys, &st, true, false)
	if err := l.SetStart(7); err != nil {
		t.Fatal(err)
	}
	if n := len(l.Segments()); n == 0 { // reads the files
		t.Fatal("no segments")
	}
	if start, local := l.LogStart(), l.LocalStart(); start != 7 || local != 7 {
		t.Errorf("log start %d, local start %d; want 7 twice", start, local)
	}
}

// TestF13DeletedEpochsAreForgotten: the leader-epoch history begins at the log start, as
// Kafka's does, whether the log is moved or read anew.
func TestF13DeletedEpochsAreForgotten(t *testing.T) {
	fsys := newFS(t)
	o := testOptions(fsys)
	l := open(t, o)
	for i := range int32(9) {
		appendBatch(t, l, records(1, 10, testNowMs), i/3)
	}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	before := l.State()
	if err := l.SetStart(4); err != nil {
		t.Fatal(err)
	}
	want := []EpochEntry{{Epoch: 1, Start: 4}, {Epoch: 2, Start: 6}}
	if got := l.Epochs(); !reflect.DeepEqual(got, want) {
		t.Errorf("epochs %v, want %v", got, want)
	}
	before.LogStart = 4
	if got := reopen(t, o, fsys, &before, false, false).Epochs(); !reflect.DeepEqual(got, want) {
		t.Errorf("read anew: epochs %v, want %v", got, want)
	}
}

// TestF13StartInsideAnEpoch: the history then begins in the middle of an epoch, whose earlier
// batches may still be there, and that is no reason to recover a log that was closed in order.
func TestF13StartInsideAnEpoch(t *testing.T) {
	fsys := newFS(t)
	o := testOptions(fsys)
	var said bytes.Buffer
	o.Logger = slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelWarn}))
	l := open(t, o)
	for i := range int32(9) {
		appendBatch(t, l, records(1, 10, testNowMs), i/3)
	}
	if err := l.SetStart(4); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	st := l.State()
	want := []EpochEntry{{Epoch: 1, Start: 4}, {Epoch: 2, Start: 6}}
	if got := reopen(t, o, fsys, &st, true, false).Epochs(); !reflect.DeepEqual(got, want) {
		t.Errorf("epochs %v, want %v", got, want)
	}
	if said.Len() > 0 {
		t.Errorf("a clean start says:\n%s", said.String())
	}
	if err := vfs.WriteFileAtomic(fsys, "/data/orders-3/"+epochFile, AppendEpochCheckpoint(nil, []EpochEntry{{Epoch: 1, Start: 5}, want[1]})); err != nil {
		t.Fatal(err)
	}
	if got := reopen(t, o, fsys, &st, true, false).Epochs(); !reflect.DeepEqual(got, want) {
		t.Errorf("a damaged history is believed: %v", got)
	}
}

// TestF13SealedLogKnowsItsEpochs: a sealed log has its epochs in batches that no sync has
// covered yet, while leader-epoch-checkpoint says what was true at the last one, or is not
// there at all; and the end in order of the next process makes up for it.
func TestF13SealedLogKnowsItsEpochs(t *testing.T) {
	for _, truncated := range []bool{false, true} {
		fsys := newFS(t)
		o := testOptions(fsys)
		var said bytes.Buffer
		o.Logger = slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelWarn}))
		l := open(t, o)
		if truncated { // the file is written, and says that there is no epoch
			appendBatch(t, l, records(1, 10, testNowMs), 0)
			if err := l.TruncateTo(0); err != nil {
				t.Fatal(err)
			}
		}
		for i := range int32(4) {
			appendBatch(t, l, records(1, 10, testNowMs), i/2)
		}
		for range 2 {
			if err := l.FlushClosed(); err != nil {
				t.Fatal(err)
			}
		}
		st := l.State()
		if !st.Sealed || st.RecoveryPoint > 0 {
			t.Fatalf("want a sealed log that was not synced: %+v", st)
		}
		killed := fsys.KillClone()
		want := []EpochEntry{{Epoch: 0, Start: 0}, {Epoch: 1, Start: 2}}
		l = reopen(t, o, killed, &st, true, false)
		if got := l.Epochs(); !reflect.DeepEqual(got, want) {
			t.Errorf("truncated %v: epochs %v, want %v", truncated, got, want)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		b, err := vfs.ReadFile(killed, "/data/orders-3/"+epochFile)
		if got, _ := ParseEpochCheckpoint(b); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("truncated %v: after a close the file says %v, %v; want %v", truncated, got, err, want)
		}
		if said.Len() > 0 {
			t.Errorf("truncated %v: the log says:\n%s", truncated, said.String())
		}
	}
}

// TestF13HistoryOfBatchesThatAreGone: a crash in a truncation leaves the history of what was cut
// off. A batch of the same epoch, over the place where it was to begin, does not make it true.
func TestF13HistoryOfBatchesThatAreGone(t *testing.T) {
	fsys := newFS(t)
	o := testOptions(fsys)
	l := open(t, o)
	appendBatch(t, l, records(4, 10, testNowMs), 2)
	appendBatch(t, l, records(4, 10, testNowMs), 3)
	stale := AppendEpochCheckpoint(nil, []EpochEntry{{Epoch: 2, Start: 0}, {Epoch: 3, Start: 6}})
	if err := vfs.WriteFileAtomic(fsys, "/data/orders-3/"+epochFile, stale); err != nil {
		t.Fatal(err)
	}
	want := []EpochEntry{{Epoch: 2, Start: 0}, {Epoch: 3, Start: 4}}
	if got := reopen(t, o, fsys.KillClone(), nil, false, false).Epochs(); !reflect.DeepEqual(got, want) {
		t.Errorf("epochs %v, want %v", got, want)
	}
}

// TestF16RebuiltTransactionIndexIsDurable: a recovery that builds an index anew below the recovery
// point leaves it as durable as it was. The next roll makes it one that a start trusts.
func TestF16RebuiltTransactionIndexIsDurable(t *testing.T) {
	fsys := newFS(t)
	o := testOptions(fsys)
	l := open(t, o)
	appendBatch(t, l, transactional(5, 0, 0, 2), 0)
	appendBatch(t, l, batch.ControlBatch(batch.Abort, 7, 5, 0, testNowMs), 0)
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	st := l.State()
	killed := fsys.KillClone()
	l = reopen(t, o, killed, &st, false, false)
	if err := l.Roll(); err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(20) {
		crashed := killed.CrashClone(seed)
		l := reopen(t, o, crashed, &st, false, true)
		if got, err := l.AbortedTxns(0, 3); err != nil || len(got) != 1 {
			t.Fatalf("seed %d: aborted transactions %v, %v; files %v", seed, got, err, names(t, crashed))
		}
	}
}

// TestKillInATruncation: a process is killed in a truncation, and then the power fails. A start
// between the two saw a shorter log; what was cut off does not come back behind that. A
// checkpoint may be written for another log's sake at any moment of it.
func TestKillInATruncation(t *testing.T) {
	for n, over := int64(1), false; !over; n++ {
		fsys := newFS(t)
		o := testOptions(fsys)
		var l *Log
		var calls, armed atomic.Int64
		var killed *memfs.FS
		var told []State
		o.FS = errorfs.Wrap(fsys, func(errorfs.Op, string) error {
			if armed.Load() > 0 && calls.Add(1) == n {
				killed, told = fsys.KillClone(), append(told, l.State())
			}
			return nil
		})
		o.Checkpoint = func() error {
			if killed == nil {
				told = append(told, l.State())
			}
			return nil
		}
		l = open(t, o)
		for range 30 {
			appendBatch(t, l, records(2, 150, testNowMs), 0)
		}
		if err := l.Flush(); err != nil || len(l.Segments()) < 3 {
			t.Fatalf("%d segments, %v", len(l.Segments()), err)
		}
		armed.Store(1)
		told = []State{l.State()}
		if err := l.TruncateTo(2); err != nil {
			t.Fatal(err)
		}
		if over = killed == nil; over {
			break
		}
		o.Checkpoint = nil
		for _, st := range told[max(0, len(told)-2):] {
			next := killed.KillClone()
			end := reopen(t, o, next, &st, false, false).End()
			for seed := range uint64(8) {
				if got := reopen(t, o, next.CrashClone(seed), &st, false, true).End(); got != end {
					t.Fatalf("killed at call %d, seed %d: ends at %d, %d was seen; checkpoint %+v", n, seed, got, end, st)
				}
			}
		}
	}
}

// TestKillInTheFirstAppend: a process is killed over a log's first append, the next one goes on in the
// files that it finds, a checkpoint knows of it, and the power fails. The log is not lost.
func TestKillInTheFirstAppend(t *testing.T) {
	for n, over := int64(1), false; !over; n++ {
		fsys := newFS(t)
		o := testOptions(fsys)
		var calls atomic.Int64
		var killed *memfs.FS
		o.FS = errorfs.Wrap(fsys, func(errorfs.Op, string) error {
			if calls.Add(1) == n {
				killed = fsys.KillClone()
			}
			return nil
		})
		l := open(t, o)
		empty := l.State()
		empty.Sealed = true
		calls.Store(0)
		appendBatch(t, l, records(2, 150, testNowMs), 0)
		if over = killed == nil; over {
			break
		}
		for _, known := range []*State{nil, &empty} { // a clean start reads what is there
			next := killed.KillClone()
			o.Younger = known == nil
			l := reopen(t, o, next, known, known != nil && Untouched(next, "/data/orders-3", known), false)
			appendBatch(t, l, records(2, 150, testNowMs), 0)
			if err := next.SyncDir("/data"); err != nil { // as the checkpoint does
				t.Fatal(err)
			}
			st := l.State()
			for seed := range uint64(8) {
				if l := reopen(t, o, next.CrashClone(seed), &st, false, true); l.Err() != nil || l.Damage() != nil {
					t.Fatalf("killed at call %d, known %v, seed %d: %v, %v", n, known != nil, seed, l.Err(), l.Damage())
				}
			}
		}
	}
}

// TestI10LastStableIsNotBelowTheStart: the first records of an open transaction may be deleted.
func TestI10LastStableIsNotBelowTheStart(t *testing.T) {
	l := open(t, testOptions(newFS(t)))
	appendBatch(t, l, transactional(5, 0, 0, 4), 0)
	if got := l.LastStable(4); got != 0 {
		t.Fatalf("last stable offset %d, want 0", got)
	}
	if err := l.SetStart(3); err != nil {
		t.Fatal(err)
	}
	if got := l.LastStable(4); got != 3 {
		t.Errorf("last stable offset %d, want 3, the log start", got)
	}
}

// TestI14Producers: what the log remembers, without those that expired while nobody appended.
func TestI14Producers(t *testing.T) {
	now := time.UnixMilli(testNowMs)
	o := testOptions(newFS(t))
	o.Now = func() time.Time { return now }
	l := open(t, o)
	appendBatch(t, l, idempotent(9, 1, 0, 3), 0)
	appendBatch(t, l, transactional(5, 2, 0, 2), 0)
	appendBatch(t, l, transactional(6, 0, 0, 1), 0)
	appendBatch(t, l, batch.ControlBatch(batch.Abort, 7, 6, 0, testNowMs+1), 0)
	want := []ProducerSnapshotEntry{
		{ProducerID: 5, Epoch: 2, LastSequence: 1, LastOffset: 4, OffsetDelta: 1, TimestampMs: testNowMs, CoordinatorEpoch: -1, TxnFirstOffset: 3},
		{ProducerID: 6, LastSequence: 0, LastOffset: 5, TimestampMs: testNowMs + 1, CoordinatorEpoch: 7, TxnFirstOffset: -1},
		{ProducerID: 9, Epoch: 1, LastSequence: 2, LastOffset: 2, OffsetDelta: 2, TimestampMs: testNowMs, CoordinatorEpoch: -1, TxnFirstOffset: -1},
	}
	got, err := Producers(l)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("producers %+v, %v\nwant %+v", got, err, want)
	}
	now = now.Add(48 * time.Hour)
	if got, err = Producers(l); err != nil || len(got) != 1 || got[0].ProducerID != 5 {
		t.Errorf("two days later: %+v, %v; want the one with an open transaction", got, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Producers(l); kafka.Code(err) == kafka.NoError {
		t.Error("a closed log answers")
	}
}
