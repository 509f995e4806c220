package cleaner

import (
	"slices"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog"
)

// txns follows the transactions of a log from batch to batch and says what of them may go:
// the data of aborted ones at once, a marker when nothing of its transaction is left.
// Kafka's CleanedTransactionMetadata.
type txns struct {
	pending   []commitlog.AbortedTxn // not yet reached, ascending in FirstOffset
	added     map[int64]bool         // markers' offsets of those in pending and aborted
	committed map[int64]bool         // producers with data of a transaction that is not aborted
	aborted   map[int64]*abortedTxn  // by producer
}

type abortedTxn struct {
	commitlog.AbortedTxn
	seen bool // some of its data is still there
}

func newTxns() *txns {
	return &txns{added: map[int64]bool{}, committed: map[int64]bool{}, aborted: map[int64]*abortedTxn{}}
}

// add tells of the aborted transactions that overlap the batches to come.
func (t *txns) add(list []commitlog.AbortedTxn) {
	for _, a := range list {
		if !t.added[a.LastOffset] {
			t.added[a.LastOffset] = true
			t.pending = append(t.pending, a)
		}
	}
	slices.SortFunc(t.pending, func(a, b commitlog.AbortedTxn) int {
		if a.FirstOffset < b.FirstOffset {
			return -1
		}
		return 1
	})
}

func (t *txns) reach(offset int64) {
	for len(t.pending) > 0 && t.pending[0].FirstOffset <= offset {
		a := t.pending[0]
		t.pending = t.pending[1:]
		if old := t.aborted[a.ProducerID]; old == nil || old.LastOffset < a.FirstOffset {
			t.aborted[a.ProducerID] = &abortedTxn{AbortedTxn: a}
		}
	}
}

// data takes in a batch without markers and says whether a marker aborted it.
func (t *txns) data(h batch.Header) (aborted bool) {
	t.reach(h.LastOffset())
	if !h.IsTransactional() {
		return false
	}
	if a := t.aborted[h.ProducerID]; a != nil && h.BaseOffset < a.LastOffset { // never past its marker
		a.seen = true
		return true
	}
	t.committed[h.ProducerID] = true
	return false
}

// marker takes in a control batch. done says that nothing of its transaction was met; entry
// is, for an abort of which something was, what the transaction index must go on saying.
func (t *txns) marker(b []byte, h batch.Header) (done bool, entry *commitlog.AbortedTxn) {
	t.reach(h.LastOffset())
	if h.Count == 0 {
		return true, nil // its record was dropped at an earlier cleaning
	}
	for rec, err := range batch.Records(b, batch.Limits{}) {
		if err != nil {
			return false, nil
		}
		kind, _, err := batch.ParseControl(rec)
		switch {
		case err != nil:
		case kind == batch.Commit:
			had := t.committed[h.ProducerID]
			delete(t.committed, h.ProducerID)
			return !had, nil
		case kind == batch.Abort:
			a := t.aborted[h.ProducerID]
			delete(t.aborted, h.ProducerID)
			delete(t.added, h.LastOffset())
			if a != nil && a.seen {
				return false, &a.AbortedTxn
			}
			return true, nil
		}
		break // not of a transaction
	}
	return false, nil
}
