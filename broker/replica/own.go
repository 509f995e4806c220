package replica

import (
	"errors"
	"fmt"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
)

// ownReadBytes is how much an OwnLog reads at a time; Kafka's offsets.load.buffer.size.
const ownReadBytes = 5 << 20

// OwnLog is a partition that this broker itself writes to and reads, as its leader in one
// epoch: a partition of an internal topic. What it wrote in an epoch that is over never gets
// into the log.
type OwnLog struct {
	p     *Partition
	epoch int32
	log   *commitlog.Log
}

// Own is the log of a partition in the leader epoch that it has now. There is none while the
// partition is offline: the error carries KafkaStorageError.
func Own(p *Partition) (*OwnLog, error) {
	epoch, log := p.LeaderEpoch(), p.Log()
	if log == nil {
		return nil, fmt.Errorf("partition %s is offline: %w", p.tp, kafka.KafkaStorageError)
	}
	return &OwnLog{p: p, epoch: epoch, log: log}, nil
}

// Bounds are the first offset on local disk and the end of the log.
func (l *OwnLog) Bounds() (start, end int64) { return l.log.LocalStart(), l.log.End() }

// Read reads whole batches from off on, at least one; none starts at end or above. The last
// one may be cut off.
func (l *OwnLog) Read(off, end int64) ([]byte, error) {
	r, err := l.log.Read(off, ownReadBytes, end, true)
	if err != nil {
		return nil, err
	}
	defer r.Range.Release()
	return r.Range.ReadAll()
}

// MaxBatchBytes is the size of the largest batch that the topic takes.
func (l *OwnLog) MaxBatchBytes() int { return int(l.p.Config().MaxMessageBytes) }

// Append validates and writes a batch as Partition.Append does with acks=-1, and answers the
// offset behind it.
func (l *OwnLog) Append(b []byte) (end int64, err error) { return l.AppendVerified(b, nil) }

// AppendVerified is Append for what belongs to a client's transaction; v is Verify's.
func (l *OwnLog) AppendVerified(b []byte, v *commitlog.Verification) (end int64, err error) {
	l.p.lead.RLock()
	a, _, acked, err := l.p.appendLocked(b, AppendOptions{Acks: AllReplicas, ZstdOK: true, Verification: v, coordinator: true}, l.epoch)
	l.p.lead.RUnlock()
	acked.resolve()
	return a.LastOffset + 1, err
}

// WriteMarker ends a transaction in the partition and answers the offset behind the marker.
func (l *OwnLog) WriteMarker(m Marker) (end int64, err error) {
	l.p.lead.RLock()
	a, acked, err := writeMarkerLocked(l.p, m, l.epoch)
	l.p.lead.RUnlock()
	acked.resolve()
	return a.LastOffset + 1, err
}

// Epoch is the leader epoch that the log is written in.
func (l *OwnLog) Epoch() int32 { return l.epoch }

// WhenCommitted calls f once, when the high watermark has reached end or when it is clear
// that it will not in this leader epoch; f must not block. True: it is there already, and f
// is not called.
func (l *OwnLog) WhenCommitted(end int64, f func(error)) bool {
	l.p.lead.RLock()
	err := l.p.servesLocked(l.epoch)
	var w *Pending
	if err == nil {
		w = awaitLocked(l.p, end)
	}
	l.p.lead.RUnlock()
	switch {
	case err != nil:
		f(err)
		return false
	case w == nil:
		return true
	}
	w.onResolved(func() {
		err := w.Err()
		if errors.Is(err, kafka.NotEnoughReplicasAfterAppend) {
			err = nil // bad luck for a producer that asked for more; what the whole in-sync set has is committed
		}
		f(err)
	})
	return false
}
