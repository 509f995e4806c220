package commitlog

import (
	"errors"
	"testing"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
)

// from appends a batch that comes from somewhere.
func from(t *testing.T, l *Log, b []byte, o Origin) error {
	t.Helper()
	h, err := batch.ParseHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	_, err = AppendFrom(l, b, h, 0, o)
	return err
}

// verified begins the verification of a batch.
func verified(t *testing.T, l *Log, b []byte, bumps bool) *Verification {
	t.Helper()
	h, err := batch.ParseHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	v, err := Verify(l, h, bumps)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func wantCode(t *testing.T, what string, err error, want kafka.Error) {
	t.Helper()
	if want == kafka.NoError && err != nil || want != kafka.NoError && !errors.Is(err, want) {
		t.Errorf("%s: %v, want %s", what, err, want.Name())
	}
}

// TestI13Verification: a client's batch begins a transaction with a verification that is
// still valid, and with nothing else; one that is open takes batches without.
func TestI13Verification(t *testing.T) {
	l := open(t, testOptions(newFS(t)))
	first := func() []byte { return transactional(5, 0, 0, 2) }
	wantCode(t, "without a verification", from(t, l, first(), Origin{Kind: FromClient}), kafka.InvalidTxnState)
	v := verified(t, l, first(), false)
	if again := verified(t, l, transactional(5, 0, 2, 2), false); v == nil || again != v {
		t.Fatalf("verifications %v and %v, want one", v, again)
	}
	wantCode(t, "the second batch first", from(t, l, transactional(5, 0, 2, 2), Origin{Kind: FromClient, Verification: v}), kafka.OutOfOrderSequenceNumber)
	wantCode(t, "the first", from(t, l, first(), Origin{Kind: FromClient, Verification: v}), kafka.NoError)
	wantCode(t, "the second", from(t, l, transactional(5, 0, 2, 2), Origin{Kind: FromClient}), kafka.NoError)
	if v := verified(t, l, transactional(5, 0, 4, 1), false); v != nil {
		t.Error("a transaction that is open is verified again")
	}
	wantCode(t, "a retry", from(t, l, first(), Origin{Kind: FromClient}), kafka.NoError)
	wantCode(t, "the marker", from(t, l, batch.ControlBatch(batch.Commit, 7, 5, 0, testNowMs), Origin{}), kafka.NoError)
	wantCode(t, "a batch after the end", from(t, l, transactional(5, 0, 4, 1), Origin{Kind: FromClient}), kafka.InvalidTxnState)
	wantCode(t, "a retry after the end", from(t, l, transactional(5, 0, 2, 2), Origin{Kind: FromClient}), kafka.NoError)
}

// TestI13MarkerEndsVerification: a batch that was verified and then delayed until its
// transaction had ended begins none.
func TestI13MarkerEndsVerification(t *testing.T) {
	l := open(t, testOptions(newFS(t)))
	v := verified(t, l, transactional(5, 0, 0, 1), false)
	wantCode(t, "the marker", from(t, l, batch.ControlBatch(batch.Abort, 7, 5, 0, testNowMs), Origin{}), kafka.NoError)
	wantCode(t, "the delayed batch", from(t, l, transactional(5, 0, 0, 1), Origin{Kind: FromClient, Verification: v}), kafka.InvalidTxnState)
	wantCode(t, "the coordinator's delayed batch", from(t, l, transactional(5, 0, 0, 1), Origin{Kind: FromCoordinator, Verification: v}), kafka.InvalidTxnState)
	if got := l.LastStable(l.End()); got != l.End() {
		t.Errorf("last stable offset %d, want the end, %d", got, l.End())
	}
	// A producer with a new epoch for each transaction begins at 0, also where nothing is known of it.
	w := verified(t, l, transactional(6, 0, 3, 1), true)
	wantCode(t, "sequence 3 of a new epoch", from(t, l, transactional(6, 0, 3, 1), Origin{Kind: FromClient, Verification: w}), kafka.OutOfOrderSequenceNumber)
	wantCode(t, "sequence 3 of a producer before version 2", from(t, l, transactional(8, 0, 3, 1), Origin{Kind: FromClient, Verification: verified(t, l, transactional(8, 0, 3, 1), false)}), kafka.NoError)
}

// TestI9MarkersOfVersion2 raise the epoch, or repeat the last one.
func TestI9MarkersOfVersion2(t *testing.T) {
	l := open(t, testOptions(newFS(t)))
	marker := func(epoch int16) []byte { return batch.ControlBatch(batch.Commit, 7, 5, epoch, testNowMs) }
	v2 := Origin{TxnVersion: 2}
	appendBatch(t, l, transactional(5, 3, 0, 1), 0)
	wantCode(t, "the epoch of the transaction", from(t, l, marker(3), v2), kafka.InvalidProducerEpoch)
	wantCode(t, "one above", from(t, l, marker(4), v2), kafka.NoError)
	wantCode(t, "again", from(t, l, marker(4), v2), kafka.NoError)
	wantCode(t, "the epoch before", from(t, l, marker(3), v2), kafka.InvalidProducerEpoch)
	appendBatch(t, l, transactional(5, 4, 0, 1), 0)
	wantCode(t, "a late repetition, when the next transaction is open", from(t, l, marker(4), v2), kafka.InvalidProducerEpoch)
	wantCode(t, "the same before version 2", from(t, l, marker(4), Origin{TxnVersion: 1}), kafka.NoError)
}

// TestCoordinatorsRecordsHaveNoSequence: what a coordinator writes for a producer is neither
// a retry nor out of order.
func TestCoordinatorsRecordsHaveNoSequence(t *testing.T) {
	l := open(t, testOptions(newFS(t)))
	b := func() []byte { return transactional(5, 2, -1, 1) }
	o := Origin{Kind: FromCoordinator, Verification: verified(t, l, b(), false)}
	for range 3 {
		wantCode(t, "without a sequence", from(t, l, b(), o), kafka.NoError)
	}
	if l.End() != 3 {
		t.Errorf("end %d, want 3", l.End())
	}
	wantCode(t, "of an old epoch", from(t, l, transactional(5, 1, -1, 1), o), kafka.InvalidTxnState)
}
