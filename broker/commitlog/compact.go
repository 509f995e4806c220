package commitlog

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
)

// Compaction is what the cleaner sees of a log.
type Compaction struct {
	Start int64 // of the log
	End   int64
	// Cleaned is what SetCleaned was last told, 0 after a start.
	Cleaned int64
	// Limit is where the part begins that must not be rewritten yet: the active segment, and
	// what the log dir's durable checkpoint does not vouch for. A recovery that had to scan
	// rewritten segments would take the snapshots that were made before them for the truth.
	Limit int64
	// Loaded says that the files were read; without it there are no Segments.
	Loaded   bool
	Segments []CompactionSegment // ascending; the last one is active
}

// CompactionSegment is a segment with what the cleaner plans by.
type CompactionSegment struct {
	SegmentInfo
	IndexBytes, TimeIndexBytes int64
}

// ViewCompaction describes a compacted log to the cleaner. ok is false when the log has
// nothing to offer: it is not compacted, has a remote part, refuses work or is damaged. With
// load the files are read if they were not yet; without it, it costs no I/O.
func ViewCompaction(l *Log, load bool) (v Compaction, ok bool) {
	if load {
		if l.view() != nil {
			return v, false
		}
	} else {
		l.mu.RLock()
	}
	defer l.mu.RUnlock()
	m := &l.mu
	if !m.config.Compact || m.highestRemote >= 0 || m.err != nil || m.damage != nil {
		return v, false
	}
	v = Compaction{Start: m.logStart, End: m.end, Cleaned: m.cleaned, Limit: m.vouched, Loaded: m.loaded}
	if !m.loaded {
		return v, true
	}
	if len(m.segs) == 0 {
		v.Limit = m.logStart
		return v, true
	}
	v.Limit = min(v.Limit, m.segs[len(m.segs)-1].base)
	v.Segments = make([]CompactionSegment, len(m.segs))
	for i, s := range m.segs {
		v.Segments[i] = CompactionSegment{
			SegmentInfo: s.info(i == len(m.segs)-1),
			IndexBytes:  int64(s.offsets.entries()) * offsetEntrySize, TimeIndexBytes: int64(s.times.entries()) * timeEntrySize,
		}
		if i > 0 {
			v.Segments[i-1].Next = s.base
		}
	}
	return v, true
}

// SetCleaned remembers up to which offset the log is clean: below it no key has two records
// of which the newer one was there at the last cleaning. A truncation moves it down. It is
// the cleaner's to keep it across starts.
func SetCleaned(l *Log, offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.cleaned = offset
}

// KeepCleaned tells that the cleaner's checkpoint, durably, says of this log what SetCleaned was
// told. That file knows no topic ids: what it says of a log that was never kept is of an earlier
// one of the name, and what it says of one that was truncated since is too high.
func KeepCleaned(l *Log) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.cleanKept = true
}

// CleanedKept says whether the cleaner's checkpoint may be believed of this log.
func CleanedKept(l *Log) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.mu.cleanKept
}

// FirstTimestamp is the newest record time of the first batch of a segment, kafka.NoTimestamp
// when it is empty. It is read once.
func FirstTimestamp(l *Log, base int64) (int64, error) {
	l.mu.RLock()
	i := slices.IndexFunc(l.mu.segs, func(s *segment) bool { return s.base == base })
	if i < 0 {
		l.mu.RUnlock()
		return 0, fmt.Errorf("log %s has no segment at %d: %w", l.opts.TP, base, kafka.OffsetOutOfRange)
	}
	s := l.mu.segs[i]
	ts := s.firstTs
	l.mu.RUnlock()
	if ts >= 0 {
		return ts, nil
	}
	errStop := errors.New("stop")
	err := scanSegment(l, s, 0, make([]byte, lookupChunk), func(_ []byte, h batch.Header) error {
		ts = h.MaxTimestampMs
		return errStop
	})
	if err != nil && !errors.Is(err, errStop) {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.firstTs = ts
	return ts, nil
}

// ScanSegment reads the batches of the closed segment at base whose last offset is at least
// from, in order, through room, and checks their CRCs. The bytes are good until each
// returns; an error of each ends the scan. Errors wrap kafka.ErrCorrupt, with the file and
// the byte, when stored bytes went bad; kafka.OffsetOutOfRange when there is no such segment.
func ScanSegment(l *Log, base, from int64, room []byte, each func(b []byte, h batch.Header) error) error {
	if err := l.view(); err != nil {
		return err
	}
	i := slices.IndexFunc(l.mu.segs, func(s *segment) bool { return s.base == base })
	if i < 0 || i == len(l.mu.segs)-1 {
		l.mu.RUnlock()
		return fmt.Errorf("log %s has no closed segment at %d: %w", l.opts.TP, base, kafka.OffsetOutOfRange)
	}
	s := l.mu.segs[i]
	l.mu.RUnlock()
	return scanSegment(l, s, from, room, each)
}

// scanSegment is ScanSegment of a segment that was found. The files are taken in one
// critical section in which it is still part of the log.
func scanSegment(l *Log, s *segment, from int64, room []byte, each func(b []byte, h batch.Header) error) error {
	l.mu.RLock()
	if !slices.Contains(l.mu.segs, s) {
		l.mu.RUnlock()
		return fmt.Errorf("log %s lost its segment at %d: %w", l.opts.TP, s.base, kafka.OffsetOutOfRange)
	}
	size := s.size
	f, err := l.opts.Files.acquire(&s.log, func() string { return s.path(logSuffix) }, 0)
	if err != nil {
		l.mu.RUnlock()
		return fmt.Errorf("open %s: %w: %w", s.path(logSuffix), kafka.KafkaStorageError, err)
	}
	defer f.ref.Release()
	k, err := (finder{l}).seekOffset(s, from)
	l.mu.RUnlock()
	if err != nil {
		return fmt.Errorf("open %s: %w: %w", s.path(indexSuffix), kafka.KafkaStorageError, err)
	}
	defer k.release()
	pos, err := k.resolve(from, room)
	if err != nil {
		return fmt.Errorf("%s: %w: %w", s.path(indexSuffix), kafka.KafkaStorageError, err)
	}
	sc := newScanner(f, pos, size, room)
	for {
		h, err := sc.header()
		if errors.Is(err, io.EOF) {
			return nil
		}
		var b []byte
		if err == nil {
			b, err = sc.body(h)
		}
		if err == nil {
			err = batch.CheckCRC(b)
		}
		switch {
		case errors.Is(err, errDamaged), errors.Is(err, kafka.CorruptMessage):
			return corruptAt(s.path(logSuffix), sc.pos, h.BaseOffset, err)
		case err != nil:
			return fmt.Errorf("read %s: %w: %w", s.path(logSuffix), kafka.KafkaStorageError, err)
		}
		if h.LastOffset() >= from {
			if err := each(b, h); err != nil {
				return err
			}
		}
		sc.skip(h)
	}
}
