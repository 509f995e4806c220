package commitlog

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
)

// TestI1LastFiveBatchesAreRecognised: a retry of one of the last five batches answers the
// first try's offsets, an older one is out of order.
func TestI1LastFiveBatchesAreRecognised(t *testing.T) {
	l := open(t, testOptions(newFS(t)))
	for i := range int32(8) {
		if a := appendBatch(t, l, idempotent(5, 0, 3*i, 3), 0); a.BaseOffset != int64(3*i) || a.Duplicate {
			t.Fatalf("batch %d: %+v", i, a)
		}
	}
	for i := range int32(8) {
		a, err := tryAppend(l, idempotent(5, 0, 3*i, 3), 0)
		switch {
		case i < 3 && !errors.Is(err, kafka.OutOfOrderSequenceNumber):
			t.Errorf("batch %d, no longer remembered: %+v, %v", i, a, err)
		case i >= 3 && (err != nil || !a.Duplicate || a.BaseOffset != int64(3*i) || a.LastOffset != int64(3*i+2)):
			t.Errorf("retry of batch %d: %+v, %v", i, a, err)
		}
	}
	if _, err := tryAppend(l, idempotent(5, 0, 21, 2), 0); !errors.Is(err, kafka.OutOfOrderSequenceNumber) {
		t.Errorf("a known first sequence with another length: %v", err)
	}
	if l.End() != 24 {
		t.Errorf("end %d, want 24", l.End())
	}
}

// TestI1RetryAnswersTheOriginalTime on a LogAppendTime topic.
func TestI1RetryAnswersTheOriginalTime(t *testing.T) {
	l := open(t, testOptions(newFS(t)))
	first, retry := idempotent(5, 0, 0, 1), idempotent(5, 0, 0, 1)
	batch.SetAppendTime(first, 111)
	batch.SetAppendTime(retry, 222)
	a, b := appendBatch(t, l, first, 0), appendBatch(t, l, retry, 0)
	if a.AppendTimeMs != 111 || b.AppendTimeMs != 111 || !b.Duplicate {
		t.Errorf("times %d and %d, duplicate %v; want 111 twice", a.AppendTimeMs, b.AppendTimeMs, b.Duplicate)
	}
}

// TestI2UnknownProducerStartsAnywhere, and a gap after that is refused.
func TestI2UnknownProducerStartsAnywhere(t *testing.T) {
	l := open(t, testOptions(newFS(t)))
	appendBatch(t, l, idempotent(5, 3, 1000, 2), 0)
	appendBatch(t, l, idempotent(6, 0, 7, 1), 0)
	for _, seq := range []int32{1003, 1001, 0} {
		if _, err := tryAppend(l, idempotent(5, 3, seq, 1), 0); !errors.Is(err, kafka.OutOfOrderSequenceNumber) {
			t.Errorf("sequence %d after 1001: %v", seq, err)
		}
	}
	appendBatch(t, l, idempotent(5, 3, 1002, 1), 0)
}

// TestI3EpochsAndWrap: an older epoch is fenced, a newer one starts at sequence 0, and
// sequences wrap from 2^31-1 to 0.
func TestI3EpochsAndWrap(t *testing.T) {
	l := open(t, testOptions(newFS(t)))
	appendBatch(t, l, idempotent(5, 2, 10, 1), 0)
	if _, err := tryAppend(l, idempotent(5, 1, 11, 1), 0); !errors.Is(err, kafka.InvalidProducerEpoch) {
		t.Errorf("older epoch: %v", err)
	}
	if _, err := tryAppend(l, idempotent(5, 3, 11, 1), 0); !errors.Is(err, kafka.OutOfOrderSequenceNumber) {
		t.Errorf("newer epoch at sequence 11: %v", err)
	}
	appendBatch(t, l, idempotent(5, 3, 0, 1), 0)
	if _, err := tryAppend(l, idempotent(5, 2, 10, 1), 0); !errors.Is(err, kafka.InvalidProducerEpoch) {
		t.Errorf("a batch of the older epoch is no retry any more: %v", err)
	}
	appendBatch(t, l, idempotent(8, 0, math.MaxInt32-1, 4), 0) // sequences MaxInt32-1, MaxInt32, 0, 1
	appendBatch(t, l, idempotent(8, 0, 2, 1), 0)
	if a := appendBatch(t, l, idempotent(8, 0, math.MaxInt32-1, 4), 0); !a.Duplicate || a.LastOffset-a.BaseOffset != 3 {
		t.Errorf("retry across the wrap: %+v", a)
	}
	appendBatch(t, l, idempotent(9, 0, math.MaxInt32, 1), 0)
	appendBatch(t, l, idempotent(9, 0, 0, 1), 0)
}

// TestI4StateSurvives: a restart, clean or not, a roll, and the eviction of the segments
// that the batches were in. All five batches are remembered, which a snapshot alone can't.
func TestI4StateSurvives(t *testing.T) {
	fsys := newFS(t)
	o := testOptions(fsys)
	l := open(t, o)
	for i := range int32(6) {
		appendBatch(t, l, idempotent(5, 1, 2*i, 2), 0)
	}
	if err := l.Roll(); err != nil {
		t.Fatal(err)
	}
	check := func(what string, l *Log, remembered int32) {
		t.Helper()
		for i := 6 - remembered; i < 6; i++ {
			if a, err := tryAppend(l, idempotent(5, 1, 2*i, 2), 0); err != nil || !a.Duplicate || a.BaseOffset != int64(2*i) {
				t.Errorf("%s: retry of batch %d: %+v, %v", what, i, a, err)
			}
		}
		if _, err := tryAppend(l, idempotent(5, 1, 13, 1), 0); !errors.Is(err, kafka.OutOfOrderSequenceNumber) {
			t.Errorf("%s: gap: %v", what, err)
		}
		if _, err := tryAppend(l, idempotent(5, 0, 12, 1), 0); !errors.Is(err, kafka.InvalidProducerEpoch) {
			t.Errorf("%s: old epoch: %v", what, err)
		}
	}
	st := l.State()
	check("after a roll", l, 5)
	crashed := reopen(t, o, fsys.CrashClone(0), &st, false, false)
	_ = crashed // a power cut may lose all of it: only its health matters here
	check("killed", reopen(t, o, fsys, &st, false, false), 5)
	l = reopen(t, o, fsys, &st, false, false)
	if n, err := l.EvictBelow(12); err != nil || n != 1 {
		t.Fatalf("evicted %d, %v", n, err)
	}
	check("evicted", l, 5)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	st = l.State()
	l = reopen(t, o, fsys, &st, true, false)
	check("evicted and closed", l, 1)
	appendBatch(t, l, idempotent(5, 1, 12, 1), 0)
}

// TestI4Expiry: a producer is forgotten after producer.id.expiration.ms without a batch,
// but not while its transaction is open, and old record times alone don't age it.
func TestI4Expiry(t *testing.T) {
	now := time.UnixMilli(testNowMs)
	o := testOptions(newFS(t))
	o.Now = func() time.Time { return now }
	l := open(t, o)
	b := batch.Builder{ProducerID: 1, BaseSequence: 0}
	b.Append(nil, []byte("old"), nil, 1)
	appendBatch(t, l, b.Bytes(), 0)
	appendBatch(t, l, transactional(2, 0, 0, 1), 0)
	now = now.Add(23 * time.Hour)
	appendBatch(t, l, idempotent(3, 0, 0, 1), 0)
	if _, err := tryAppend(l, idempotent(1, 0, 9, 1), 0); !errors.Is(err, kafka.OutOfOrderSequenceNumber) {
		t.Errorf("forgotten before its time: %v", err)
	}
	now = now.Add(2 * time.Hour)
	if err := l.Roll(); err != nil { // takes a snapshot, which leaves out the expired
		t.Fatal(err)
	}
	appendBatch(t, l, idempotent(1, 0, 9, 1), 0)
	if _, err := tryAppend(l, transactional(2, 0, 9, 1), 0); !errors.Is(err, kafka.OutOfOrderSequenceNumber) {
		t.Errorf("forgotten with an open transaction: %v", err)
	}
}

func TestTransactions(t *testing.T) {
	fsys := newFS(t)
	o := testOptions(fsys)
	l := open(t, o)
	appendBatch(t, l, transactional(1, 0, 0, 2), 0) // 0–1
	appendBatch(t, l, records(1, 1, testNowMs), 0)  // 2
	appendBatch(t, l, transactional(2, 0, 0, 1), 0) // 3
	appendBatch(t, l, transactional(1, 0, 2, 1), 0) // 4
	if lso := l.LastStable(5); lso != 0 {
		t.Errorf("two open transactions: last stable %d", lso)
	}
	if _, err := tryAppend(l, idempotent(1, 0, 3, 1), 0); !errors.Is(err, kafka.InvalidTxnState) {
		t.Errorf("plain batch inside a transaction: %v", err)
	}
	appendBatch(t, l, batch.ControlBatch(batch.Abort, 7, 1, 0, testNowMs), 0) // 5
	if lso := l.LastStable(5); lso != 0 {
		t.Errorf("marker not yet replicated: last stable %d", lso)
	}
	if lso := l.LastStable(6); lso != 3 {
		t.Errorf("first transaction aborted: last stable %d", lso)
	}
	if err := l.Roll(); err != nil {
		t.Fatal(err)
	}
	if _, err := tryAppend(l, batch.ControlBatch(batch.Commit, 6, 1, 0, testNowMs), 0); !errors.Is(err, kafka.TransactionCoordinatorFenced) {
		t.Errorf("marker of an older coordinator: %v", err)
	}
	appendBatch(t, l, batch.ControlBatch(batch.Abort, 7, 2, 0, testNowMs), 0) // 6
	check := func(what string, l *Log) {
		t.Helper()
		if lso := l.LastStable(7); lso != 7 {
			t.Errorf("%s: nothing open: last stable %d", what, lso)
		}
		want := []AbortedTxn{{1, 0, 5, 3}, {2, 3, 6, 7}}
		for _, c := range []struct {
			from, to int64
			want     []AbortedTxn
		}{{0, 7, want}, {0, 3, want[:1]}, {6, 7, want[1:]}, {2, 4, want}} {
			if got, err := l.AbortedTxns(c.from, c.to); err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%s: aborted in [%d, %d): %v, %v; want %v", what, c.from, c.to, got, err, c.want)
			}
		}
		r, err := l.Read(4, 1<<20, 6, true)
		if err != nil || !slices.Equal(r.Aborted, want) {
			t.Errorf("%s: read answers aborted %v, %v", what, r.Aborted, err)
		}
		r.Range.Release()
	}
	check("live", l)
	st := l.State()
	check("recovered", reopen(t, o, fsys, &State{TP: testTP, TopicID: testID, HighestRemote: -1}, false, false))
	check("recovered from a point", reopen(t, o, fsys, &st, false, false))
	l = reopen(t, o, fsys, &st, false, false)
	if err := l.TruncateTo(6); err != nil {
		t.Fatal(err)
	}
	if got, err := l.AbortedTxns(0, 7); err != nil || !slices.Equal(got, []AbortedTxn{{1, 0, 5, 3}}) || l.LastStable(6) != 3 {
		t.Errorf("after a truncation: aborted %v, %v, last stable %d", got, err, l.LastStable(6))
	}
}
