package replica

import "github.com/varve-io/varve/broker/kafka"

// EpochEnd is the largest leader epoch of the partition that is at most epoch, and the
// offset at which its records end; both -1 when the epoch is not known here. clientEpoch
// is the leader epoch that the asker knows, kafka.NoEpoch for none.
func (p *Partition) EpochEnd(epoch, clientEpoch int32) (EpochEnd, error) {
	p.lead.RLock()
	defer p.lead.RUnlock()
	if err := p.servesLocked(clientEpoch); err != nil {
		return EpochEnd{Epoch: kafka.NoEpoch, End: kafka.NoOffset}, err
	}
	return p.epochEndLocked(epoch), nil
}

// epochEndLocked is EpochEnd on a partition that is served. The epoch of the leader counts
// from its election on, which the log knows only from the leader's first record on.
// Source: Kafka's LeaderEpochFileCache, to which a leader adds its epoch when it is elected.
func (p *Partition) epochEndLocked(epoch int32) EpochEnd {
	log := p.lead.log
	end := log.End() // before latest: a first record of this epoch in between would count for an older one
	latest := log.LatestEpoch()
	empty := latest == kafka.NoEpoch
	if latest >= p.lead.epoch || !empty && epoch < latest || epoch > p.lead.epoch || epoch == kafka.NoEpoch {
		found, end := log.EndOffsetFor(epoch)
		return EpochEnd{Epoch: found, End: end}
	}
	out := EpochEnd{Epoch: epoch, End: end}
	if epoch < p.lead.epoch && !empty {
		out.Epoch = latest
	}
	return out
}
