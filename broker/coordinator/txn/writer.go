package txn

import (
	"sync/atomic"
	"time"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/replica"
)

// Writer writes the ends of transactions into partitions that this broker leads: what
// WriteTxnMarkers asks a broker to do. It may be used from any goroutine.
type Writer struct {
	Replicas *replica.Manager
	// OffsetsTopic is the topic whose partitions belong to groups, which write their markers
	// themselves by Offsets.
	OffsetsTopic string
	Offsets      func(partition int32, m replica.Marker, done func(error))
	// Timeout is how long a marker waits for the in-sync set.
	Timeout func() time.Duration
}

// Write writes a marker into partitions and answers once, on any goroutine, with an error for
// each, in their order.
func (w *Writer) Write(m replica.Marker, partitions []kafka.TopicPartition, done func([]error)) {
	errs := make([]error, len(partitions))
	var left atomic.Int64
	left.Store(1) // this goroutine's
	finish := func() {
		if left.Add(-1) == 0 {
			done(errs)
		}
	}
	pending := make([]*replica.Pending, len(partitions))
	var waiting []*replica.Pending
	for i, tp := range partitions {
		if tp.Topic == w.OffsetsTopic {
			left.Add(1)
			w.Offsets(tp.Partition, m, func(err error) {
				errs[i] = err
				finish()
			})
			continue
		}
		p, err := w.Replicas.Partition(tp.Topic, tp.Partition)
		if err == nil {
			pending[i], err = replica.WriteMarker(p, m)
		}
		if errs[i] = err; pending[i] != nil {
			waiting = append(waiting, pending[i])
		}
	}
	replica.Await(waiting, w.Timeout(), func() {
		for i, p := range pending {
			if p != nil {
				errs[i] = p.Err()
			}
		}
		finish()
	})
}
