package replica

import (
	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// readRequest is one partition of a fetch with its share of the budget.
type readRequest struct {
	fp        *FetchPartition
	committed bool
	maxBytes  int64
	minOne    bool // a first batch larger than maxBytes is read all the same
}

// readOutcome is what reading the local log came to.
type readOutcome struct {
	res    FetchResult
	seen   seen
	more   bool      // committed data lies behind the range
	remote RemoteLog // set when the store has to be asked
	log    *commitlog.Log
}

// read reads the local log, or says that the object store has to be asked.
func (p *Partition) read(r readRequest) readOutcome {
	p.lead.RLock()
	defer p.lead.RUnlock()
	out := readOutcome{res: FetchResult{HighWatermark: -1, LastStable: -1, LogStart: -1}}
	out.seen.epoch = p.lead.epoch
	if out.res.Err = p.servesLocked(r.fp.CurrentLeaderEpoch); out.res.Err != nil {
		return out
	}
	log, hw := p.lead.log, p.HighWatermark()
	out.log = log
	start, certain := p.logStartLocked()
	out.seen.highWatermark = hw
	out.res.HighWatermark, out.res.LastStable, out.res.LogStart = hw, log.LastStable(hw), start
	off := r.fp.Offset
	if out.res.Diverging = p.divergingLocked(r.fp); out.res.Diverging != nil {
		return out
	}
	switch {
	case off > log.End(), certain && off < start:
		out.res.Err = kafka.OffsetOutOfRange
		return out
	case off < log.LocalStart():
		out.askRemote(p.lead.remote)
		return out
	}
	upTo := hw
	if r.committed {
		upTo = out.res.LastStable
	}
	if off >= upTo {
		return out
	}
	got, err := log.Read(off, r.maxBytes, upTo, r.minOne)
	switch {
	case kafka.Code(err) == kafka.OffsetOutOfRange && off < log.LocalStart():
		out.askRemote(p.lead.remote) // evicted since it was looked at
	case err != nil:
		out.res.Err = storageError(err)
	default:
		if n := got.Range.Len; n > 0 {
			out.res.Records = []vfs.Range{got.Range}
			out.more = got.UpperBound < upTo || n >= r.maxBytes
		} else {
			out.more = !r.minOne // the first batch did not fit behind what others brought
		}
		if r.committed {
			out.res.Aborted = got.Aborted
		}
	}
	return out
}

// askRemote leaves the read to the store; a log without one does not have the offset.
func (out *readOutcome) askRemote(remote RemoteLog) {
	if out.remote = remote; remote == nil {
		out.res.Err = kafka.OffsetOutOfRange
	}
}

// divergingLocked is where the client's log departs from this one, nil when it does not
// or when the client does not say what it has. Source: KIP-595.
func (p *Partition) divergingLocked(fp *FetchPartition) *EpochEnd {
	if fp.LastFetchedEpoch == kafka.NoEpoch {
		return nil
	}
	epoch, end := p.lead.log.EndOffsetFor(fp.LastFetchedEpoch)
	if epoch == fp.LastFetchedEpoch && end >= fp.Offset {
		return nil
	}
	return &EpochEnd{Epoch: epoch, End: end}
}

// watch parks f with the partition, and says whether the partition has moved on since it
// was seen. A nil partition never does.
func (p *Partition) watch(f *fetch, s seen) (moved bool) {
	if p == nil {
		return false
	}
	p.lead.RLock()
	epoch, refused := p.lead.epoch, p.lead.refused != nil
	p.lead.RUnlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.watchers == nil {
		p.mu.watchers = map[*fetch]struct{}{}
	}
	p.mu.watchers[f] = struct{}{}
	return refused || epoch != s.epoch || p.mu.highWatermark != s.highWatermark
}

// unwatch takes f off the partition.
func (p *Partition) unwatch(f *fetch) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if delete(p.mu.watchers, f); len(p.mu.watchers) == 0 {
		p.mu.watchers = nil
	}
}
