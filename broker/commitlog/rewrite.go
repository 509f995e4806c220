package commitlog

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"syscall"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/fault"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// ErrChanged is what a Rewrite answers when the segments that it was to replace are not
// part of the log any more: they were evicted, cut off or replaced meanwhile.
var ErrChanged = errors.New("the log changed under a compaction")

// Rewrite is a segment that compaction writes, to take the place of one or more closed
// ones. Until Swap nobody sees it. It belongs to one goroutine.
type Rewrite struct {
	l    *Log
	c    Config
	from []*segment
	s    *segment
	next int64 // behind the last segment of from
	f    vfs.File
	buf  []byte
	at   int64 // bytes in the file; behind them come those in buf
	txns []byte
}

// NewRewrite begins a segment in the place of the closed segments with these bases, which
// follow each other. bufBytes is how much is written at a time. Errors wrap ErrChanged,
// kafka.KafkaStorageError. Either Swap or Discard ends it.
func NewRewrite(l *Log, bases []int64, bufBytes int) (*Rewrite, error) {
	if err := l.view(); err != nil {
		return nil, err
	}
	segs := l.mu.segs
	i := slices.IndexFunc(segs, func(s *segment) bool { return s.base == bases[0] })
	if i < 0 || i+len(bases) >= len(segs) {
		l.mu.RUnlock()
		return nil, fmt.Errorf("log %s: no closed segments at %v: %w", l.opts.TP, bases, ErrChanged)
	}
	r := &Rewrite{l: l, c: l.mu.config, from: slices.Clone(segs[i : i+len(bases)]), next: segs[i+len(bases)].base, buf: make([]byte, 0, bufBytes)}
	l.mu.RUnlock()
	var createdMs int64
	for k, s := range r.from {
		if s.base != bases[k] {
			return nil, fmt.Errorf("log %s: segment %d is not at %d: %w", l.opts.TP, s.base, bases[k], ErrChanged)
		}
		createdMs = max(createdMs, s.createdMs)
	}
	r.s = newSegment(l.dir, bases[0], createdMs, 0)
	path := r.s.path(logSuffix) + cleanedSuffix
	f, err := l.opts.FS.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, filePerm)
	if err != nil {
		return nil, rewriteError(l, fmt.Errorf("create %s: %w", path, err))
	}
	r.f = f
	return r, nil
}

// rewriteError decides what a failed write means: a full disk, or too many open files, can
// wait; a log that is gone is gone; anything else is the end of the log, as it is of appends.
func rewriteError(l *Log, err error) error {
	switch sticky := l.Err(); {
	case sticky != nil:
		return sticky
	case outOfDescriptors(err):
		return l.busy(err)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("log %s: %w: %w", l.opts.TP, kafka.KafkaStorageError, err)
	case errors.Is(err, kafka.KafkaStorageError): // of the room on the disk
		return err
	}
	return l.fail(err)
}

// Append adds a batch, whose header is h, behind the ones before. It keeps no alias.
func (r *Rewrite) Append(b []byte, h batch.Header) error {
	n := int64(len(b))
	if r.s.size+n > math.MaxInt32 || h.LastOffset()-r.s.base > math.MaxInt32 {
		return fmt.Errorf("log %s: the segment at %d can't hold its compacted batches: %w", r.l.opts.TP, r.s.base, kafka.RecordListTooLarge)
	}
	if h.BaseOffset < r.s.next {
		return fmt.Errorf("BUG: log %s: compacted batch of offset %d after %d", r.l.opts.TP, h.BaseOffset, r.s.next)
	}
	if err := r.l.opts.Room.take(n, true); err != nil {
		return rewriteError(r.l, fmt.Errorf("compaction of %s waits: %w", r.l.opts.TP, err))
	}
	if len(r.buf)+len(b) > cap(r.buf) {
		if err := r.write(); err != nil {
			return err
		}
	}
	r.s.grow(&r.c, n, h.MaxTimestampMs, h.LastOffset())
	if len(b) > cap(r.buf) {
		return r.writeAt(b)
	}
	r.buf = append(r.buf, b...)
	return nil
}

func (r *Rewrite) write() error {
	err := r.writeAt(r.buf)
	r.buf = r.buf[:0]
	return err
}

func (r *Rewrite) writeAt(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if _, err := r.f.WriteAt(b, r.at); err != nil {
		return rewriteError(r.l, fmt.Errorf("write %s: %w", r.f.Name(), err))
	}
	r.at += int64(len(b))
	return nil
}

// AddAborted keeps the entry of an aborted transaction some of whose batches, and the
// marker, are still there. Markers ascend.
func (r *Rewrite) AddAborted(t AbortedTxn) { r.txns = appendTxnEntry(r.txns, t) }

// Size is the bytes of the batches so far.
func (r *Rewrite) Size() int64 { return r.s.size }

// Discard removes what was written.
func (r *Rewrite) Discard() {
	_ = r.f.Close() // it is removed
	for _, suffix := range []string{logSuffix, indexSuffix, timeIndexSuffix, txnIndexSuffix} {
		path := r.s.path(suffix) + cleanedSuffix
		if err := r.l.opts.FS.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			r.l.opts.Logger.Warn("could not remove an unfinished segment", "file", path, "error", err)
		}
	}
}

// Swap makes the new segment durable and puts it into the place of the old ones. Readers
// keep the old files that they hold; whoever comes later finds the new ones. After a crash
// at any point the log holds either the old segments or the new one. On an error the log is
// as it was (ErrChanged; a full disk), or refuses all work until the next start has
// completed or undone the swap. Errors wrap ErrChanged, kafka.KafkaStorageError.
func (r *Rewrite) Swap() error {
	if err := r.seal(); err != nil {
		r.Discard()
		return err
	}
	l := r.l
	l.maintMu.Lock()
	defer l.maintMu.Unlock()
	if err := r.stillThere(); err != nil {
		r.Discard()
		return err
	}
	record := swapRecord{base: r.s.base, next: r.next, txns: len(r.txns) > 0}
	path := r.s.path(swapSuffix)
	var err error
	if !fault.Planted(fault.BugSwapWithoutRecord) {
		err = vfs.WriteFileAtomic(l.opts.FS, path, record.append(nil))
	}
	if err != nil {
		if _, gone := l.opts.FS.Stat(path); errors.Is(gone, os.ErrNotExist) {
			r.Discard()
			return rewriteError(l, err)
		}
		return l.fail(err)
	}
	if err := r.publish(record); err != nil {
		return l.fail(err)
	}
	if err := record.finish(l.opts.FS, l.dir); err != nil {
		return l.fail(err)
	}
	return nil
}

// seal writes the rest of the files, all durable, under names that only a start looks at.
func (r *Rewrite) seal() error {
	if err := r.write(); err != nil {
		return err
	}
	r.s.addTime()
	r.s.next, r.s.hasTxns, r.s.synced = r.next, len(r.txns) > 0, true
	err := errors.Join(r.f.Datasync(), r.f.Close())
	if err == nil {
		err = r.writeSynced(indexSuffix, r.s.offsets.tail)
	}
	if err == nil {
		err = r.writeSynced(timeIndexSuffix, r.s.times.tail)
	}
	if err == nil && r.s.hasTxns {
		err = r.writeSynced(txnIndexSuffix, r.txns)
	}
	if err == nil {
		err = r.l.opts.FS.SyncDir(r.l.dir)
	}
	if err != nil {
		return rewriteError(r.l, fmt.Errorf("write the compacted segment %s: %w", r.s.path(logSuffix), err))
	}
	for _, x := range []*index{&r.s.offsets, &r.s.times} {
		x.flushed, x.tail = len(x.tail)/x.entrySize, nil
	}
	return nil
}

func (r *Rewrite) writeSynced(suffix string, b []byte) error {
	path := r.s.path(suffix) + cleanedSuffix
	if err := writeFile(r.l.opts.FS, path, b); err != nil {
		return err
	}
	return (syncer{r.l}).syncPath(path)
}

// stillThere makes sure that the old segments are the log's. maintMu is held, so that they
// stay it.
func (r *Rewrite) stillThere() error {
	l := r.l
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.mu.err != nil {
		return l.mu.err
	}
	i := slices.Index(l.mu.segs, r.from[0])
	if i < 0 || i+len(r.from) >= len(l.mu.segs) || !slices.Equal(l.mu.segs[i:i+len(r.from)], r.from) || l.mu.segs[i+len(r.from)].base != r.next {
		return fmt.Errorf("log %s: segments from %d on: %w", l.opts.TP, r.from[0].base, ErrChanged)
	}
	return nil
}

// publish renames the files and shows the new segment, in one critical section: whoever opens
// a file by its name does it under mu, for the segment that has the name.
func (r *Rewrite) publish(record swapRecord) error {
	l := r.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := record.place(l.opts.FS, l.dir); err != nil {
		return err
	}
	i := slices.Index(l.mu.segs, r.from[0])
	for _, s := range r.from {
		(cutter{l}).forget(s)
	}
	l.mu.segs = slices.Concat(l.mu.segs[:i:i], []*segment{r.s}, l.mu.segs[i+len(r.from):])
	l.mu.swaps++
	return nil
}
