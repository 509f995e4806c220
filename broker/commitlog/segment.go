package commitlog

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/varve-io/varve/broker/kafka"
)

// File name suffixes: Kafka's.
const (
	logSuffix       = ".log"
	indexSuffix     = ".index"
	timeIndexSuffix = ".timeindex"
	txnIndexSuffix  = ".txnindex"
	snapshotSuffix  = ".snapshot"
	deletedSuffix   = ".deleted"
	cleanedSuffix   = ".cleaned" // behind another one: a file of a segment that compaction writes
	swapSuffix      = ".swap"    // the record of a compacted segment that takes the place of others

	epochFile = "leader-epoch-checkpoint"
)

// segment is a run of batches in one file and its indexes. The last segment of a log is
// the active one, the only one that grows.
//
// base never changes; the slots guard themselves. All else is guarded by Log.mu and
// changed only by the holder of Log.appendMu.
type segment struct {
	base int64
	dir  string // the partition's directory

	size      int64 // bytes of whole batches
	next      int64 // first offset behind them
	maxTs     int64 // newest record time, kafka.NoTimestamp when empty
	maxTsLast int64 // last offset of the batch that holds it
	firstTs   int64 // newest record time of the first batch: the clock of segment.ms
	createdMs int64
	jitterMs  int64
	indexedAt int64 // position of the last batch in the offset index
	hasTxns   bool  // there is a transaction index
	synced    bool  // closed, and all its files are durable

	offsets, times          index
	log, offsetIdx, timeIdx slot
}

func newSegment(dir string, base, nowMs, jitterMs int64) *segment {
	return &segment{
		dir: dir, base: base, next: base, maxTs: kafka.NoTimestamp, maxTsLast: base, firstTs: kafka.NoTimestamp,
		createdMs: nowMs, jitterMs: jitterMs,
		offsets: index{entrySize: offsetEntrySize}, times: index{entrySize: timeEntrySize},
	}
}

func (s *segment) path(suffix string) string { return segmentPath(s.dir, s.base, suffix) }

func segmentPath(dir string, base int64, suffix string) string {
	return filepath.Join(dir, segmentName(base, suffix))
}

// segmentName is Kafka's: 20 decimal digits and a suffix.
func segmentName(base int64, suffix string) string { return fmt.Sprintf("%020d%s", base, suffix) }

// ParseSegmentName splits the name of a segment's file into the base offset and all from the
// first dot on; ok is false for other files.
func ParseSegmentName(name string) (base int64, suffix string, ok bool) {
	digits, rest, found := strings.Cut(name, ".")
	if !found || len(digits) != 20 {
		return 0, "", false
	}
	base, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || base < 0 {
		return 0, "", false
	}
	return base, "." + rest, true
}

// indexFileEnd is the offset up to which the entries of the offset index file reach, about.
func (s *segment) indexFileEnd() int64 {
	if tail := (OffsetIndex{base: s.base, b: s.offsets.tail}); tail.Len() > 0 {
		return tail.Entry(0).Offset
	}
	return s.next
}

func (s *segment) info(active bool) SegmentInfo {
	return SegmentInfo{Base: s.base, Next: s.next, SizeBytes: s.size, MaxTimestampMs: s.maxTs, CreatedMs: s.createdMs, Active: active}
}

// full says whether a batch of n bytes with that newest time and last offset must go
// into a new segment: Kafka's rule, in terms of record time (segment.ms counts from the
// first batch to the one at hand).
func (s *segment) full(c *Config, n, maxTs, lastOffset, nowMs int64) bool {
	if lastOffset-s.base > math.MaxInt32 {
		return true
	}
	if s.size == 0 {
		return false
	}
	waited := nowMs - s.createdMs
	if s.firstTs >= 0 {
		waited = maxTs - s.firstTs
	}
	return s.size+n > c.SegmentBytes || waited > c.SegmentMs-s.jitterMs ||
		int64(s.offsets.entries()) >= c.SegmentIndexBytes/offsetEntrySize ||
		int64(s.times.entries()) >= c.SegmentIndexBytes/timeEntrySize-1
}

// grow accounts for a batch that was written at the segment's end: sizes, newest time,
// and an index entry when index.interval.bytes have passed since the last one.
func (s *segment) grow(c *Config, n, maxTs, lastOffset int64) {
	pos := s.size
	if pos == 0 {
		s.firstTs = maxTs
	}
	if maxTs > s.maxTs {
		s.maxTs, s.maxTsLast = maxTs, lastOffset
	}
	if pos-s.indexedAt > c.IndexIntervalBytes {
		s.offsets.tail = appendOffsetEntry(s.offsets.tail, s.base, OffsetEntry{Offset: lastOffset, Position: pos})
		s.addTime()
		s.indexedAt = pos
	}
	s.size += n
	s.next = lastOffset + 1
}

// addTime adds the newest time so far to the time index, unless it is there.
func (s *segment) addTime() {
	if s.maxTs < 0 || s.times.entries() > 0 && s.maxTs <= s.times.last {
		return
	}
	s.times.tail = appendTimeEntry(s.times.tail, s.base, TimeEntry{TimestampMs: s.maxTs, Offset: s.maxTsLast})
	s.times.last = s.maxTs
}

// flushIndex writes an index tail behind the entries in its file. Only the holder of
// Log.appendMu calls it; the tail is taken off under Log.mu afterwards.
func (l *writer) flushIndex(s *segment, x *index, sl *slot, suffix string) error {
	h, err := l.opts.Files.acquire(sl, func() string { return s.path(suffix) }, os.O_CREATE)
	if err != nil {
		return fmt.Errorf("open %s: %w", s.path(suffix), err)
	}
	defer h.ref.Release()
	if len(x.tail) > 0 {
		if _, err := h.WriteAt(x.tail, int64(x.flushed)*int64(x.entrySize)); err != nil {
			return fmt.Errorf("write %s: %w", s.path(suffix), err)
		}
	}
	n := len(x.tail) / x.entrySize
	l.mu.Lock()
	x.flushed += n
	x.tail = nil
	l.mu.Unlock()
	return nil
}

func (l *writer) flushIndexes(s *segment) error {
	if err := l.flushIndex(s, &s.offsets, &s.offsetIdx, indexSuffix); err != nil {
		return err
	}
	return l.flushIndex(s, &s.times, &s.timeIdx, timeIndexSuffix)
}
