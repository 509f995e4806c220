package replica

import (
	"fmt"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
)

// Producers asks partitions for the producers that their logs remember, and calls done
// once, on another goroutine, with a result for each, in their order.
func (m *Manager) Producers(partitions []*Partition, done func([]ProducersResult)) {
	out := make([]ProducersResult, len(partitions))
	job := func() {
		for i, p := range partitions {
			out[i].Producers, out[i].Err = producers(p)
		}
		done(out)
	}
	if !m.disk.submit(job) {
		for i := range out {
			out[i].Err = errShutdown
		}
		done(out)
	}
}

// ProducersResult is the producers of a partition, ascending in id.
type ProducersResult struct {
	Producers []commitlog.ProducerSnapshotEntry
	Err       error
}

// producers needs no leader: a follower's log remembers the same.
func producers(p *Partition) ([]commitlog.ProducerSnapshotEntry, error) {
	p.lead.RLock()
	log, refused := p.lead.log, p.lead.refused
	p.lead.RUnlock()
	switch {
	case refused != nil:
		return nil, refused
	case log == nil:
		return nil, fmt.Errorf("partition %s has no log here: %w", p.tp, kafka.NotLeaderOrFollower)
	}
	out, err := commitlog.Producers(log)
	if err != nil {
		return nil, storageError(err)
	}
	return out, nil
}
