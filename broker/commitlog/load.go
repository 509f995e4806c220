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

	"github.com/varve-io/varve/broker/fault"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// errUnclean says that files are not as a log that was closed in order leaves them.
var errUnclean = errors.New("not closed in order")

// loader reads the files of a log, and after a crash makes them whole again. It works
// on values of its own and installs them at the end; appendMu is held throughout.
type loader struct {
	l     *Log
	c     Config
	state State
	known bool // state is the checkpoint's

	found     bool // the partition's directory exists
	segs      []*segment
	sizes     []int64 // of their files
	snapshots []int64 // offsets, ascending
	evicted   int64   // highest base of a segment file renamed away, -1 = none
	debris    []string
	trash     []trash // what waits for the next checkpoint
	swaps     []int64 // bases of segments whose taking the place of others was interrupted

	holes      holes
	holesDirty bool // memory is ahead of DamageName
	online     bool // the log is in use: nothing is cut, and it ends where it did

	scanned   int64 // bytes read by scans
	scanFrom  int   // the first segment that was scanned; len(segs) when none was
	epoch     int32 // of the batch that was scanned, or put back, last
	trusted   int64 // the history is that of its file up to here
	epochs    epochCache
	producers *producerState
	snapshot  int64 // the newest snapshot file, -1 = none
	damage    error
}

// load reads the files and publishes what they say. appendMu is held.
func load(l *Log) error {
	ld := &loader{l: l, c: l.config(), evicted: -1, snapshot: -1}
	if l.opts.State != nil {
		ld.state, ld.known = *l.opts.State, true
		l.mu.RLock() // a log that was opened without being read may have been told more since
		ld.state.LogStart, ld.state.HighestRemote = l.mu.logStart, l.mu.highestRemote
		l.mu.RUnlock()
	}
	if err := ld.run(l.opts.Clean && ld.known); err != nil {
		if outOfDescriptors(err) {
			return l.busy(err)
		}
		ld.keepPromise()
		return l.fail(err)
	}
	ld.install()
	if ld.scanFrom < len(ld.segs) && (ld.c.Group || !l.opts.Redo.Empty()) {
		// What is shown from here on must survive a power cut, and what was replayed is about to
		// be dropped from the write-ahead file.
		if err := (syncer{l}).sync(syncAll); err != nil {
			return err
		}
	}
	if ld.damage == nil {
		l.mu.Lock()
		l.opts.Redo = nil
		l.mu.Unlock()
	}
	return nil
}

// Recovered says whether a log may pass for one that was closed in order once it is closed: its
// files were read, or were known to be in order. Of a log that found too many files open at
// the start neither is true, and what a crash left of it is still to be looked at.
func Recovered(l *Log) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.mu.loaded || l.opts.Clean
}

func (ld *loader) run(clean bool) error {
	if err := ld.list(); err != nil {
		return err
	}
	err := ld.checkMetadata()
	if errors.Is(err, kafka.InconsistentTopicID) && ld.known && ld.state.End == 0 {
		err = (checker{ld}).makeStray(err)
	}
	if err != nil {
		return err
	}
	if len(ld.swaps) > 0 {
		if err := ld.finishSwaps(); err != nil {
			return err
		}
	}
	if err := errors.Join((checker{ld}).keepNames(), ld.readHoles()); err != nil {
		return err
	}
	if ld.state.Sealed && (len(ld.debris) > 0 || ld.holesDirty || ld.interrupted(0, math.MaxInt64)) {
		clean = false // the process died over a change of its segments, or may have
	}
	if clean {
		err := ld.loadClean()
		if err == nil {
			return nil
		}
		if !errors.Is(err, errUnclean) && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		ld.l.opts.Logger.Warn("log differs from its checkpoint after a clean shutdown; recovering it",
			"partition", ld.l.opts.TP.String(), "dir", ld.l.opts.Dir, "reason", err)
	}
	return ld.recover()
}

// list reads the directory. Files of a name that Kafka does not use stay untouched.
func (ld *loader) list() error {
	entries, err := ld.l.opts.FS.ReadDir(ld.l.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list %s: %w", ld.l.dir, err)
	}
	ld.found = true
	var indexes []string
	for _, e := range entries {
		name := e.Name()
		if strings.HasSuffix(name, vfs.TempSuffix) {
			ld.debris = append(ld.debris, name)
			continue
		}
		base, suffix, ok := ParseSegmentName(name)
		switch {
		case !ok || e.IsDir():
		case suffix == swapSuffix:
			ld.swaps = append(ld.swaps, base)
		case strings.HasSuffix(suffix, cleanedSuffix):
			ld.debris = append(ld.debris, name)
		case strings.HasSuffix(suffix, deletedSuffix):
			ld.debris = append(ld.debris, name)
			if suffix == logSuffix+deletedSuffix {
				ld.evicted = max(ld.evicted, base)
			}
		case suffix == logSuffix:
			if err := ld.addFile(base, e); err != nil {
				return err
			}
		case suffix == snapshotSuffix:
			ld.snapshots = append(ld.snapshots, base)
		case suffix == indexSuffix || suffix == timeIndexSuffix || suffix == txnIndexSuffix:
			indexes = append(indexes, name)
		}
	}
	for _, name := range indexes {
		base, _, _ := ParseSegmentName(name)
		if !slices.ContainsFunc(ld.segs, func(s *segment) bool { return s.base == base }) {
			ld.debris = append(ld.debris, name)
		}
	}
	return nil
}

func (ld *loader) addFile(base int64, e os.DirEntry) error {
	info, err := e.Info()
	if err != nil {
		return fmt.Errorf("stat %s: %w", filepath.Join(ld.l.dir, e.Name()), err)
	}
	ld.segs = append(ld.segs, newSegment(ld.l.dir, base, info.ModTime().UnixMilli(), 0))
	ld.sizes = append(ld.sizes, info.Size())
	return nil
}

// checkMetadata makes sure that the directory belongs to the topic that it is opened for.
func (ld *loader) checkMetadata() error {
	if !ld.found {
		return nil
	}
	path, want := filepath.Join(ld.l.dir, PartitionMetadataName), ld.l.opts.TopicID
	b, err := vfs.ReadFile(ld.l.opts.FS, path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read %s: %w", path, err)
	}
	id, parseErr := ParsePartitionMetadata(b)
	if parseErr != nil && (err != nil || ld.known) { // not there, or damaged while the checkpoint knows better
		return vfs.WriteFileAtomic(ld.l.opts.FS, path, AppendPartitionMetadata(nil, want))
	}
	if parseErr != nil {
		return fmt.Errorf("%s: %w", path, parseErr)
	}
	if id != want {
		return fmt.Errorf("%s: the directory holds topic id %s, not %s: %w", path, id, want, kafka.InconsistentTopicID)
	}
	return nil
}

// makeStray gives a directory that was here before this log, another topic's, Kafka's name for
// a stray, durably. The log has no record yet, so nothing of it can be in there.
func (ld checker) makeStray(why error) error {
	o := &ld.l.opts
	to := filepath.Join(o.Dir, StrayDirName(o.TP, kafka.NewUUID()))
	if err := errors.Join(o.FS.Rename(ld.l.dir, to), o.FS.SyncDir(o.Dir)); err != nil {
		return fmt.Errorf("rename %s to %s: %w", ld.l.dir, to, err)
	}
	o.Logger.Warn("a directory of another topic is in the place of a new log; it is set aside. Remove it once you are sure",
		"partition", o.TP.String(), "dir", to, "reason", why)
	*ld.loader = loader{l: ld.l, c: ld.c, state: ld.state, known: ld.known, evicted: -1, snapshot: -1}
	return nil
}

// loadClean takes the files as a clean shutdown left them: it reads the last entry of
// each index, walks the headers behind the last index entry, and nothing more.
func (ld *loader) loadClean() error {
	if len(ld.debris) > 0 {
		ld.removeDebris()
	}
	ld.scanFrom = len(ld.segs)
	for i, s := range ld.segs {
		if err := ld.trust(i); err != nil {
			return err
		}
		s.synced = i < len(ld.segs)-1
	}
	end := ld.end()
	if end != ld.state.End {
		return fmt.Errorf("ends at %d, the checkpoint says %d: %w", end, ld.state.End, errUnclean)
	}
	err := (checker{ld}).loadEpochs(end)
	if err == nil || errors.Is(err, os.ErrNotExist) && ld.recoveryPoint() == 0 {
		err = (checker{ld}).addEpochs()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", err, errUnclean)
	}
	return ld.replay(end)
}

// end is the offset behind the last segment.
func (ld *loader) end() int64 {
	if len(ld.segs) == 0 {
		return 0
	}
	return ld.segs[len(ld.segs)-1].next
}

// trust takes a segment's size and indexes from its files; errUnclean when an index is
// missing or does not fit.
func (ld *loader) trust(i int) error {
	s, last := ld.segs[i], i == len(ld.segs)-1
	s.size = ld.sizes[i]
	if err := ld.trustIndexes(s); err != nil {
		return err
	}
	if _, err := ld.l.opts.FS.Stat(s.path(txnIndexSuffix)); err == nil {
		s.hasTxns = true
		if err := (checker{ld}).checkTxns(i); err != nil {
			return err
		}
	}
	if !last {
		s.next = ld.segs[i+1].base
		return nil
	}
	if err := ld.walkTail(s); err != nil {
		return err
	}
	s.next = ld.holes.end(s.next)
	return nil
}

func (ld *loader) trustIndexes(s *segment) error {
	b, n, err := ld.lastEntry(s.path(indexSuffix), offsetEntrySize)
	if err != nil {
		return err
	}
	last := OffsetEntry{Offset: kafka.NoOffset}
	if n > 0 {
		e := decodeOffsetEntry(s.base, b)
		last = e
		if e.Offset < s.base || e.Position <= 0 || e.Position >= s.size {
			return fmt.Errorf("%s: entry (%d, %d) does not fit: %w", s.path(indexSuffix), e.Offset, e.Position, errUnclean)
		}
		s.indexedAt = e.Position
	}
	s.offsets.flushed = n
	if b, n, err = ld.lastEntry(s.path(timeIndexSuffix), timeEntrySize); err != nil {
		return err
	}
	s.times.flushed = n
	if n > 0 {
		e := decodeTimeEntry(s.base, b)
		if e.Offset < s.base || e.TimestampMs < 0 {
			return fmt.Errorf("%s: entry (%d ms, %d) does not fit: %w", s.path(timeIndexSuffix), e.TimestampMs, e.Offset, errUnclean)
		}
		s.maxTs, s.maxTsLast, s.times.last = e.TimestampMs, e.Offset, e.TimestampMs
		return (checker{ld}).checkIndexes(s, last, e)
	}
	if s.size > 0 {
		return fmt.Errorf("%s: empty: %w", s.path(timeIndexSuffix), errUnclean)
	}
	return nil
}

// checkIndexes compares the last entries of both indexes with the batches that they name:
// the files have no CRC, and the newest time of a segment decides about its deletion.
func (ld checker) checkIndexes(s *segment, last OffsetEntry, newest TimeEntry) error {
	f, err := ld.l.opts.FS.OpenFile(s.path(logSuffix), os.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", s.path(logSuffix), err)
	}
	defer f.Close()
	room := make([]byte, probeEntries*timeEntrySize+lookupChunk)
	from, first := int64(0), last.Offset
	if last.Offset != kafka.NoOffset && last.Offset <= newest.Offset {
		from = last.Position
	} else if last.Offset != kafka.NoOffset {
		x, err := ld.l.opts.FS.OpenFile(s.path(indexSuffix), os.O_RDONLY, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", s.path(indexSuffix), err)
		}
		defer x.Close()
		if _, _, _, err := findBatch(f, last.Position, s.size, last.Offset, last.Offset, room); err != nil {
			return fmt.Errorf("%s: %w: %w", s.path(indexSuffix), err, errUnclean)
		}
		e, err := searchFile(x, offsetEntrySize, s.offsets.flushed, proportion(newest.Offset, s.base, last.Offset, s.offsets.flushed), room,
			func(b []byte) bool { return decodeOffsetEntry(s.base, b).Offset > newest.Offset })
		if err != nil {
			return err
		}
		first = kafka.NoOffset
		if e != nil {
			entry := decodeOffsetEntry(s.base, e)
			from, first = entry.Position, entry.Offset
		}
	}
	_, h, found, err := findBatch(f, from, s.size, newest.Offset, first, room)
	if err == nil && (!found || h.LastOffset() != newest.Offset || h.MaxTimestampMs != newest.TimestampMs) {
		err = fmt.Errorf("entry (%d ms, %d) is not true", newest.TimestampMs, newest.Offset)
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %w", s.path(timeIndexSuffix), err, errUnclean)
	}
	return nil
}

// lastEntry reads the last entry of an index file and counts all.
func (ld *loader) lastEntry(path string, entrySize int) ([]byte, int, error) {
	f, err := ld.l.opts.FS.OpenFile(path, os.O_RDONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, fmt.Errorf("%s is missing: %w", path, errUnclean)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("open %s: %w", path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("stat %s: %w", path, err)
	}
	if info.Size()%int64(entrySize) != 0 {
		return nil, 0, fmt.Errorf("%s: %d bytes are not whole entries: %w", path, info.Size(), errUnclean)
	}
	n := int(info.Size()) / entrySize
	if n == 0 {
		return nil, 0, nil
	}
	b := make([]byte, entrySize)
	if _, err := f.ReadAt(b, info.Size()-int64(entrySize)); err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", path, err)
	}
	return b, n, nil
}

// walkTail finds where a segment ends from its headers, and its first batch's time.
func (ld *loader) walkTail(s *segment) error {
	f, err := ld.l.opts.FS.OpenFile(s.path(logSuffix), os.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", s.path(logSuffix), err)
	}
	defer f.Close()
	room := make([]byte, lookupChunk)
	if first, err := newScanner(f, 0, s.size, room).header(); err == nil {
		s.firstTs = first.MaxTimestampMs
	}
	sc := newScanner(f, s.indexedAt, s.size, room)
	s.next = s.base
	for {
		h, err := sc.header()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && h.BaseOffset < s.next {
			err = errDamaged
		}
		if errors.Is(err, errDamaged) {
			return fmt.Errorf("%s: byte %d: %w: %w", s.path(logSuffix), sc.pos, err, errUnclean)
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", s.path(logSuffix), err)
		}
		s.next = h.LastOffset() + 1
		sc.skip(h)
	}
}

// removeDebris deletes what a crash, or a process that ended before its deletions, left.
func (ld *loader) removeDebris() {
	for _, name := range ld.debris {
		if err := ld.l.opts.FS.Remove(filepath.Join(ld.l.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			ld.l.opts.Logger.Warn("could not remove debris", "file", filepath.Join(ld.l.dir, name), "error", err)
		}
	}
	ld.debris = nil
}

// keepPromise makes State go on saying what the last checkpoint said.
func (ld *loader) keepPromise() {
	st := State{TP: ld.l.opts.TP, TopicID: ld.l.opts.TopicID, HighestRemote: kafka.NoOffset, LatestEpoch: kafka.NoEpoch, SizeBytes: -1, ActiveBytes: -1}
	if ld.known {
		st = ld.state
	}
	st.Suspect, st.Damaged = true, true
	ld.l.mu.Lock()
	ld.l.mu.promise = &st
	ld.l.mu.Unlock()
}

// install publishes what was read.
func (ld *loader) install() {
	l, end := ld.l, ld.end()
	if ld.damage != nil {
		ld.keepPromise()
	}
	l.w = writer{Log: l, producers: ld.producers, snapshotEnd: ld.snapshot, flushedMs: l.opts.nowMs(), expiredMs: l.opts.nowMs(),
		dirty: ld.scanFrom < len(ld.segs) || ld.epochs.dirty, quietEnd: -1, sealSnapshot: -1}
	l.mu.Lock()
	defer l.mu.Unlock()
	m := &l.mu
	m.loaded, m.segs, m.epochs = true, ld.segs, ld.epochs
	m.sealed = m.sealed && ld.scanFrom == len(ld.segs) && ld.damage == nil
	m.latest = ld.epochs.latest()
	if fault.Planted(fault.BugOpenTxnForgotten) {
		ld.producers.txns = nil
	}
	m.txns, m.trash = slices.Clone(ld.producers.txns), append(m.trash, ld.trash...)
	m.damage, m.holes = ld.damage, ld.holes
	m.dirDirty = ld.found && ld.scanFrom < len(ld.segs)
	if len(ld.segs) == 0 {
		end = ld.state.LogStart // 0 but for a log that lost its files
		m.localStart = end
	} else {
		m.localStart = ld.segs[0].base
	}
	m.end = end
	m.highestRemote, m.recoveryPoint, m.logStart = kafka.NoOffset, 0, 0
	if ld.known {
		m.highestRemote, m.logStart = ld.state.HighestRemote, min(ld.state.LogStart, end)
		m.recoveryPoint = min(ld.state.RecoveryPoint, end)
	}
	if m.durable = end; ld.scanFrom < len(ld.segs) || ld.state.Sealed {
		m.durable = m.recoveryPoint
	}
	m.sureStart = min(m.sureStart, end)
	if redo := l.opts.Redo; redo != nil && !fault.Planted(fault.BugReplayNoStart) {
		m.sureStart = max(m.sureStart, min(redo.Start, end))
	}
	if m.highestRemote < 0 { // nothing below the local start is elsewhere
		m.sureStart = max(m.sureStart, m.localStart)
	}
	m.logStart = max(m.logStart, m.sureStart)
	m.localStart = max(m.localStart, m.logStart)
	m.epochs.truncateStart(m.logStart)
	m.suspect = m.suspect || m.highestRemote >= end
}
