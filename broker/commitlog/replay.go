package commitlog

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/fault"
	"github.com/varve-io/varve/broker/vfs"
)

// replay builds the producer state: from the newest snapshot at or below limit it
// applies every batch up to the end. On the way it rebuilds the transaction indexes and
// writes the snapshots at the bases that it passes: of segments that were scanned, whose
// sync is still to come, as roll does, and durably where one was lost or is torn. Nothing
// would sync it there, and once the segments in front of it are evicted nothing could
// rebuild it.
func (ld *loader) replay(limit int64) error {
	nowMs := ld.l.opts.nowMs()
	from, err := ld.pickSnapshot(limit, nowMs)
	if err != nil {
		return err
	}
	if err := errors.Join(ld.pruneSnapshots(limit), ld.warm(from)); err != nil {
		return err
	}
	for i, s := range ld.segs {
		scanned := i >= ld.scanFrom
		if i > 0 && s.base > from {
			if scanned && i > ld.scanFrom {
				err = ld.l.w.writeSnapshotFile(s.base, ld.producers)
			} else {
				err = vfs.WriteFileAtomic(ld.l.opts.FS, segmentPath(ld.l.dir, s.base, snapshotSuffix), AppendProducerSnapshot(nil, ld.producers.snapshot()))
			}
			if err != nil {
				return err
			}
			ld.snapshot = s.base
		}
		if scanned {
			if err := ld.l.opts.FS.Remove(s.path(txnIndexSuffix)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("remove %s: %w", s.path(txnIndexSuffix), err)
			}
		}
		if s.next <= from {
			continue
		}
		if err := ld.headers(s, 0, func(h batch.Header, sc *scanner) error { return ld.apply(s, h, sc, from, scanned, nowMs) }); err != nil {
			return err
		}
	}
	ld.producers.end = ld.end()
	return (checker{ld}).syncTxns()
}

// apply brings the state up to one batch.
func (ld *loader) apply(s *segment, h batch.Header, sc *scanner, from int64, scanned bool, nowMs int64) error {
	if h.LastOffset() < from {
		return nil
	}
	if scanned && !fault.Planted(fault.BugEpochsNotRebuilt) {
		ld.epochs.assign(h.LeaderEpoch, h.BaseOffset)
	}
	if !h.HasProducerID() {
		return nil
	}
	if !h.IsControl() {
		ld.producers.data(&h, nowMs)
		return nil
	}
	b, err := sc.body(h)
	if err != nil {
		return fmt.Errorf("read %s: %w", s.path(logSuffix), err)
	}
	m, err := parseMarker(b)
	if err != nil {
		return corruptAt(s.path(logSuffix), sc.pos, h.BaseOffset, err)
	}
	if m == nil {
		return nil
	}
	if t, aborted := ld.producers.marker(&h, *m, nowMs); aborted && scanned && !fault.Planted(fault.BugAbortedIndexLost) {
		return ld.l.w.appendTxn(s, t)
	}
	return nil
}

// pickSnapshot loads the newest readable snapshot at or below limit. It answers the
// offset from which batches are to be applied. One from below the first segment is no
// state of this log any more: the batches between the two are gone.
func (ld *loader) pickSnapshot(limit, nowMs int64) (int64, error) {
	slices.Sort(ld.snapshots)
	lost := false
	for _, off := range slices.Backward(ld.snapshots) {
		if off > limit {
			continue
		}
		if off < ld.firstBase() {
			lost = true
			break
		}
		path := segmentPath(ld.l.dir, off, snapshotSuffix)
		b, err := vfs.ReadFile(ld.l.opts.FS, path)
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", path, err)
		}
		entries, err := ParseProducerSnapshot(b)
		if err != nil {
			lost = true
			ld.l.opts.Logger.Warn("producer snapshot is unreadable; building it anew from an older one and the batches behind it", "file", path, "error", err)
			continue
		}
		ld.snapshot = off
		ld.producers = newProducerState(off)
		ld.producers.load(entries, off, nowMs)
		return off, nil
	}
	if first := ld.firstBase(); first > 0 && lost {
		ld.l.opts.Logger.Warn("no producer snapshot at the first segment or behind it; producers are known from the batches that are here",
			"partition", ld.l.opts.TP.String(), "dir", ld.l.dir, "offset", first)
	}
	ld.producers = newProducerState(0)
	return 0, nil
}

// pruneSnapshots removes the snapshots that nothing needs: those above limit, which are
// rebuilt, and those between segments but for the one that was picked.
func (ld *loader) pruneSnapshots(limit int64) error {
	for _, off := range ld.snapshots {
		atSegment := slices.ContainsFunc(ld.segs, func(s *segment) bool { return s.base == off })
		if off <= limit && (atSegment || off == ld.snapshot) {
			continue
		}
		path := segmentPath(ld.l.dir, off, snapshotSuffix)
		if err := ld.l.opts.FS.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", path, err)
		}
	}
	return nil
}

// warmBytes is how far in front of a snapshot the batches of its producers are looked
// for: what clients have in flight, with room for their neighbours' batches.
const warmBytes = 8 << 20

// warm completes the five remembered batches of the snapshot's producers from the log.
func (ld *loader) warm(from int64) error {
	if len(ld.producers.byID) == 0 {
		return nil
	}
	left := int64(warmBytes)
	for _, s := range slices.Backward(ld.segs) {
		if s.base >= from || left <= 0 {
			continue
		}
		pos, err := ld.warmStart(s, from, left)
		if err != nil {
			return err
		}
		var found []batch.Header
		if err := ld.headers(s, pos, func(h batch.Header, _ *scanner) error {
			if h.HasProducerID() && !h.IsControl() && h.LastOffset() < from {
				found = append(found, h)
			}
			return nil
		}); err != nil {
			return err
		}
		for _, h := range slices.Backward(found) {
			ld.producers.older(&h)
		}
		left -= s.size - pos
	}
	return nil
}

// warmStart is the position of an indexed batch at most budget bytes in front of from.
func (ld *loader) warmStart(s *segment, from, budget int64) (int64, error) {
	b, err := vfs.ReadFile(ld.l.opts.FS, s.path(indexSuffix))
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", s.path(indexSuffix), err)
	}
	x := OffsetIndex{base: s.base, b: b[:min(len(b), s.offsets.flushed*offsetEntrySize)]}
	end := s.size
	if from < s.next {
		end = x.Lookup(from).Position
	}
	if end <= budget {
		return 0, nil
	}
	for i := range x.Len() {
		if p := x.Entry(i).Position; p >= end-budget {
			return p, nil
		}
	}
	return end, nil // one batch is larger than the budget
}
