package commitlog

import (
	"encoding/binary"
	"fmt"
	"io"
	"sort"

	"github.com/varve-io/varve/broker/kafka"
)

// Sizes of one entry, in bytes: part of Kafka's file formats, never to change.
const (
	offsetEntrySize = 8  // int32 offset relative to the base, int32 position
	timeEntrySize   = 12 // int64 timestamp, int32 offset relative to the base
)

// OffsetEntry says that the batch whose last offset is Offset starts at byte Position.
type OffsetEntry struct {
	Offset   int64
	Position int64
}

// TimeEntry says that no record up to Offset is newer than TimestampMs, and that the
// batch whose last offset is Offset holds a record of exactly that time.
type TimeEntry struct {
	TimestampMs int64
	Offset      int64
}

// OffsetIndex is a view of the bytes of an offset index file (`.index`), trimmed: no
// zero tail. The zero view is an empty index. It keeps an alias of its bytes.
type OffsetIndex struct {
	base int64
	b    []byte
}

// ParseOffsetIndex checks the bytes of an offset index of the segment at base: whole
// entries, offsets and positions strictly ascending. Errors wrap kafka.ErrCorrupt.
func ParseOffsetIndex(base int64, b []byte) (OffsetIndex, error) {
	x := OffsetIndex{base: base, b: b}
	if len(b)%offsetEntrySize != 0 {
		return x, fmt.Errorf("offset index of %d: %d bytes are not whole entries: %w", base, len(b), kafka.ErrCorrupt)
	}
	last := OffsetEntry{Offset: base - 1, Position: -1}
	for i := range x.Len() {
		e := x.Entry(i)
		if e.Offset <= last.Offset && i > 0 || e.Offset < base || e.Position <= last.Position {
			return x, fmt.Errorf("offset index of %d: entry %d (%d at %d) does not ascend: %w", base, i, e.Offset, e.Position, kafka.ErrCorrupt)
		}
		last = e
	}
	return x, nil
}

// Len is the number of entries.
func (x OffsetIndex) Len() int { return len(x.b) / offsetEntrySize }

// Entry decodes entry i.
func (x OffsetIndex) Entry(i int) OffsetEntry {
	return decodeOffsetEntry(x.base, x.b[i*offsetEntrySize:])
}

// Lookup finds the last entry whose offset is at most target; without one it answers
// the start of the segment, (base, 0).
func (x OffsetIndex) Lookup(target int64) OffsetEntry {
	n := sort.Search(x.Len(), func(i int) bool { return x.Entry(i).Offset > target })
	if n == 0 {
		return OffsetEntry{Offset: x.base}
	}
	return x.Entry(n - 1)
}

func decodeOffsetEntry(base int64, b []byte) OffsetEntry {
	return OffsetEntry{
		Offset:   base + int64(int32(binary.BigEndian.Uint32(b))),
		Position: int64(int32(binary.BigEndian.Uint32(b[4:]))),
	}
}

// TimeIndex is a view of the bytes of a time index file (`.timeindex`), trimmed.
// The zero view is an empty index. It keeps an alias of its bytes.
type TimeIndex struct {
	base int64
	b    []byte
}

// ParseTimeIndex checks the bytes of a time index of the segment at base: whole
// entries, times strictly ascending, offsets ascending. Errors wrap kafka.ErrCorrupt.
func ParseTimeIndex(base int64, b []byte) (TimeIndex, error) {
	x := TimeIndex{base: base, b: b}
	if len(b)%timeEntrySize != 0 {
		return x, fmt.Errorf("time index of %d: %d bytes are not whole entries: %w", base, len(b), kafka.ErrCorrupt)
	}
	for i := range x.Len() {
		e := x.Entry(i)
		bad := e.Offset < base
		if i > 0 {
			prev := x.Entry(i - 1)
			bad = bad || e.TimestampMs <= prev.TimestampMs || e.Offset < prev.Offset
		}
		if bad {
			return x, fmt.Errorf("time index of %d: entry %d (%d ms at %d) does not ascend: %w", base, i, e.TimestampMs, e.Offset, kafka.ErrCorrupt)
		}
	}
	return x, nil
}

// Len is the number of entries.
func (x TimeIndex) Len() int { return len(x.b) / timeEntrySize }

// Entry decodes entry i.
func (x TimeIndex) Entry(i int) TimeEntry { return decodeTimeEntry(x.base, x.b[i*timeEntrySize:]) }

// Lookup finds the last entry whose time is below tsMs: every record up to its offset
// is older, so a search for the first record at or after tsMs may start behind it.
// Without one it answers (kafka.NoTimestamp, base).
func (x TimeIndex) Lookup(tsMs int64) TimeEntry {
	n := sort.Search(x.Len(), func(i int) bool { return x.Entry(i).TimestampMs >= tsMs })
	if n == 0 {
		return TimeEntry{TimestampMs: kafka.NoTimestamp, Offset: x.base}
	}
	return x.Entry(n - 1)
}

func decodeTimeEntry(base int64, b []byte) TimeEntry {
	return TimeEntry{
		TimestampMs: int64(binary.BigEndian.Uint64(b)),
		Offset:      base + int64(int32(binary.BigEndian.Uint32(b[8:]))),
	}
}

// index is one index file of a segment: entries that are in the file, and behind them
// a short tail that is only in memory. Closed segments have no tail. Kafka maps its
// index files; here appends collect entries and write them by the page, and lookups
// search the tail in memory and the rest by positional reads, so that an idle segment
// needs neither a map nor a descriptor. After a kill the tail is lost and recovery
// rebuilds the index of every segment above the recovery point.
//
// Guarded by Log.mu; only the holder of Log.appendMu changes it.
type index struct {
	entrySize int
	flushed   int    // entries in the file
	tail      []byte // entries behind them
	last      int64  // key of the last entry: a time in a time index; unused in an offset index
}

// tailFlushBytes is how long a tail grows before it is written out.
const tailFlushBytes = 4096

func (x *index) entries() int { return x.flushed + len(x.tail)/x.entrySize }

func appendOffsetEntry(dst []byte, base int64, e OffsetEntry) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(e.Offset-base))
	return binary.BigEndian.AppendUint32(dst, uint32(e.Position))
}

func appendTimeEntry(dst []byte, base int64, e TimeEntry) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.TimestampMs))
	return binary.BigEndian.AppendUint32(dst, uint32(e.Offset-base))
}

// probeEntries is how many entries one read of a search takes in. Batches of one topic are
// much alike, so that a guess by proportion is mostly that good, and a lookup in a file of
// any size costs one read where halving costs one per power of two.
const probeEntries = 128

// searchFile is sort.Search over the first n entries of an index file: it answers the last
// entry in front of those for which after is true, nil when there is none, in room, which
// holds probeEntries entries. guess is where to look first.
func searchFile(f io.ReaderAt, entrySize, n, guess int, room []byte, after func(entry []byte) bool) ([]byte, error) {
	// Entries below lo are not after, those from hi on are. A probe starts one in front of
	// lo: the entry there may be the answer.
	for lo, hi := 0, n; hi > 0; guess = (lo + hi) / 2 {
		from := max(lo-1, 0, min(guess-probeEntries/2, hi-probeEntries))
		to := min(from+probeEntries, hi)
		b := room[:(to-from)*entrySize]
		if _, err := f.ReadAt(b, int64(from)*int64(entrySize)); err != nil {
			return nil, fmt.Errorf("read entries %d to %d of %d: %w", from, to, n, err)
		}
		i := sort.Search(to-from, func(i int) bool { return after(b[i*entrySize:]) })
		switch {
		case i == 0:
			hi = from
		case from+i == to && to < hi:
			lo = to
		default:
			return b[(i-1)*entrySize : i*entrySize], nil
		}
	}
	return nil, nil
}

// proportion is where in n ascending entries, spread evenly over [first, end), target lies.
func proportion(target, first, end int64, n int) int {
	if target <= first || end <= first {
		return 0
	}
	return int(min(float64(target-first)/float64(end-first), 1) * float64(n))
}
