package replica

import (
	"errors"
	"fmt"

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
	res   FetchResult
	seen  seen
	more  bool // committed data lies behind the range
	asks  bool // the store has to be asked
	store RemoteLog
	log   *commitlog.Log
	local error // why the local log does not have what it should have
}

// read reads the local log, or says that the object store has to be asked.
func (p *Partition) read(r readRequest) readOutcome {
	p.lead.RLock()
	out, upTo := p.lookLocked(r)
	p.lead.RUnlock()
	if upTo < 0 || upTo <= r.fp.Offset {
		out.seen.nothing = upTo >= 0
		return out
	}
	// No lock is held while the disk is read: what is committed stays where it is, and a
	// log that was cut or replaced meanwhile answers that the offset is out of its range.
	got, err := out.log.Read(r.fp.Offset, r.maxBytes, upTo, r.minOne)
	switch {
	case kafka.Code(err) == kafka.OffsetOutOfRange && r.fp.Offset < out.log.LocalStart():
		out.askStore() // evicted since it was looked at
	case errors.Is(err, kafka.ErrCorrupt):
		p.m.damaged(p, out.log, r.fp.Offset, err)
		if out.asks = out.store != nil; !out.asks {
			out.res.Err = err
		}
		out.local = err // what clients get when the store does not have the range either
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

// lookLocked judges a request and answers how far the local log may be read for it; -1 when
// it is not to be read at all.
func (p *Partition) lookLocked(r readRequest) (out readOutcome, upTo int64) {
	out.res = FetchResult{HighWatermark: -1, LastStable: -1, LogStart: -1}
	out.seen.epoch = p.lead.epoch
	if out.res.Err = p.servesLocked(r.fp.CurrentLeaderEpoch); out.res.Err != nil {
		return out, -1
	}
	log, hw := p.lead.log, p.HighWatermark()
	if err := log.Err(); err != nil {
		out.res.Err = storageError(err) // also where there is nothing to read
		return out, -1
	}
	start, certain := p.logStartLocked()
	out.log, out.store = log, p.lead.remote
	out.seen.highWatermark, out.seen.logStart = hw, start
	out.res.HighWatermark, out.res.LastStable, out.res.LogStart = hw, log.LastStable(hw), start
	off := r.fp.Offset
	if out.res.Diverging, out.res.Err = p.divergingLocked(r.fp); out.res.Diverging != nil || out.res.Err != nil {
		return out, -1
	}
	switch {
	case off > log.End(), certain && off < start:
		out.res.Err = kafka.OffsetOutOfRange
		return out, -1
	case off < log.LocalStart():
		out.askStore()
		return out, -1
	case r.committed:
		return out, out.res.LastStable
	}
	return out, hw
}

// askStore leaves the read to the store; a log without one does not have the offset.
func (out *readOutcome) askStore() {
	if out.asks = out.store != nil; !out.asks {
		out.res.Err = kafka.OffsetOutOfRange
	}
}

// divergingLocked is where the client's log departs from this one, nil when it does not
// or when the client does not say what it has. An epoch that is unknown here leaves the
// offset out of range. Source: KIP-595, Kafka's Partition.readRecords.
func (p *Partition) divergingLocked(fp *FetchPartition) (*EpochEnd, error) {
	if fp.LastFetchedEpoch == kafka.NoEpoch {
		return nil, nil
	}
	end := p.epochEndLocked(fp.LastFetchedEpoch)
	switch {
	case end.Epoch == kafka.NoEpoch || end.End == kafka.NoOffset:
		return nil, fmt.Errorf("partition %s: leader epoch %d is unknown: %w", p.tp, fp.LastFetchedEpoch, kafka.OffsetOutOfRange)
	case end.Epoch < fp.LastFetchedEpoch || end.End < fp.Offset:
		return &end, nil
	}
	return nil, nil
}

// watcher is told of what happens to a partition.
type watcher interface {
	// arrived tells that bytes were appended, or, with look, that the partition changed in
	// a way that only a new look can judge; with neither, that what it says of itself
	// changed, which is no reason to wake anybody. It says whether it goes on watching. It
	// never blocks: the caller holds the partition.
	arrived(bytes int64, look bool) (keep bool)
}

// notifyLocked tells all watchers; p.mu is held.
func (p *Partition) notifyLocked(bytes int64, look bool) {
	for w := range p.mu.watchers {
		if !w.arrived(bytes, look) {
			delete(p.mu.watchers, w)
		}
	}
}

// touch tells fetch sessions that the log start has moved. Nobody is woken: who waits for
// records behind the end does not miss them.
func (p *Partition) touch() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.notifyLocked(0, false)
}

// watch adds a watcher, and says whether the partition has moved on since it was seen. A
// nil partition never does.
func (p *Partition) watch(w watcher, s seen) (moved bool) {
	if p == nil {
		return false
	}
	p.lead.RLock()
	epoch, refused, start := p.lead.epoch, p.lead.refused != nil, s.logStart
	if !refused {
		start, _ = p.logStartLocked()
	}
	p.lead.RUnlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.watchers == nil {
		p.mu.watchers = map[watcher]struct{}{}
	}
	p.mu.watchers[w] = struct{}{}
	return refused || epoch != s.epoch || start != s.logStart || p.mu.highWatermark != s.highWatermark
}

// unwatch takes a watcher off the partition.
func (p *Partition) unwatch(w watcher) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if delete(p.mu.watchers, w); len(p.mu.watchers) == 0 {
		p.mu.watchers = nil
	}
}
