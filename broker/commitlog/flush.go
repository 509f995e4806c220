package commitlog

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/fault"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// Flush makes everything appended so far durable: bytes, the leader-epoch history and
// the directory entries, and moves the recovery point up. A failed sync is never tried
// again: the log refuses all work and its dir is told.
func (l *Log) Flush() error { return (syncer{l}).flush(syncAll) }

// FlushClosed does so for all but the active segment; a log dir calls it before each of
// its checkpoints. With flush.ms set it flushes the active segment too: an idle log has no
// timer that would. A log that had no append since the last call is sealed (State.Sealed).
//
// What was evicted before it is in that checkpoint's State, and what comes later is not: only
// the former is Reap's to remove after the checkpoint.
func (l *Log) FlushClosed() error {
	l.mu.Lock()
	for i := range l.mu.trash {
		l.mu.trash[i].told = true
	}
	l.mu.Unlock()
	what := syncClosed
	if l.config().FlushMs < math.MaxInt64 {
		what = syncAll
	}
	if err := (syncer{l}).flush(what); err != nil {
		return err
	}
	l.mu.Lock()
	if l.mu.gaps && l.mu.promise == nil {
		st := stateLocked(l)
		l.mu.flushed = st.closedPoint()
	}
	l.mu.Unlock()
	return (syncer{l}).seal()
}

func (l syncer) flush(what syncScope) error {
	l.maintMu.Lock()
	defer l.maintMu.Unlock()
	l.mu.RLock()
	loaded, err := l.mu.loaded, l.mu.err
	l.mu.RUnlock()
	if err != nil || !loaded { // what was never read was never written
		return err
	}
	return l.sync(what)
}

// flushAfterAppend keeps flush.messages, flush.ms and group durability of a batch that was
// written. appendMu is held.
func (l *writer) flushAfterAppend(c *Config, b []byte, h *batch.Header) error {
	l.unflushed += int64(h.LastOffsetDelta) + 1
	due := l.unflushed >= c.FlushMessages
	if !due && c.FlushMs < math.MaxInt64 {
		due = l.opts.nowMs()-l.flushedMs >= c.FlushMs
	}
	if c.Group {
		staged, err := l.stage(b, h)
		if err != nil {
			return err
		}
		due = due || !staged
	}
	if !due {
		return nil
	}
	l.unflushed, l.flushedMs = 0, l.opts.nowMs()
	if c.Group && l.wal != nil && l.member == nil {
		return l.join()
	}
	return (syncer{l.Log}).sync(syncAll)
}

// syncer is the durable side of a log.
type syncer struct{ *Log }

// syncScope is how much a sync covers.
type syncScope int

const (
	syncClosed syncScope = iota // all but the active segment
	syncAll                     // the active segment's batches too
	syncClose                   // its indexes and snapshot as well: the log is about to be closed
)

// syncWork is what a sync found to do, taken under Log.mu.
type syncWork struct {
	files  []*handle
	paths  []string // files that the cache does not keep
	closed []*segment
	target int64 // the recovery point once all is synced
	names  bool  // the history and the directory's entries belong to it
}

// sync makes the files above the recovery point durable and moves it up. maintMu, appendMu or
// cutMu is held, so that nothing is cut meanwhile.
func (l syncer) sync(what syncScope) error {
	w, err := l.syncWork(what)
	for _, h := range w.files {
		if err == nil && !fault.Planted(fault.BugSegmentNotSynced) {
			if err = h.Datasync(); err != nil {
				err = fmt.Errorf("sync %s: %w", h.Name(), err)
			}
		}
		h.ref.Release()
	}
	for _, path := range w.paths {
		if err == nil {
			err = l.syncPath(path)
		}
	}
	if err == nil && w.names {
		if err = l.syncEpochs(); err == nil {
			err = l.syncDir()
		}
	}
	if outOfDescriptors(err) {
		return l.busy(err)
	}
	if err != nil && fault.Planted(fault.BugSyncTriedAgain) {
		return err
	}
	if err != nil {
		return l.fail(err)
	}
	l.mu.Lock()
	l.mu.recoveryPoint = max(l.mu.recoveryPoint, w.target)
	tell := raiseDurable(l.Log, w.target)
	for _, s := range w.closed {
		s.synced = true
	}
	m := l.mu.member
	l.mu.Unlock()
	if m != nil {
		m.Covered(w.target)
	}
	if tell != nil {
		go tell() // it may wait for who waits for the locks that are held here
	}
	return nil
}

func (l syncer) syncWork(what syncScope) (w syncWork, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w.target = l.mu.recoveryPoint
	for i, s := range l.mu.segs {
		active := i == len(l.mu.segs)-1
		switch {
		case !active && s.synced, active && what == syncClosed:
			continue
		case active && what == syncAll && s.next <= l.mu.recoveryPoint:
			continue
		}
		if err = l.addSyncWork(&w, s, active, what); err != nil {
			return w, err
		}
		w.target = max(w.target, s.next)
		if !active {
			w.closed = append(w.closed, s)
			w.target = max(w.target, l.mu.segs[i+1].base)
		}
	}
	if what == syncClose {
		w.paths = append(w.paths, segmentPath(l.dir, l.mu.end, snapshotSuffix))
	}
	w.names = len(w.files) > 0
	return w, nil
}

// addSyncWork collects the files of one segment. mu is held.
func (l syncer) addSyncWork(w *syncWork, s *segment, active bool, what syncScope) error {
	add := func(sl *slot, suffix string) error {
		h, err := l.opts.Files.acquire(sl, func() string { return s.path(suffix) }, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", s.path(suffix), err)
		}
		w.files = append(w.files, h)
		return nil
	}
	err := add(&s.log, logSuffix)
	if err == nil && (!active || what == syncClose) {
		err = errors.Join(add(&s.offsetIdx, indexSuffix), add(&s.timeIdx, timeIndexSuffix))
		if s.base > 0 {
			w.paths = append(w.paths, s.path(snapshotSuffix))
		}
		if !active {
			w.paths = append(w.paths, segmentPath(s.dir, s.next, snapshotSuffix))
		}
	}
	if s.hasTxns {
		w.paths = append(w.paths, s.path(txnIndexSuffix))
	}
	return err
}

// syncPath syncs a file by name; a file that does not exist needs no sync.
func (l syncer) syncPath(path string) error {
	f, err := l.opts.FS.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	if err = errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}

// syncDir makes the directory's entries durable, if any changed. Its own lock is held from the
// look at the mark to the end of the sync: who finds the mark gone finds the entries durable,
// also when two syncs (an eviction's and an append's in group mode) go on at once.
func (l syncer) syncDir() error {
	l.namesMu.Lock()
	defer l.namesMu.Unlock()
	l.mu.Lock()
	dirty := l.mu.dirDirty
	l.mu.dirDirty = false // set again by what comes from here on
	l.mu.Unlock()
	if !dirty || fault.Planted(fault.BugDirNotSynced) {
		return nil
	}
	if err := l.opts.FS.SyncDir(l.dir); err != nil {
		l.mu.Lock()
		l.mu.dirDirty = true
		l.mu.Unlock()
		return fmt.Errorf("sync directory %s: %w", l.dir, err)
	}
	return nil
}

// syncEpochs writes the leader-epoch history, if it changed; see syncDir for the lock.
func (l syncer) syncEpochs() error {
	l.namesMu.Lock()
	defer l.namesMu.Unlock()
	l.mu.RLock()
	dirty := l.mu.epochs.dirty
	l.mu.RUnlock()
	if !dirty {
		return nil
	}
	return l.writeEpochsLocked()
}

// writeEpochs replaces leader-epoch-checkpoint, durably. Until then the batches above the
// recovery point carry the epochs that the file does not know yet.
func (l syncer) writeEpochs() error {
	l.namesMu.Lock()
	defer l.namesMu.Unlock()
	return l.writeEpochsLocked()
}

func (l syncer) writeEpochsLocked() error {
	l.mu.Lock()
	b := AppendEpochCheckpoint(nil, l.mu.epochs.entries)
	l.mu.epochs.dirty = false
	l.mu.Unlock()
	err := vfs.WriteFileAtomic(l.opts.FS, filepath.Join(l.dir, epochFile), b)
	if err != nil {
		l.mu.Lock()
		l.mu.epochs.dirty = true
		l.mu.Unlock()
	}
	return err
}

// Close makes the log durable as it is and lets go of its files, so that the next Open
// may be Clean. Readers keep the ranges they hold. Closing twice is no error.
func (l *Log) Close() error {
	l.maintMu.Lock()
	defer l.maintMu.Unlock()
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	l.mu.RLock()
	loaded, err := l.mu.loaded, l.mu.err
	l.mu.RUnlock()
	if errors.Is(err, ErrClosed) {
		return nil
	}
	if loaded && err == nil && l.w.dirty {
		err = l.w.finish()
	}
	l.cutMu.Lock()
	defer l.cutMu.Unlock()
	(cutter{l}).shut()
	return err
}

// finish makes durable what a clean start reads: indexes to the last batch, the producer state.
func (l *writer) finish() error {
	l.mu.RLock()
	n := len(l.mu.segs)
	l.mu.RUnlock()
	if n == 0 {
		return nil
	}
	if err := l.writeState(); err != nil {
		return l.fail(err)
	}
	return (syncer{l.Log}).sync(syncClose)
}

// shut makes the log refuse all work and lets go of its files. maintMu and appendMu are held.
func (l cutter) shut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.mu.segs {
		l.forget(s)
	}
	l.mu.err = fmt.Errorf("log %s: %w: %w", l.opts.TP, kafka.NotLeaderOrFollower, ErrClosed)
}

func (l cutter) forget(s *segment) {
	for _, sl := range []*slot{&s.log, &s.offsetIdx, &s.timeIdx} {
		l.opts.Files.forget(sl)
	}
}

// reap removes the files whose time has come; all says that State is durable as it is.
func (l cutter) reap(nowMs int64, all bool) {
	l.mu.Lock()
	var due, rest []trash
	for _, t := range l.mu.trash {
		if t.dueMs <= nowMs && (t.told || all || fault.Planted(fault.BugReapedEarly)) {
			due = append(due, t)
		} else {
			rest = append(rest, t)
		}
	}
	l.mu.trash = rest
	l.mu.Unlock()
	for _, t := range due {
		if err := l.opts.FS.Remove(t.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			l.opts.Logger.Warn("could not remove a deleted file", "file", t.path, "error", err)
		}
	}
}
