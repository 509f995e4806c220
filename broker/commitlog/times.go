package commitlog

import (
	"errors"
	"fmt"
	"io"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
)

// OffsetForTime finds the first local record whose time is at or after tsMs: its offset,
// its time and its batch's leader epoch; ok is false when there is none.
func (l *Log) OffsetForTime(tsMs int64) (off, foundTsMs int64, epoch int32, ok bool, err error) {
	for from := int64(-1); ; {
		t, err := (finder{l}).locateTime(tsMs, from)
		if err != nil || t == nil {
			return kafka.NoOffset, kafka.NoTimestamp, kafka.NoEpoch, false, err
		}
		rec, epoch, found, err := t.find(l, func(h batch.Header) bool { return h.MaxTimestampMs >= tsMs },
			func(r batch.Record) bool { return r.TimestampMs >= tsMs })
		if err != nil {
			return kafka.NoOffset, kafka.NoTimestamp, kafka.NoEpoch, false, (finder{l}).readError(t.start, err)
		}
		if found {
			return rec.Offset, rec.TimestampMs, epoch, true, nil
		}
		from = t.seg.base // what was new enough lies below the start of the log
	}
}

// MaxTimestamp finds the first local record with the newest time of all; offset and time
// are -1 in an empty log.
func (l *Log) MaxTimestamp() (off, tsMs int64, epoch int32, err error) {
	t, maxTs, err := (finder{l}).locateMaxTime()
	if err != nil || t == nil {
		return kafka.NoOffset, kafka.NoTimestamp, kafka.NoEpoch, err
	}
	rec, epoch, found, err := t.find(l, func(h batch.Header) bool { return h.MaxTimestampMs >= maxTs },
		func(r batch.Record) bool { return r.TimestampMs >= maxTs })
	if err != nil {
		return kafka.NoOffset, kafka.NoTimestamp, kafka.NoEpoch, (finder{l}).readError(t.start, err)
	}
	if !found {
		return kafka.NoOffset, kafka.NoTimestamp, kafka.NoEpoch, nil
	}
	return rec.Offset, rec.TimestampMs, epoch, nil
}

// timePlace is where a search by time begins, taken under Log.mu.
type timePlace struct {
	seg         *segment
	file        *handle
	offsetsFile *handle // nil when the tail in memory is enough
	timesFile   *handle
	tail        OffsetIndex
	entries     int
	end         int64 // offset up to which those entries reach
	times       int
	newest      int64 // last offset of the batch with the newest time: no entry lies behind it
	tsMs        int64
	fromOffset  int64 // where to start when the time index file adds nothing
	size        int64
	start       int64 // of the log: older records don't count
}

// locateTime picks the first segment behind base from that holds a time at or after tsMs.
func (l finder) locateTime(tsMs, from int64) (*timePlace, error) {
	if err := l.view(); err != nil {
		return nil, err
	}
	defer l.mu.RUnlock()
	for _, s := range l.mu.segs {
		if s.base <= from || s.size == 0 || s.maxTs < tsMs || s.next <= l.mu.localStart {
			continue
		}
		t := &timePlace{seg: s, tsMs: tsMs, fromOffset: s.base, size: s.size, start: l.mu.localStart}
		if tail := (TimeIndex{base: s.base, b: s.times.tail}); tail.Len() > 0 && tail.Entry(0).TimestampMs < tsMs {
			t.fromOffset = tail.Lookup(tsMs).Offset
		} else {
			t.times, t.newest = s.times.flushed, s.maxTsLast
		}
		return t, l.hold(t)
	}
	return nil, nil
}

// locateMaxTime picks the segment and batch with the newest time.
func (l finder) locateMaxTime() (*timePlace, int64, error) {
	if err := l.view(); err != nil {
		return nil, 0, err
	}
	defer l.mu.RUnlock()
	var best *segment
	for _, s := range l.mu.segs {
		if s.size > 0 && s.next > l.mu.localStart && (best == nil || s.maxTs > best.maxTs) {
			best = s
		}
	}
	if best == nil || best.maxTs < 0 {
		return nil, 0, nil
	}
	t := &timePlace{seg: best, fromOffset: best.maxTsLast, size: best.size, start: l.mu.localStart}
	return t, best.maxTs, l.hold(t)
}

// hold takes the files of the segment. mu is held.
func (l finder) hold(t *timePlace) (err error) {
	s, files := t.seg, l.opts.Files
	t.entries, t.end = s.offsets.flushed, s.indexFileEnd()
	t.tail = OffsetIndex{base: s.base, b: s.offsets.tail}
	t.file, err = files.acquire(&s.log, func() string { return s.path(logSuffix) }, 0)
	if err == nil && t.entries > 0 {
		t.offsetsFile, err = files.acquire(&s.offsetIdx, func() string { return s.path(indexSuffix) }, 0)
	}
	if err == nil && t.times > 0 {
		t.timesFile, err = files.acquire(&s.timeIdx, func() string { return s.path(timeIndexSuffix) }, 0)
	}
	if err != nil {
		t.release()
		return fmt.Errorf("open segment %d of %s: %w: %w", s.base, l.opts.TP, kafka.KafkaStorageError, err)
	}
	return nil
}

func (t *timePlace) release() {
	for _, h := range []*handle{t.file, t.offsetsFile, t.timesFile} {
		if h != nil {
			h.ref.Release()
		}
	}
}

// find walks from the place on to the first batch and record that are wanted, outside
// every lock. It consumes t.
func (t *timePlace) find(l *Log, wantBatch func(batch.Header) bool, want func(batch.Record) bool) (rec batch.Record, epoch int32, found bool, err error) {
	defer t.release()
	room := l.opts.Files.chunks.get()
	defer l.opts.Files.chunks.p.Put(room)
	pos, hint, err := t.position(*room)
	if err != nil {
		return rec, 0, false, err
	}
	sc := newScanner(t.file, pos, t.size, *room)
	for {
		h, err := sc.header()
		if pos > 0 && (errors.Is(err, errDamaged) || errors.Is(err, io.EOF) && (sc.pos == pos || hint.time.Offset != kafka.NoOffset) || err == nil && !hint.agrees(h)) {
			pos, hint = 0, noHint // an index is wrong: look at every batch
			sc = newScanner(t.file, 0, t.size, *room)
			continue
		}
		if errors.Is(err, io.EOF) {
			return rec, 0, false, nil
		}
		if err != nil {
			return rec, 0, false, fmt.Errorf("%s: byte %d: %w", t.seg.path(logSuffix), sc.pos, err)
		}
		if h.LastOffset() >= t.start && wantBatch(h) {
			b, err := sc.body(h)
			if err != nil {
				return rec, 0, false, fmt.Errorf("%s: byte %d: %w", t.seg.path(logSuffix), sc.pos, err)
			}
			for r, err := range batch.Records(b, batch.Limits{}) {
				if err != nil {
					if batch.CheckCRC(b) != nil {
						return rec, 0, false, fmt.Errorf("%s: byte %d: %v: %w", t.seg.path(logSuffix), sc.pos, err, errDamaged)
					}
					// Its checksum is right, so it is what the producer sent, and nobody has looked
					// into it (varve.produce.validation=header): its header has to do. Nothing that
					// is wanted lies before it.
					return batch.Record{Offset: max(h.BaseOffset, t.start), TimestampMs: h.MaxTimestampMs}, h.LeaderEpoch, true, nil
				}
				if r.Offset >= t.start && want(r) {
					return batch.Record{Offset: r.Offset, TimestampMs: r.TimestampMs}, h.LeaderEpoch, true, nil
				}
			}
		}
		sc.skip(h)
	}
}

// position resolves the two indexes.
func (t *timePlace) position(room []byte) (int64, timeHint, error) {
	from, hint := t.fromOffset, noHint
	if t.timesFile != nil {
		e, err := searchFile(t.timesFile, timeEntrySize, t.times, t.times/2, room, func(b []byte) bool {
			return decodeTimeEntry(t.seg.base, b).TimestampMs >= t.tsMs
		})
		if err != nil {
			return 0, hint, err
		}
		if e != nil {
			entry := decodeTimeEntry(t.seg.base, e)
			switch from = entry.Offset; {
			case from > t.newest:
				return 0, noHint, nil // an entry that can't be: look at every batch
			case from >= t.start:
				hint.time = entry
			}
		}
	}
	from = max(from, t.start)
	if t.tail.Len() > 0 && t.tail.Entry(0).Offset <= from {
		return t.tail.Lookup(from).Position, hint, nil
	}
	if t.offsetsFile == nil {
		return 0, hint, nil
	}
	k := seek{base: t.seg.base, file: t.offsetsFile, entries: t.entries, end: t.end, first: kafka.NoOffset}
	pos, err := k.resolve(from, room)
	hint.first = k.first
	return pos, hint, err
}

// timeHint is what index files say of batches that a search is about to pass: without CRCs
// in those files it is only believed when the batches agree.
type timeHint struct {
	first int64     // last offset of the first batch, or kafka.NoOffset
	time  TimeEntry // of a batch that comes, Offset is kafka.NoOffset without one
}

var noHint = timeHint{first: kafka.NoOffset, time: TimeEntry{Offset: kafka.NoOffset}}

// agrees compares the next batch.
func (t *timeHint) agrees(h batch.Header) bool {
	ok := t.first == kafka.NoOffset || h.LastOffset() == t.first
	t.first = kafka.NoOffset
	if e := t.time; ok && e.Offset != kafka.NoOffset && h.LastOffset() >= e.Offset {
		ok = h.LastOffset() == e.Offset && h.MaxTimestampMs == e.TimestampMs
		t.time.Offset = kafka.NoOffset
	}
	return ok
}
