package commitlog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/fault"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// producerSweepMs is how often an appending log looks for expired producers.
const producerSweepMs = 10 * 60 * 1000

// Append writes b, one batch that broker/batch has validated, whose header is h. It
// rewrites base offset and leader epoch in b and keeps no alias of it. On return the
// bytes are in the page cache; in group mode they are durable when Durable has reached them.
//
// The producer rules I1–I3 apply: a retry of one of the last five batches answers
// Duplicate with the first try's offsets; errors wrap kafka.OutOfOrderSequenceNumber,
// kafka.InvalidProducerEpoch, kafka.InvalidTxnState. Others wrap kafka.FencedLeaderEpoch
// (an older epoch than the log's), kafka.RecordListTooLarge (larger than segment.bytes),
// kafka.KafkaStorageError, which is the end of the log unless its disk is full. After an error nothing of b is in the log, but when the sync of
// group mode failed: then the next start decides.
func (l *Log) Append(b []byte, h batch.Header, leaderEpoch int32) (Appended, error) {
	return AppendFrom(l, b, h, leaderEpoch, Origin{})
}

// AppendFrom is Append with more of an idea where the batch comes from.
func AppendFrom(l *Log, b []byte, h batch.Header, leaderEpoch int32, from Origin) (Appended, error) {
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	if err := l.ready(); err != nil {
		return Appended{}, err
	}
	l.mu.RLock()
	c, end, latest, damage := l.mu.config, l.mu.end, l.mu.latest, l.mu.damage
	l.mu.RUnlock()
	switch {
	case damage != nil:
		return Appended{}, fmt.Errorf("log %s: no appends: %w: %w", l.opts.TP, kafka.KafkaStorageError, damage)
	case int64(len(b)) != h.Size():
		return Appended{}, fmt.Errorf("BUG: batch of %d bytes with a header of %d", len(b), h.Size())
	case int64(len(b)) > c.SegmentBytes:
		return Appended{}, fmt.Errorf("batch of %d bytes is larger than segment.bytes=%d: %w", len(b), c.SegmentBytes, kafka.RecordListTooLarge)
	case leaderEpoch < latest:
		return Appended{}, fmt.Errorf("log %s: append in epoch %d after epoch %d: %w", l.opts.TP, leaderEpoch, latest, kafka.FencedLeaderEpoch)
	}
	marker, dup, err := l.w.checkProducer(b, &h, from)
	if err != nil {
		return Appended{}, err
	}
	if dup != nil {
		return *dup, nil
	}
	if err := l.opts.Room.take(h.Size(), l.opts.Own); err != nil {
		return Appended{}, fmt.Errorf("log %s: no appends for now: %w", l.opts.TP, err)
	}
	if err := l.w.enter(&c); err != nil {
		return Appended{}, err
	}
	h.BaseOffset, h.LeaderEpoch = end, leaderEpoch
	batch.SetBaseOffset(b, end)
	batch.SetLeaderEpoch(b, leaderEpoch)
	rolled, err := l.w.write(b, &h, &c, marker)
	if err != nil {
		return Appended{}, err
	}
	out := Appended{BaseOffset: end, LastOffset: h.LastOffset(), LogStart: l.LogStart(), AppendTimeMs: -1, Rolled: rolled}
	if h.IsLogAppendTime() {
		out.AppendTimeMs = h.MaxTimestampMs
	}
	return out, l.w.flushAfterAppend(&c, b, &h)
}

// checkProducer applies the producer rules. It answers the content of a transaction
// marker, or the answer to a retry.
func (l *writer) checkProducer(b []byte, h *batch.Header, from Origin) (*endMarker, *Appended, error) {
	if !h.HasProducerID() {
		return nil, nil, nil
	}
	p := l.producers
	if h.IsControl() {
		m, err := parseMarker(b)
		if err != nil || m == nil {
			return nil, nil, err
		}
		return m, nil, p.checkMarker(h, *m, from.TxnVersion)
	}
	if m, ok := p.duplicate(h); ok && from.Kind != FromCoordinator {
		dup := &Appended{BaseOffset: m.firstOffset(), LastOffset: m.lastOffset, LogStart: l.LogStart(), AppendTimeMs: m.timestampMs, Duplicate: true}
		return nil, dup, nil
	}
	if err := p.checkVerified(h, from); err != nil {
		return nil, nil, err
	}
	return nil, nil, p.check(h, from.Kind)
}

// parseMarker reads the transaction marker in a control batch; nil for other control records.
func parseMarker(b []byte) (*endMarker, error) {
	for rec, err := range batch.Records(b, batch.Limits{}) {
		if err != nil {
			return nil, err
		}
		kind, epoch, err := batch.ParseControl(rec)
		if err != nil {
			return nil, err
		}
		if kind != batch.Abort && kind != batch.Commit {
			return nil, nil
		}
		return &endMarker{commit: kind == batch.Commit, coordinatorEpoch: epoch}, nil
	}
	return nil, nil
}

// write puts a batch with final offsets at the end of the active segment and publishes it.
// It says whether the batch is the first one there.
func (l *writer) write(b []byte, h *batch.Header, c *Config, marker *endMarker) (first bool, err error) {
	s, err := l.writable(c, int64(len(b)), h)
	if err != nil {
		return false, l.failToOpen(err)
	}
	l.dirty = true
	f, err := l.opts.Files.acquire(&s.log, func() string { return s.path(logSuffix) }, 0)
	if err != nil {
		return false, l.failToOpen(fmt.Errorf("open %s: %w", s.path(logSuffix), err))
	}
	defer f.ref.Release()
	if err := fault.Err("log.append"); err != nil {
		return false, l.fail(err)
	}
	if _, err := f.WriteAt(b, s.size); err != nil {
		return false, l.unwritten(f, s, err)
	}
	txnsChanged, err := l.applyProducer(s, h, marker)
	if err != nil {
		return false, l.fail(err)
	}
	l.mu.Lock()
	s.grow(c, int64(len(b)), h.MaxTimestampMs, h.LastOffset())
	l.mu.epochs.assign(h.LeaderEpoch, h.BaseOffset)
	l.mu.latest = max(l.mu.latest, h.LeaderEpoch)
	l.mu.end, l.mu.sealed = s.next, false
	if txnsChanged {
		l.mu.txns = append([]txnSpan(nil), l.producers.txns...)
	}
	l.mu.Unlock()
	if len(s.offsets.tail) >= tailFlushBytes || len(s.times.tail) >= tailFlushBytes {
		if err := l.flushIndexes(s); err != nil && !outOfDescriptors(err) && !diskFull(err) { // else the next append tries again
			return false, l.fail(err)
		}
	}
	return s.base == h.BaseOffset, nil
}

// unwritten takes back a batch of which not all was written. Of a full disk that is all: the
// next append may find room again.
func (l *writer) unwritten(f vfs.File, s *segment, err error) error {
	err = fmt.Errorf("write %s at %d: %w", s.path(logSuffix), s.size, err)
	if !diskFull(err) {
		return l.fail(err)
	}
	if cut := f.Truncate(s.size); cut != nil {
		return l.fail(errors.Join(err, cut))
	}
	return fmt.Errorf("log %s: %w: %w", l.opts.TP, kafka.KafkaStorageError, err)
}

// failToOpen ends an append that met err before it wrote anything.
func (l *writer) failToOpen(err error) error {
	if sticky := l.Err(); sticky != nil {
		return sticky
	}
	switch {
	case outOfDescriptors(err):
		return l.busy(err)
	case diskFull(err): // a roll, which the next append begins anew
		return fmt.Errorf("log %s: %w: %w", l.opts.TP, kafka.KafkaStorageError, err)
	}
	return l.fail(err)
}

// applyProducer brings the producer state, and the transaction index, up to a batch that
// is in the file. It says whether the set of transactions changed.
func (l *writer) applyProducer(s *segment, h *batch.Header, marker *endMarker) (bool, error) {
	p := l.producers
	p.end = h.LastOffset() + 1
	if !h.HasProducerID() {
		return false, nil
	}
	nowMs := l.opts.nowMs()
	if nowMs-l.expiredMs >= producerSweepMs {
		l.expiredMs = nowMs
		p.expire(nowMs, l.expiration.Load())
	}
	if marker != nil {
		if t, aborted := p.marker(h, *marker, nowMs); aborted {
			if err := l.appendTxn(s, t); err != nil {
				return true, err
			}
		}
		p.settle(l.highWatermark.Load())
		return true, nil
	}
	if !h.IsControl() {
		p.data(h, nowMs)
	}
	return h.IsTransactional(), nil
}

// appendTxn adds an entry to the segment's transaction index, which most never have.
func (l *writer) appendTxn(s *segment, t AbortedTxn) error {
	f, err := l.opts.FS.OpenFile(s.path(txnIndexSuffix), os.O_RDWR|os.O_CREATE, filePerm)
	if err != nil {
		return fmt.Errorf("open %s: %w", s.path(txnIndexSuffix), err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("stat %s: %w", s.path(txnIndexSuffix), err)
	}
	if _, err := f.WriteAt(appendTxnEntry(nil, t), info.Size()); err != nil {
		return fmt.Errorf("write %s: %w", s.path(txnIndexSuffix), err)
	}
	l.mu.Lock()
	s.hasTxns, l.mu.dirDirty = true, true
	l.mu.Unlock()
	return nil
}

// writable is the active segment, rolled first if the batch does not belong into it.
// The first append of a log creates its directory.
func (l *writer) writable(c *Config, n int64, h *batch.Header) (*segment, error) {
	l.mu.RLock()
	var s *segment
	if len(l.mu.segs) > 0 {
		s = l.mu.segs[len(l.mu.segs)-1]
	}
	latest := l.mu.latest
	l.mu.RUnlock()
	if s == nil {
		return l.firstSegment(h.BaseOffset, c)
	}
	if !s.full(c, n, h.MaxTimestampMs, h.LastOffset(), l.opts.nowMs()) && (h.LeaderEpoch <= latest || !splitsEpoch(s.size)) {
		return s, nil
	}
	return l.roll(c)
}

// firstSegment makes the partition's directory with its first segment and the id of its
// topic, all durable: without the id the directory could be taken for another incarnation
// of the topic, and a log whose first segment is missing has lost data.
func (l *writer) firstSegment(base int64, c *Config) (*segment, error) {
	if err := vfs.MkdirAllSync(l.opts.FS, l.dir, dirPerm); err != nil {
		return nil, fmt.Errorf("create %s: %w", l.dir, err)
	}
	s, err := l.addSegment(base, c)
	if err != nil {
		return nil, err
	}
	err = vfs.WriteFileAtomic(l.opts.FS, filepath.Join(l.dir, PartitionMetadataName), AppendPartitionMetadata(nil, l.opts.TopicID))
	if err != nil && diskFull(err) && l.dropFirstSegment(s) == nil {
		return nil, err
	}
	if err != nil {
		return nil, l.fail(err) // another try would find the segment and leave the id out
	}
	return s, nil
}

// dropFirstSegment takes back the empty segment of a log that has no other.
func (l *writer) dropFirstSegment(s *segment) error {
	l.mu.Lock()
	(cutter{l.Log}).forget(s)
	l.mu.segs = nil
	l.mu.Unlock()
	return l.opts.FS.Remove(s.path(logSuffix))
}

// addSegment creates an empty segment file at base and makes it the active one.
func (l *writer) addSegment(base int64, c *Config) (*segment, error) {
	var jitter int64
	if c.SegmentJitterMs > 0 {
		jitter = rand.Int64N(min(c.SegmentJitterMs, c.SegmentMs))
	}
	l.dirty = true
	s := newSegment(l.dir, base, l.opts.nowMs(), jitter)
	h, err := l.opts.Files.acquire(&s.log, func() string { return s.path(logSuffix) }, os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", s.path(logSuffix), err)
	}
	h.ref.Release()
	l.mu.Lock()
	l.mu.segs = append(l.mu.segs, s)
	l.mu.dirDirty, l.mu.sealed = true, false
	l.mu.Unlock()
	return s, nil
}

// Roll closes the active segment and starts a new one at End. An empty active segment
// stays. Errors wrap kafka.KafkaStorageError.
func (l *Log) Roll() error {
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	if err := l.ready(); err != nil {
		return err
	}
	return l.w.rollIf(func(*segment, *Config) bool { return true })
}

// MaybeRollByTime closes an active segment that is older than segment.ms by the wall
// clock, which an idle partition's next append would otherwise do. Old record times do
// not count here, or a backfill would roll at every call.
func (l *Log) MaybeRollByTime() error {
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	l.mu.RLock()
	empty := l.mu.localStart == l.mu.end
	l.mu.RUnlock()
	if empty { // an idle partition without records is not worth the reading of its files
		return nil
	}
	if err := l.ready(); err != nil {
		return err
	}
	return l.w.rollIf(func(s *segment, c *Config) bool { return l.opts.nowMs()-s.createdMs > c.SegmentMs-s.jitterMs })
}

func (l *writer) rollIf(due func(*segment, *Config) bool) error {
	l.mu.RLock()
	c, segs := l.mu.config, l.mu.segs
	l.mu.RUnlock()
	if len(segs) == 0 || segs[len(segs)-1].size == 0 || !due(segs[len(segs)-1], &c) {
		return nil
	}
	if _, err := l.roll(&c); err != nil {
		return l.failToOpen(err)
	}
	return nil
}

// roll closes the active segment and starts one at the end. A crash at any point leaves
// either the old active segment as the last one, to be scanned again, or an empty new
// one behind it; the snapshot only saves the scan, and its CRC tells a torn one.
func (l *writer) roll(c *Config) (*segment, error) {
	l.mu.Lock()
	s := l.mu.segs[len(l.mu.segs)-1]
	end := l.mu.end
	s.addTime()
	l.mu.Unlock()
	if err := l.flushIndexes(s); err != nil {
		return nil, err
	}
	if err := l.writeSnapshot(end); err != nil {
		return nil, err
	}
	if err := fault.Err("log.roll"); err != nil {
		return nil, err
	}
	if fault.Planted(fault.BugProducersDropped) {
		l.producers = newProducerState(end)
	}
	return l.addSegment(end, c)
}

// writeSnapshot writes the producer snapshot of end, un-synced, unless it is there.
// appendMu is held and the producer state is that of end.
func (l *writer) writeSnapshot(end int64) error {
	if l.producers.end != end {
		return fmt.Errorf("BUG: producer state of %d, want %d", l.producers.end, end)
	}
	l.producers.expire(l.opts.nowMs(), l.expiration.Load())
	return l.writeSnapshotFile(end, l.producers)
}

func (l *writer) writeSnapshotFile(end int64, p *producerState) error {
	path := segmentPath(l.dir, end, snapshotSuffix)
	f, err := l.opts.FS.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, filePerm)
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	_, err = f.WriteAt(AppendProducerSnapshot(nil, p.snapshot()), 0)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	l.snapshotEnd = end
	l.mu.Lock()
	l.mu.dirDirty = true
	l.mu.Unlock()
	return fault.Err("log.snapshot")
}
