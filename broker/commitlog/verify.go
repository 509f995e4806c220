package commitlog

import (
	"fmt"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
)

// OriginKind is who writes a batch, as far as the producer rules depend on it.
type OriginKind uint8

const (
	// FromReplica is a batch that another replica has judged already.
	FromReplica OriginKind = iota
	// FromClient is a batch of a client: one of a transaction is refused with
	// kafka.InvalidTxnState unless the transaction is open in the log, or the origin's
	// Verification is still valid.
	FromClient
	// FromCoordinator is what a coordinator writes for a client's transaction into its own
	// log. The rule is the same, but there are no sequences and no retries.
	FromCoordinator
)

// Origin is where a batch comes from.
type Origin struct {
	Kind OriginKind
	// Verification is Verify's, once the coordinator has said that the log's partition is part
	// of the transaction.
	Verification *Verification
	// TxnVersion is the version of the transaction that a marker ends; since 2 the producer's
	// epoch is higher with each end (KIP-890).
	TxnVersion int8
}

// Verification is the leave of a producer to begin a transaction in a log: it is asked for
// before the coordinator is, and is void once a marker of the producer has been written. So
// a batch that was delayed until its transaction had ended begins none that nobody would
// end. It is nothing but memory: after a restart the client asks again. Source: KIP-890.
type Verification struct {
	epoch     int16
	lowestSeq int32 // of the batches that asked; of these only the first may begin
	bumps     bool
	startedMs int64
}

// Verify begins the verification of a transactional batch with header h. It answers nil when
// the transaction is open in the log already. bumps says that the client gets a new epoch for
// each transaction (KIP-890), hence begins at sequence 0. Errors: what Err answers.
func Verify(l *Log, h batch.Header, bumps bool) (*Verification, error) {
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	if err := l.ready(); err != nil {
		return nil, err
	}
	p := l.w.producers
	if p.inTransaction(&h) {
		return nil, nil
	}
	v := p.verifying[h.ProducerID]
	switch {
	case v == nil:
		v = &Verification{epoch: h.ProducerEpoch, lowestSeq: h.BaseSequence, bumps: bumps, startedMs: l.opts.nowMs()}
		if p.verifying == nil {
			p.verifying = map[int64]*Verification{}
		}
		p.verifying[h.ProducerID] = v
	case h.ProducerEpoch > v.epoch:
		v.epoch, v.lowestSeq = h.ProducerEpoch, h.BaseSequence
	case h.ProducerEpoch == v.epoch:
		v.lowestSeq = min(v.lowestSeq, h.BaseSequence)
	}
	return v, nil
}

// inTransaction says whether the producer has a transaction open in this epoch.
func (s *producerState) inTransaction(h *batch.Header) bool {
	e := s.byID[h.ProducerID]
	return e != nil && e.txnFirst >= 0 && e.epoch == h.ProducerEpoch
}

// checkVerified says whether a data batch may be part of a transaction.
func (s *producerState) checkVerified(h *batch.Header, from Origin) error {
	v := from.Verification
	switch {
	case from.Kind == FromReplica || !h.IsTransactional() || s.inTransaction(h):
		return nil
	case v == nil || s.verifying[h.ProducerID] != v:
		return fmt.Errorf("producer %d: the batch is not part of an open transaction: %w", h.ProducerID, kafka.InvalidTxnState)
	case from.Kind == FromCoordinator:
		return nil
	case h.BaseSequence > v.lowestSeq:
		return fmt.Errorf("producer %d: sequence %d comes before %d: %w", h.ProducerID, h.BaseSequence, v.lowestSeq, kafka.OutOfOrderSequenceNumber)
	}
	if e := s.byID[h.ProducerID]; v.bumps && h.BaseSequence != 0 && (e == nil || e.n == 0) {
		return fmt.Errorf("producer %d: sequence %d does not begin an epoch: %w", h.ProducerID, h.BaseSequence, kafka.OutOfOrderSequenceNumber)
	}
	return nil
}
