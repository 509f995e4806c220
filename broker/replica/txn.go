package replica

import (
	"fmt"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
)

// Marker is the end of a producer's transaction, as the coordinator has it written into each
// partition of the transaction.
type Marker struct {
	ProducerID int64
	// Epoch is the producer's: since version 2 one above that of the transaction.
	Epoch  int16
	Commit bool // else the transaction is aborted
	// CoordinatorEpoch is the leader epoch of the coordinator's partition.
	CoordinatorEpoch int32
	// Version is the version of the transaction (KIP-890).
	Version int8
}

// Batch is the control batch of the marker.
func (m Marker) Batch(nowMs int64) []byte {
	kind := batch.Abort
	if m.Commit {
		kind = batch.Commit
	}
	return batch.ControlBatch(kind, m.CoordinatorEpoch, m.ProducerID, m.Epoch, nowMs)
}

// Verify begins the verification of a transactional batch, see commitlog.Verify.
func Verify(p *Partition, h batch.Header, bumps bool) (*commitlog.Verification, error) {
	p.lead.RLock()
	err := p.servesLocked(kafka.NoEpoch)
	log := p.lead.log
	p.lead.RUnlock()
	if err != nil {
		return nil, err
	}
	v, err := commitlog.Verify(log, h, bumps)
	if err != nil {
		return nil, storageError(err)
	}
	return v, nil
}

// WriteMarker ends a transaction in the partition. The marker is written whether or not the
// transaction has records here; it counts when the pending write, if there is one, has
// resolved. Errors wrap kafka codes: InvalidProducerEpoch and TransactionCoordinatorFenced
// for a marker that is older than what the log knows.
func WriteMarker(p *Partition, m Marker) (*Pending, error) {
	p.lead.RLock()
	a, acked, err := writeMarkerLocked(p, m, kafka.NoEpoch)
	var w *Pending
	if err == nil {
		w = awaitLocked(p, a.LastOffset+1)
	}
	p.lead.RUnlock()
	acked.resolve()
	return w, err
}

// writeMarkerLocked writes a marker with p.lead held.
func writeMarkerLocked(p *Partition, m Marker, leaderEpoch int32) (a commitlog.Appended, done acked, err error) {
	if err := p.servesLocked(leaderEpoch); err != nil {
		return a, done, err
	}
	if n := p.minInSyncLocked(); len(p.lead.isr) < n {
		return a, done, fmt.Errorf("%d of %d in-sync replicas: %w", len(p.lead.isr), n, kafka.NotEnoughReplicas)
	}
	b := m.Batch(p.m.now().UnixMilli())
	h, err := batch.ParseHeader(b)
	if err != nil {
		return a, done, err
	}
	a, err = commitlog.AppendFrom(p.lead.log, b, h, p.lead.epoch, commitlog.Origin{TxnVersion: m.Version})
	if err != nil {
		return a, done, storageError(err)
	}
	return a, appendedLocked(p, a, h), nil
}
