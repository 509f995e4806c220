package commitlog

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/fault"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// cutter is what takes files away. Log.maintMu is held in all its methods.
type cutter struct{ *Log }

// promiseLess makes the checkpoint promise nothing above offset, before files above it go.
func (l cutter) promiseLess(offset int64) error {
	l.mu.Lock()
	l.mu.recoveryPoint = min(l.mu.recoveryPoint, offset)
	l.mu.sealed = false
	l.mu.durable, l.mu.held = min(l.mu.durable, offset), min(l.mu.held, offset)
	l.mu.sureStart = min(l.mu.sureStart, offset)
	l.mu.vouched, l.mu.flushed = min(l.mu.vouched, offset), min(l.mu.flushed, offset)
	l.mu.cleaned, l.mu.cleanKept = min(l.mu.cleaned, offset), false
	l.mu.Unlock()
	if l.opts.Checkpoint != nil && !fault.Planted(fault.BugTruncateStillPromised) {
		if err := l.opts.Checkpoint(); err != nil {
			return fmt.Errorf("checkpoint before a cut: %w", err)
		}
	}
	l.reap(math.MaxInt64, true) // a renamed segment would speak for the files of the next life
	return nil
}

// keepHoles forgets the holes from end on, durably, before other records take their place.
func (l cutter) keepHoles(end int64) error {
	l.mu.RLock()
	old := l.mu.holes
	l.mu.RUnlock()
	if len(old) == 0 && end > 0 {
		return nil
	}
	hs := old.within(0, end)
	if err := writeHoles(l.opts.FS, l.dir, hs); err != nil {
		return err
	}
	l.mu.Lock()
	l.mu.holes = hs
	l.mu.Unlock()
	return nil
}

// TruncateTo removes everything from offset on, durably; a batch that holds offset goes
// whole, so that End may come out lower. At or above End it changes nothing; below the
// first local segment errors wrap kafka.OffsetOutOfRange (see ResetTo). A crash in between
// leaves a longer log, never a gap.
func (l *Log) TruncateTo(offset int64) error {
	l.maintMu.Lock()
	defer l.maintMu.Unlock()
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	if err := l.ready(); err != nil {
		return err
	}
	l.mu.RLock()
	segs, end := slices.Clone(l.mu.segs), l.mu.end
	l.mu.RUnlock()
	if offset >= end {
		return nil
	}
	i := slices.IndexFunc(segs, func(s *segment) bool { return s.next > offset || s == segs[len(segs)-1] })
	if offset < segs[0].base {
		return fmt.Errorf("log %s: %d lies below the first local segment %d: %w", l.opts.TP, offset, segs[0].base, kafka.OffsetOutOfRange)
	}
	cut, err := (cutter{l}).shorter(segs[i], offset)
	if err == nil {
		err = l.w.leave(cut.next)
	}
	l.cutMu.Lock()
	defer l.cutMu.Unlock()
	if err == nil {
		l.mu.Lock()
		l.mu.cut, l.mu.cutEnd = cut, end // also where it was closed: its indexes are about to be other ones
		l.mu.Unlock()
		err = (cutter{l}).promiseLess(cut.next)
	}
	if err == nil {
		err = (cutter{l}).keepHoles(cut.next)
	}
	if err == nil {
		err = (cutter{l}).truncate(segs, i, cut)
	}
	if err != nil {
		return l.fail(err)
	}
	return nil
}

// shorter is segment old without its batches from offset on.
func (l cutter) shorter(old *segment, offset int64) (*segment, error) {
	ld := &loader{l: l.Log, c: l.config()}
	cut := newSegment(l.dir, old.base, l.opts.nowMs(), old.jitterMs)
	errStop := errors.New("stop")
	err := ld.headers(old, 0, func(h batch.Header, _ *scanner) error {
		if h.LastOffset() >= offset {
			return errStop
		}
		cut.grow(&ld.c, h.Size(), h.MaxTimestampMs, h.LastOffset())
		return nil
	})
	if err != nil && !errors.Is(err, errStop) {
		return nil, err
	}
	return cut, nil
}

// truncate puts cut in the place of segs[i] and drops the segments behind it.
func (l cutter) truncate(segs []*segment, i int, cut *segment) error {
	l.mu.Lock() // readers see the shorter log first
	for _, s := range segs[i:] {
		l.forget(s)
	}
	l.mu.segs = append(l.mu.segs[:i:i], cut)
	l.mu.end = cut.next
	l.mu.logStart, l.mu.localStart = min(l.mu.logStart, cut.next), min(l.mu.localStart, cut.next)
	l.mu.epochs.truncateEnd(cut.next)
	l.mu.latest = l.mu.epochs.latest()
	l.mu.Unlock()
	for _, s := range slices.Backward(segs[i+1:]) {
		if err := removeSegment(l.opts.FS, s); err != nil {
			return err
		}
	}
	if err := l.truncateFiles(cut); err != nil {
		return err
	}
	l.mu.Lock()
	l.mu.cut = nil
	l.mu.Unlock()
	return l.reloadProducers(segs[:i], cut)
}

// truncateFiles shortens the files of a segment to what cut says.
func (l cutter) truncateFiles(cut *segment) error {
	if err := l.shorten(cut.path(logSuffix), cut.size); err != nil {
		return err
	}
	b, err := vfs.ReadFile(l.opts.FS, cut.path(txnIndexSuffix))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read %s: %w", cut.path(txnIndexSuffix), err)
	}
	if len(b) > 0 {
		txns, err := ParseTxnIndex(cut.base, b)
		if err != nil {
			return err
		}
		n, _ := slices.BinarySearchFunc(txns, cut.next, func(t AbortedTxn, off int64) int { return cmp.Compare(t.LastOffset, off) })
		if err := l.shorten(cut.path(txnIndexSuffix), int64(n*txnEntrySize)); err != nil {
			return err
		}
		cut.hasTxns = n > 0
	}
	return l.Log.w.writeIndexes(cut, writeFile)
}

// shorten cuts a file at size, durably. Of a transaction index it matters as well: once it is
// empty no sync of the segment covers it, and a later marker may lie where an entry says.
func (l cutter) shorten(path string, size int64) error {
	f, err := l.opts.FS.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	sync := f.Sync
	if fault.Planted(fault.BugTruncateNotSynced) {
		sync = func() error { return nil }
	}
	if err := errors.Join(f.Truncate(size), sync(), f.Close()); err != nil {
		return fmt.Errorf("truncate %s: %w", path, err)
	}
	return nil
}

// reloadProducers rebuilds the producer state as of the new end, and writes the history.
func (l cutter) reloadProducers(before []*segment, cut *segment) error {
	ld := &loader{l: l.Log, c: l.config(), evicted: -1, snapshot: -1}
	if err := ld.list(); err != nil {
		return err
	}
	ld.segs, ld.scanFrom = append(slices.Clone(before), cut), len(before)+1
	if err := ld.replay(cut.next); err != nil {
		return err
	}
	l.w.producers, l.w.snapshotEnd, l.w.dirty = ld.producers, ld.snapshot, true
	l.mu.Lock()
	l.mu.txns = slices.Clone(ld.producers.txns)
	l.mu.damage, l.mu.promise = nil, nil
	l.mu.Unlock()
	return (syncer{l.Log}).writeEpochs()
}

// ResetTo drops the whole local log, damaged or not, and starts it anew, empty, at
// offset: for a log that lost data which the tier holds, or that lags behind its leader's
// start. Give it its history with Adopt. The global start stays where it is when remote
// storage holds data (SetHighestRemote), else it becomes offset.
func (l *Log) ResetTo(offset int64) error {
	l.maintMu.Lock()
	defer l.maintMu.Unlock()
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	if err := l.Err(); errors.Is(err, ErrClosed) || errors.Is(err, kafka.InconsistentTopicID) {
		return err
	}
	if err := l.w.quit(0); err != nil {
		return err
	}
	l.cutMu.Lock()
	defer l.cutMu.Unlock()
	st := l.State()
	st.RecoveryPoint, st.End, st.LatestEpoch, st.Suspect, st.Damaged = 0, 0, kafka.NoEpoch, true, true
	l.mu.Lock()
	l.mu.promise = &st // a crash on the way leaves a log that somebody has to settle again
	l.mu.Unlock()
	if err := errors.Join((cutter{l}).promiseLess(0), (cutter{l}).keepHoles(0)); err != nil {
		return l.fail(err)
	}
	if err := (cutter{l}).reset(offset); err != nil {
		return l.fail(err)
	}
	if l.opts.Checkpoint == nil {
		return nil
	}
	// Until the checkpoint says so, a start takes the new log for the rest of the old one.
	if err := l.opts.Checkpoint(); err != nil {
		return l.fail(fmt.Errorf("checkpoint of the new start: %w", err))
	}
	return nil
}

func (l cutter) reset(offset int64) error {
	l.mu.Lock()
	for _, s := range l.mu.segs {
		l.forget(s)
	}
	l.mu.segs, l.mu.txns = nil, nil
	l.mu.end, l.mu.localStart, l.mu.durable = offset, offset, offset
	if l.mu.highestRemote < 0 || l.mu.logStart > offset {
		l.mu.logStart = offset
	}
	l.mu.sureStart = l.mu.logStart // with the checkpoint, before the first append
	l.mu.epochs = epochCache{dirty: true}
	l.mu.latest = kafka.NoEpoch
	l.mu.Unlock()
	if err := l.removeAll(); err != nil {
		return err
	}
	c := l.config()
	if _, err := l.Log.w.firstSegment(offset, &c); err != nil {
		return err
	}
	l.w = writer{Log: l.Log, producers: newProducerState(offset), snapshotEnd: -1, flushedMs: l.opts.nowMs(), expiredMs: l.opts.nowMs(), dirty: true, quietEnd: -1, sealSnapshot: -1}
	if err := errors.Join((syncer{l.Log}).writeEpochs(), (syncer{l.Log}).syncDir()); err != nil {
		return err
	}
	l.mu.Lock()
	l.mu.loaded, l.mu.err, l.mu.damage, l.mu.promise, l.mu.suspect = true, nil, nil, nil, false
	l.mu.recoveryPoint = offset
	l.mu.Unlock()
	return nil
}

// removeAll removes every segment file, newest first and durably one by one, so that a
// crash in between leaves a shorter log without gaps.
func (l cutter) removeAll() error {
	entries, err := l.opts.FS.ReadDir(l.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list %s: %w", l.dir, err)
	}
	last := int64(-1)
	for _, e := range slices.Backward(entries) { // sorted by name, so by base
		base, _, ok := ParseSegmentName(e.Name())
		if !ok || e.IsDir() || strings.Contains(e.Name(), asideInfix) {
			continue
		}
		if last >= 0 && base != last {
			if err := l.opts.FS.SyncDir(l.dir); err != nil {
				return fmt.Errorf("sync directory %s: %w", l.dir, err)
			}
		}
		last = base
		if err := l.opts.FS.Remove(filepath.Join(l.dir, e.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", filepath.Join(l.dir, e.Name()), err)
		}
	}
	return nil
}

// Adopt gives an empty log, after ResetTo, the history of what lies below its end: the
// leader epochs and the bytes of the producer snapshot as of End (nil = none). Both are
// durable on return. Errors wrap kafka.ErrCorrupt when the snapshot is no snapshot.
func (l *Log) Adopt(epochs []EpochEntry, producerSnapshot []byte) error {
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	if err := l.ready(); err != nil {
		return err
	}
	l.mu.RLock()
	end, empty := l.mu.end, len(l.mu.segs) == 1 && l.mu.segs[0].size == 0
	l.mu.RUnlock()
	if !empty {
		return fmt.Errorf("BUG: log %s adopts a history but is not empty", l.opts.TP)
	}
	if producerSnapshot != nil {
		entries, err := ParseProducerSnapshot(producerSnapshot)
		if err != nil {
			return err
		}
		p := newProducerState(end)
		p.load(entries, end, l.opts.nowMs())
		if err := l.w.writeSnapshotFile(end, p); err != nil {
			return l.fail(err)
		}
		if err := (syncer{l}).syncPath(segmentPath(l.dir, end, snapshotSuffix)); err != nil {
			return l.fail(err)
		}
		l.w.producers, l.w.dirty = p, true
	}
	l.mu.Lock()
	l.mu.epochs = epochCache{entries: slices.Clone(epochs)}
	l.mu.epochs.truncateEnd(end)
	l.mu.latest = l.mu.epochs.latest()
	l.mu.txns = slices.Clone(l.w.producers.txns)
	l.mu.Unlock()
	if err := errors.Join((syncer{l}).writeEpochs(), (syncer{l}).syncDir()); err != nil {
		return l.fail(err)
	}
	return nil
}
