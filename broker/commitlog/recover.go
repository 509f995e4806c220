package commitlog

import (
	"errors"
	"fmt"
	"io"
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

// recover makes a log whole that was not closed in order. The segments that the checkpoint
// vouches for (closedPoint) are trusted. From there on every batch is read and its CRC
// checked, and the indexes, the leader-epoch history and the producer state are built anew,
// un-synced: until a sync is behind them no checkpoint vouches for them either, and the next
// recovery builds them again. Batches below the recovery point were synced: damage there is
// reported. The log ends where the chain of batches ends, never where the file does.
func (ld *loader) recover() error {
	if ld.scanFrom = 0; ld.found {
		ld.dropEvicted()
		ld.keepEvicted()
		ld.removeDebris()
	}
	ld.holes = ld.holes.within(ld.firstBase(), math.MaxInt64)
	trusted := int64(0)
	if ld.known {
		trusted = ld.state.closedPoint()
	}
	for ld.scanFrom < len(ld.segs)-1 && ld.segs[ld.scanFrom+1].base <= trusted {
		if err := ld.trustOrRebuild(ld.scanFrom); err != nil {
			return err
		}
		ld.scanFrom++
	}
	for i := ld.scanFrom; i < len(ld.segs); i++ {
		if err := ld.scan(i, writeFile); err != nil {
			return err
		}
	}
	if err := (checker{ld}).keepCut(); err != nil {
		return err
	}
	promised := ld.state.RecoveryPoint
	if err := ld.redo(); err != nil {
		return err
	}
	end := ld.end()
	ld.holes = ld.holes.within(0, end)
	if err := ld.saveHoles(); err != nil {
		return err
	}
	if ld.known && end < promised || ld.known && len(ld.segs) == 0 && ld.state.End > 0 {
		ld.hurt(fmt.Errorf("log %s in %s ends at %d; offsets up to %d were synced there: %w",
			ld.l.opts.TP, ld.l.opts.Dir, end, max(promised, ld.state.LocalStart), kafka.ErrCorrupt))
	}
	if err := ld.readEpochs(end); err != nil {
		return err
	}
	limit := end
	if ld.scanFrom < len(ld.segs) {
		limit = ld.segs[ld.scanFrom].base
	}
	if err := ld.replay(limit); err != nil {
		return err
	}
	if len(ld.segs) > 0 {
		ld.l.opts.Logger.Debug("recovered log", "partition", ld.l.opts.TP.String(), "dir", ld.l.opts.Dir,
			"segments", len(ld.segs), "scanned", len(ld.segs)-ld.scanFrom, "bytes", ld.scanned, "end", end)
	}
	return nil
}

// keepNames makes the first segment's name durable where no checkpoint knows of a record. The
// process may have been killed over the log's first append; from the next checkpoint on a log
// without its first segment is one that was lost.
func (ld checker) keepNames() error {
	if len(ld.segs) == 0 || ld.known && ld.state.End > 0 {
		return nil
	}
	if err := ld.l.opts.FS.SyncDir(ld.l.dir); err != nil {
		return fmt.Errorf("sync directory %s: %w", ld.l.dir, err)
	}
	return nil
}

// keepCut makes durable that a log ends in front of where the checkpoint has its end. The process
// may have been killed in a truncation, whose removals only the page cache holds: what comes
// behind them would go with the next power cut, and what was cut off come back.
func (ld checker) keepCut() error {
	if !ld.known || len(ld.segs) == 0 || ld.end() >= ld.state.End {
		return nil
	}
	if err := (syncer{ld.l}).syncPath(ld.segs[len(ld.segs)-1].path(logSuffix)); err != nil {
		return err
	}
	if err := ld.l.opts.FS.SyncDir(ld.l.dir); err != nil {
		return fmt.Errorf("sync directory %s: %w", ld.l.dir, err)
	}
	return nil
}

// gaps says whether offsets may be missing: the log is compacted, or was.
func (ld *loader) gaps() bool { return ld.c.Compact || ld.state.Gaps }

// mayLack says whether nothing need be at offset. Compaction takes only what the last
// checkpoint vouched for; behind that, and behind where the write-ahead file goes on, a gap
// is what a power cut left, and is filled from there.
func (ld *loader) mayLack(offset int64) bool {
	return ld.gaps() && offset < max(ld.recoveryPoint(), ld.l.opts.Redo.First())
}

func (ld *loader) recoveryPoint() int64 {
	if !ld.known {
		return 0
	}
	return ld.state.RecoveryPoint
}

// dropEvicted finishes evictions: of a run of renames any subset may have become durable,
// so what lies below the highest renamed segment was to go as well. A first segment that
// nothing of the kind explains was lost: creation and eviction make its entry durable.
func (ld *loader) dropEvicted() {
	for len(ld.segs) > 1 && ld.segs[0].base < ld.evicted {
		s := ld.segs[0]
		for _, suffix := range []string{logSuffix, indexSuffix, timeIndexSuffix, txnIndexSuffix} {
			ld.debris = append(ld.debris, segmentName(s.base, suffix))
		}
		ld.segs, ld.sizes = ld.segs[1:], ld.sizes[1:]
	}
	if len(ld.segs) == 0 || ld.evicted >= 0 || !ld.known && !ld.l.opts.Younger {
		return
	}
	if first := ld.segs[0].base; first > ld.state.LocalStart {
		ld.hurt(fmt.Errorf("%s: the first segment starts at offset %d, the log started at %d: %w", ld.l.dir, first, ld.state.LocalStart, kafka.ErrCorrupt))
	}
}

// keepEvicted leaves the files that an eviction renamed for Reap: until a checkpoint knows
// the new start, their names are what tells the next recovery, should this one be cut short,
// that the first segments were not lost.
func (ld *loader) keepEvicted() {
	ld.debris = slices.DeleteFunc(ld.debris, func(name string) bool {
		if !strings.HasSuffix(name, deletedSuffix) {
			return false
		}
		ld.trash = append(ld.trash, trash{path: filepath.Join(ld.l.dir, name)})
		return true
	})
}

// hurt notes that files are missing.
func (ld *loader) hurt(err error) {
	ld.damage = errors.Join(ld.damage, err)
	ld.l.opts.Logger.Error("log holds less than what was synced", "partition", ld.l.opts.TP.String(), "error", err)
}

// trustOrRebuild takes a closed segment that the checkpoint vouches for: its indexes, built
// anew, replace the old ones durably.
func (ld *loader) trustOrRebuild(i int) error {
	s := ld.segs[i]
	err := ld.trust(i)
	if err == nil {
		err = (checker{ld}).checkEnd(s, ld.segs[i+1].base)
	}
	if err == nil && ld.interrupted(s.base, ld.segs[i+1].base) {
		err = errUnclean
	}
	if errors.Is(err, errUnclean) || errors.Is(err, kafka.ErrCorrupt) {
		ld.l.opts.Logger.Warn("rebuilding the indexes of a segment", "file", s.path(logSuffix), "reason", err)
		err = ld.scan(i, vfs.WriteFileAtomic)
		_, statErr := ld.l.opts.FS.Stat(s.path(txnIndexSuffix))
		s.hasTxns = statErr == nil // not rebuilt
	}
	s.synced = err == nil
	return err
}

// checkEnd makes sure that a closed segment reaches to the next one.
func (ld checker) checkEnd(s *segment, next int64) error {
	if err := ld.walkTail(s); err != nil {
		return err
	}
	if s.next > next || ld.holes.end(s.next) < next && !ld.gaps() {
		return fmt.Errorf("%s ends at offset %d, the next segment starts at %d: %w", s.path(logSuffix), s.next, next, errUnclean)
	}
	s.next = next
	return nil
}

// scan reads a whole segment, rebuilds its indexes, has write put them in the place of the
// old ones, and decides about damage.
func (ld *loader) scan(i int, write writeFunc) error {
	s := ld.segs[i]
	f, err := ld.l.opts.FS.OpenFile(s.path(logSuffix), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", s.path(logSuffix), err)
	}
	defer f.Close()
	s.size, s.next, s.indexedAt, s.hasTxns = 0, s.base, 0, false
	s.maxTs, s.maxTsLast, s.firstTs = kafka.NoTimestamp, s.base, kafka.NoTimestamp
	s.offsets, s.times = index{entrySize: offsetEntrySize}, index{entrySize: timeEntrySize}
	w, err := ld.walk(f, i)
	if err == nil && w.cut {
		err = ld.cut(f, i, w)
	} else if err == nil && w.why != nil {
		err = ld.setAside(f, s, w)
	}
	if err != nil {
		return fmt.Errorf("recover %s: %w", s.path(logSuffix), err)
	}
	ld.sizes[i] = s.size
	s.addTime()
	return ld.l.w.writeIndexes(s, write)
}

// chunk is room for the recovery of n bytes.
func chunk(n int64) []byte { return make([]byte, min(recoverChunk, max(n, lookupChunk))) }

// mayCut decides whether a log may end at a damaged place: where the last write was torn
// it does; so it does, above the recovery point, where a power cut left holes. Anything
// else is stored data that went bad, and is kept.
func (ld *loader) mayCut(f vfs.File, i int, pos int64, why error) (bool, error) {
	s := ld.segs[i]
	if fault.Planted(fault.BugCutInsteadOfReport) {
		return true, nil
	}
	if ld.online || s.next < ld.recoveryPoint() || ld.holes.end(s.next) > s.next {
		return false, nil
	}
	more, err := followed(f, pos, ld.sizes[i], s.next)
	if err != nil {
		return false, err
	}
	for _, size := range ld.sizes[i+1:] {
		more = more || size > 0
	}
	if more && !(checker{ld}).lostPower() {
		return false, nil
	}
	var bytes int64
	for _, size := range ld.sizes[i:] {
		bytes += size
	}
	ld.l.opts.Logger.Warn("cut a log at its last whole batch", "file", s.path(logSuffix), "byte", pos, "offset", s.next,
		"bytes", bytes-pos, "reason", why)
	return true, nil
}

// cut drops what follows the good part of segment i, durably: stale bytes must not come
// back behind new ones. Later segments go first, newest first, so that a crash in between
// leaves no gap.
func (ld *loader) cut(f vfs.File, i int, w walked) error {
	fs := ld.l.opts.FS
	for j := len(ld.segs) - 1; j > i; j-- {
		if err := removeSegment(fs, ld.segs[j]); err != nil {
			return err
		}
	}
	ld.segs, ld.sizes = ld.segs[:i+1], ld.sizes[:i+1]
	s := ld.segs[i]
	if !w.contiguous() { // damage in front of the cut
		return ld.setAside(f, s, w)
	}
	if err := errors.Join(f.Truncate(s.size), f.Sync()); err != nil {
		return fmt.Errorf("truncate: %w", err)
	}
	return nil
}

// removeSegment removes the files of a segment that was cut off, durably.
func removeSegment(fs vfs.FS, s *segment) error {
	for _, suffix := range []string{logSuffix, indexSuffix, timeIndexSuffix, txnIndexSuffix} {
		if err := fs.Remove(s.path(suffix)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", s.path(suffix), err)
		}
	}
	if err := fs.SyncDir(s.dir); err != nil {
		return fmt.Errorf("sync directory %s: %w", s.dir, err)
	}
	return nil
}

// writeFunc replaces the content of a file: writeFile, or vfs.WriteFileAtomic, durably, where a
// checkpoint may vouch for the file.
type writeFunc func(fs vfs.FS, path string, b []byte) error

// writeIndexes replaces the index files of a segment by the entries in memory.
func (l *writer) writeIndexes(s *segment, write writeFunc) error {
	for _, x := range []struct {
		*index
		suffix string
	}{{&s.offsets, indexSuffix}, {&s.times, timeIndexSuffix}} {
		if err := write(l.opts.FS, s.path(x.suffix), x.tail); err != nil {
			return err
		}
		l.mu.Lock()
		x.flushed, x.tail = len(x.tail)/x.entrySize, nil
		l.mu.Unlock()
	}
	return nil
}

// writeFile replaces the content of a file, un-synced.
func writeFile(fs vfs.FS, path string, b []byte) error {
	f, err := fs.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, filePerm)
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	if len(b) > 0 {
		_, err = f.WriteAt(b, 0)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// readEpochs takes the leader-epoch history from its file, as far as the log reaches. A
// file that can't be read is replaced by what the local batches say. What batches above
// the recovery point add comes with the replay.
func (ld *loader) readEpochs(end int64) error {
	err := (checker{ld}).loadEpochs(end)
	switch {
	case err == nil:
		ld.trusted = ld.recoveryPoint()
		return nil
	case !errors.Is(err, os.ErrNotExist) && !errors.Is(err, kafka.ErrCorrupt):
		return fmt.Errorf("read %s: %w", filepath.Join(ld.l.dir, epochFile), err)
	case errors.Is(err, kafka.ErrCorrupt):
		ld.l.opts.Logger.Warn("rebuilding the leader-epoch history", "file", filepath.Join(ld.l.dir, epochFile), "reason", err)
	}
	ld.epochs = epochCache{entries: ld.epochs.below(ld.firstBase()), dirty: true}
	for _, s := range ld.segs {
		if err := ld.headers(s, 0, func(h batch.Header, _ *scanner) error {
			ld.epochs.assign(h.LeaderEpoch, h.BaseOffset)
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// headers calls each for every batch header of a segment from byte pos on.
func (ld *loader) headers(s *segment, pos int64, each func(batch.Header, *scanner) error) error {
	f, err := ld.l.opts.FS.OpenFile(s.path(logSuffix), os.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", s.path(logSuffix), err)
	}
	defer f.Close()
	sc := newScanner(f, pos, s.size, make([]byte, 4*lookupChunk))
	for {
		h, err := sc.header()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, errDamaged):
			return corruptAt(s.path(logSuffix), sc.pos, s.next, err)
		case err != nil:
			return fmt.Errorf("read %s: %w", s.path(logSuffix), err)
		}
		if err := each(h, sc); err != nil {
			return err
		}
		sc.skip(h)
	}
}

// replay builds the producer state: from the newest snapshot at or below limit it
// applies every batch up to the end. On the way it rebuilds the transaction indexes and
// writes the snapshots of the segments that were scanned.
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
		if scanned && i > ld.scanFrom && s.base > from {
			if err := ld.l.w.writeSnapshotFile(s.base, ld.producers); err != nil {
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
	return nil
}

// apply brings the state up to one batch.
func (ld *loader) apply(s *segment, h batch.Header, sc *scanner, from int64, scanned bool, nowMs int64) error {
	if h.LastOffset() < from {
		return nil
	}
	if scanned && h.BaseOffset >= ld.trusted && !fault.Planted(fault.BugEpochsNotRebuilt) {
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
	for _, off := range slices.Backward(ld.snapshots) {
		if off > limit {
			continue
		}
		if off < ld.firstBase() {
			break
		}
		path := segmentPath(ld.l.dir, off, snapshotSuffix)
		b, err := vfs.ReadFile(ld.l.opts.FS, path)
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", path, err)
		}
		entries, err := ParseProducerSnapshot(b)
		if err != nil {
			ld.l.opts.Logger.Warn("producer snapshot is unreadable; using an older one", "file", path, "error", err)
			continue
		}
		ld.snapshot = off
		ld.producers = newProducerState(off)
		ld.producers.load(entries, off, nowMs)
		return off, nil
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
