package txn

import (
	"errors"
	"slices"

	"github.com/varve-io/varve/broker/coordinator"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/replica"
)

// Markers is the end of a transaction that is to be written into partitions.
type Markers struct {
	TransactionalID string
	Marker          replica.Marker
	Partitions      []kafka.TopicPartition
	// Written takes the outcome, in the order of Partitions: once, on any goroutine. A
	// partition that does not exist any more has no error.
	Written func([]error)
}

// writing is a decided transaction whose markers are on their way.
type writing struct {
	marker replica.Marker
	left   []kafka.TopicPartition
	waitMs int64 // before the next attempt
}

// How long the coordinator waits before it tries again to write a marker, in milliseconds:
// the first time, and at most.
const (
	markerRetryMs    = 50
	markerRetryMaxMs = 5000
)

// sendMarkers has the end of a decided transaction written into its partitions.
func (e *event) sendMarkers(id string, m entry) {
	w := &writing{
		marker: replica.Marker{
			ProducerID: m.producerID, Epoch: m.epoch, Commit: m.state == PrepareCommit, CoordinatorEpoch: e.s.epoch, Version: m.version,
		},
		left: m.partitions, waitMs: markerRetryMs,
	}
	e.s.writing[id] = w
	e.resume(id, w)
}

// resume goes on with what is left to write, or completes the transaction.
func (e *event) resume(id string, w *writing) {
	if len(w.left) == 0 {
		e.complete(id, w)
		return
	}
	s, partitions := e.s, w.left
	e.step.Replies = append(e.step.Replies, func() {
		s.write(Markers{TransactionalID: id, Marker: w.marker, Partitions: partitions})
	})
}

// Written takes the outcome of the markers of a transaction.
func (s *Shard) Written(nowMs int64, m Markers, errs []error) coordinator.Step {
	e := s.event(nowMs)
	w := s.writing[m.TransactionalID]
	if w == nil || w.marker != m.Marker {
		return e.done()
	}
	failed := map[kafka.TopicPartition]bool{}
	for i, err := range errs {
		switch {
		case err == nil:
		case errors.Is(err, kafka.TransactionCoordinatorFenced):
			// The log knows a later coordinator of this id, which carries on.
			delete(s.writing, m.TransactionalID)
			return e.done()
		case errors.Is(err, kafka.InvalidProducerEpoch):
			// The log knows a later epoch of the producer: it has seen the end of this transaction.
		default:
			failed[m.Partitions[i]] = true
		}
	}
	w.left = slices.DeleteFunc(slices.Clone(w.left), func(tp kafka.TopicPartition) bool { return !failed[tp] })
	if len(w.left) == 0 {
		e.resume(m.TransactionalID, w)
	} else {
		e.retry(m.TransactionalID, w)
	}
	return e.done()
}

// retry goes on with a transaction after a while.
func (e *event) retry(id string, w *writing) {
	e.timer(id, markersTimer, w.waitMs, func(e *event) {
		if e.s.writing[id] == w {
			e.resume(id, w)
		}
	})
	w.waitMs = min(2*w.waitMs, markerRetryMaxMs)
}

// complete writes down that every partition knows the end of the transaction.
func (e *event) complete(id string, w *writing) {
	m, ok := e.s.txns.Get(id)
	if !ok || !m.state.decided() {
		delete(e.s.writing, id)
		return
	}
	e.put(id, m.complete(e.nowMs))
	e.after(func(e *event, err error) {
		switch {
		case e.s.writing[id] != w: // the next transaction has ended meanwhile
		case err == nil || errors.Is(err, kafka.RequestTimedOut): // else it was taken back
			delete(e.s.writing, id)
		default:
			e.retry(id, w)
		}
	})
}
