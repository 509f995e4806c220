package replica

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
)

// The times of ListOffsets that stand for a place in the log.
// Source: KIP-734 (max timestamp), KIP-405 and KIP-1005 (tiers), KIP-1023 (pending upload).
const (
	Latest                int64 = -1 // the high watermark, or the last stable offset
	Earliest              int64 = -2 // the log start, which may be in the object store
	MaxTimestamp          int64 = -3 // the record with the largest timestamp
	EarliestLocal         int64 = -4 // the first offset on local disk
	LatestTiered          int64 = -5 // the last offset in the object store
	EarliestPendingUpload int64 = -6 // the first offset that is not in the object store
)

// OffsetQuery asks for the offset that belongs to a time in one partition.
type OffsetQuery struct {
	Topic              string
	Index              int32
	TimestampMs        int64 // or one of the constants above
	CurrentLeaderEpoch int32 // kafka.NoEpoch skips the check
}

// OffsetResult is what was found: NoOffset and NoTimestamp without Err when nothing was.
type OffsetResult struct {
	Err         error
	Offset      int64
	TimestampMs int64
	LeaderEpoch int32
}

// nothingFound is the answer where no offset fits.
func nothingFound() OffsetResult {
	return OffsetResult{Offset: kafka.NoOffset, TimestampMs: kafka.NoTimestamp, LeaderEpoch: kafka.NoEpoch}
}

func offsetError(err error) OffsetResult {
	res := nothingFound()
	res.Err = err
	return res
}

// ListOffsets answers the queries through done, which is called once: on this goroutine
// when the local logs know everything, else when the object store has answered. Queries
// that it has not answered after timeout fail with RequestTimedOut (KIP-1075).
func (m *Manager) ListOffsets(ctx context.Context, queries []OffsetQuery, readCommitted bool, timeout time.Duration, done func([]OffsetResult)) {
	results := make([]OffsetResult, len(queries))
	type job struct {
		i int
		p *Partition
	}
	var jobs []job
	for i, q := range queries {
		p, err := m.Partition(q.Topic, q.Index)
		if err != nil {
			results[i] = offsetError(err)
			continue
		}
		var asksStore bool
		if results[i], asksStore = p.localOffset(q.TimestampMs, readCommitted, q.CurrentLeaderEpoch); asksStore {
			jobs = append(jobs, job{i, p})
			results[i] = offsetError(kafka.RequestTimedOut)
		}
	}
	if len(jobs) == 0 {
		done(results)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	var mu sync.Mutex
	var left atomic.Int64
	left.Store(int64(len(jobs)))
	finish := sync.OnceFunc(func() {
		cancel()
		mu.Lock()
		out := append([]OffsetResult(nil), results...) // late answers write to results
		mu.Unlock()
		done(out)
	})
	context.AfterFunc(ctx, finish)
	for _, j := range jobs {
		q := queries[j.i]
		answer := func(res OffsetResult) {
			mu.Lock()
			results[j.i] = res
			mu.Unlock()
			if left.Add(-1) == 0 {
				finish()
			}
		}
		if !m.remote.submit(func() { answer(j.p.storeOffset(ctx, q.TimestampMs, readCommitted)) }) {
			answer(offsetError(errTooBusy))
		}
	}
}

// localOffset answers from the local log and what is known of the manifest, or says that
// the object store has to be asked.
func (p *Partition) localOffset(tsMs int64, readCommitted bool, clientEpoch int32) (res OffsetResult, asksStore bool) {
	p.lead.RLock()
	defer p.lead.RUnlock()
	if err := p.servesLocked(clientEpoch); err != nil {
		return offsetError(err), false
	}
	log := p.lead.log
	start, certain := p.logStartLocked()
	at := func(off int64) (OffsetResult, bool) {
		res := OffsetResult{Offset: off, TimestampMs: kafka.NoTimestamp, LeaderEpoch: log.EpochAt(off)}
		if log.LatestEpoch() == kafka.NoEpoch {
			res.LeaderEpoch = p.lead.epoch // what is appended first will be of it
		}
		return res, false
	}
	switch tsMs {
	case Latest:
		return OffsetResult{Offset: p.readEnd(log, readCommitted), TimestampMs: kafka.NoTimestamp, LeaderEpoch: p.lead.epoch}, false
	case Earliest:
		if !certain {
			return OffsetResult{}, true
		}
		return at(start)
	case EarliestLocal:
		return at(max(start, log.LocalStart()))
	case LatestTiered, EarliestPendingUpload:
		return p.tierOffsetLocked(tsMs, start)
	}
	if p.lead.remote != nil && (!certain || start < log.LocalStart()) {
		return OffsetResult{}, true
	}
	if tsMs == MaxTimestamp {
		off, ts, epoch, err := log.MaxTimestamp()
		return p.found(log, readCommitted, off, ts, epoch, off >= 0, err), false
	}
	off, ts, epoch, ok, err := log.OffsetForTime(tsMs)
	return p.found(log, readCommitted, off, ts, epoch, ok, err), false
}

// readEnd is the end of what a consumer may read.
func (p *Partition) readEnd(log *commitlog.Log, readCommitted bool) int64 {
	hw := p.HighWatermark()
	if readCommitted {
		return log.LastStable(hw)
	}
	return hw
}

// found is a record by time, if a consumer may read it already.
func (p *Partition) found(log *commitlog.Log, readCommitted bool, off, ts int64, epoch int32, ok bool, err error) OffsetResult {
	switch {
	case err != nil:
		return offsetError(storageError(err))
	case !ok || off >= p.readEnd(log, readCommitted):
		return nothingFound()
	}
	return OffsetResult{Offset: off, TimestampMs: ts, LeaderEpoch: epoch}
}

// tierOffsetLocked is where the object store's part ends. Source: Kafka's UnifiedLog.
func (p *Partition) tierOffsetLocked(tsMs, start int64) (OffsetResult, bool) {
	if p.lead.remote == nil {
		return nothingFound(), false
	}
	v := p.lead.remote.View()
	log := p.lead.log
	switch {
	case !v.Known:
		return OffsetResult{}, true
	case v.Segments == 0 && tsMs == LatestTiered:
		return nothingFound(), false
	case v.Segments == 0:
		return OffsetResult{Offset: start, TimestampMs: kafka.NoTimestamp, LeaderEpoch: log.EpochAt(start)}, false
	case tsMs == LatestTiered:
		return OffsetResult{Offset: v.Next - 1, TimestampMs: kafka.NoTimestamp, LeaderEpoch: log.EpochAt(v.Next - 1)}, false
	default:
		return OffsetResult{Offset: v.Next, TimestampMs: kafka.NoTimestamp, LeaderEpoch: log.EpochAt(v.Next)}, false
	}
}

// storeOffset answers with the help of the object store, and waits for it.
func (p *Partition) storeOffset(ctx context.Context, tsMs int64, readCommitted bool) OffsetResult {
	p.lead.RLock()
	remote, log := p.lead.remote, p.lead.log
	p.lead.RUnlock()
	if remote == nil {
		return offsetError(kafka.NotLeaderOrFollower)
	}
	v := remote.View()
	if !v.Known {
		var err error
		if v, err = remote.Load(ctx); err != nil {
			return offsetError(storeError(err))
		}
	}
	switch {
	case tsMs == MaxTimestamp:
		return p.newest(ctx, remote, log, readCommitted)
	case tsMs < 0:
		res, _ := p.localOffset(tsMs, readCommitted, kafka.NoEpoch)
		return res
	}
	if v.Segments > 0 {
		off, ts, epoch, ok, err := remote.OffsetForTime(ctx, tsMs)
		if err != nil {
			return offsetError(storeError(err))
		}
		if ok {
			return p.found(log, readCommitted, off, ts, epoch, ok, nil)
		}
	}
	off, ts, epoch, ok, err := log.OffsetForTime(tsMs)
	return p.found(log, readCommitted, off, ts, epoch, ok, err)
}

// newest is the first record with the largest timestamp, in the store or on local disk.
func (p *Partition) newest(ctx context.Context, remote RemoteLog, log *commitlog.Log, readCommitted bool) OffsetResult {
	off, ts, epoch, err := log.MaxTimestamp()
	if err != nil {
		return offsetError(storageError(err))
	}
	largest := ts
	if m := remote.Manifest(); m != nil {
		for _, seg := range m.Segments {
			largest = max(largest, seg.MaxTsMs)
		}
	}
	if largest >= 0 && largest >= ts {
		remoteOff, remoteTs, remoteEpoch, ok, err := remote.OffsetForTime(ctx, largest)
		if err != nil {
			return offsetError(storeError(err))
		}
		if ok {
			off, ts, epoch = remoteOff, remoteTs, remoteEpoch
		}
	}
	return p.found(log, readCommitted, off, ts, epoch, off >= 0, nil)
}

// ListOffset is one query that waits for the object store where it must.
func (p *Partition) ListOffset(ctx context.Context, tsMs int64, readCommitted bool, currentLeaderEpoch int32) (off, foundTsMs int64, epoch int32, err error) {
	res, asksStore := p.localOffset(tsMs, readCommitted, currentLeaderEpoch)
	if asksStore {
		res = p.storeOffset(ctx, tsMs, readCommitted)
	}
	return res.Offset, res.TimestampMs, res.LeaderEpoch, res.Err
}

// storeError is a look-up in the store that failed: late, or for another reason.
func storeError(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return kafka.RequestTimedOut
	}
	return storageError(err)
}
