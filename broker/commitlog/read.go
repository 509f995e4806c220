package commitlog

import (
	"errors"
	"fmt"
	"sort"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// Read is a run of whole batches on its way out, of which the last may be cut off.
type Read struct {
	// Range lies in one segment and starts at the batch that holds the asked offset.
	// The caller releases it. It is empty, and needs no release, at the end.
	Range vfs.Range
	// Aborted are the aborted transactions that overlap the range, ascending in
	// FirstOffset; for readers at read_committed.
	Aborted []AbortedTxn
	// Base is the base offset of the first batch, UpperBound an offset that no record of
	// the range reaches.
	Base, UpperBound int64
}

// Read answers the batches from off on: at most maxBytes of them, and none that starts at
// upTo or above (the high watermark or last stable offset). With minOne the first batch
// comes whole even if it is larger; without, a first batch larger than maxBytes gives an
// empty range. Errors wrap kafka.OffsetOutOfRange outside [LocalStart, End],
// kafka.KafkaStorageError, kafka.ErrCorrupt; in a hole that nobody accepted kafka.CorruptMessage
// and kafka.ErrCorrupt.
func (l *Log) Read(off, maxBytes, upTo int64, minOne bool) (Read, error) {
	for from := off; ; {
		p, next, err := (finder{l}).locate(off, from, upTo)
		if err != nil || p == nil {
			return Read{}, err
		}
		r, found, err := p.read(l, maxBytes, minOne)
		if errors.Is(err, errSwapped) {
			from = off
			continue
		}
		if err != nil {
			return Read{}, (finder{l}).readError(off, err)
		}
		if found {
			return r, nil
		}
		from = next // the rest of that segment was compacted away
	}
}

// finder looks for places in a log, under Log.mu.
type finder struct{ *Log }

// readError turns what a search met into an error; a log that was cut meanwhile is no damage.
func (l finder) readError(off int64, err error) error {
	if end := l.End(); off > end {
		return fmt.Errorf("log %s: offset %d lies behind end %d: %w", l.opts.TP, off, end, kafka.OffsetOutOfRange)
	}
	if errors.Is(err, errDamaged) {
		err = fmt.Errorf("%w: %w", err, kafka.ErrCorrupt)
	}
	return fmt.Errorf("log %s: %w: %w", l.opts.TP, kafka.KafkaStorageError, err)
}

// place is where a read will look: taken under Log.mu, with the files it needs held.
type place struct {
	seg          *segment
	file         *handle
	target       int64
	start, bound seek // of target and, when bounded, of upTo
	bounded      bool
	size         int64 // published bytes of the segment
	upTo         int64
	hasTxns      bool // there are transaction indexes from here on
	swaps        uint64
}

// errSwapped says that segments were replaced while their transaction indexes were read:
// the new ones need not list what the old batches hold.
var errSwapped = errors.New("segments were replaced")

// locate takes the segment that holds from, with its file, in one critical section. It
// answers nil when there is nothing to read, and the offset at which the next segment starts.
func (l finder) locate(off, from, upTo int64) (*place, int64, error) {
	if err := l.view(); err != nil {
		return nil, 0, err
	}
	defer l.mu.RUnlock()
	m := &l.mu
	if off < m.localStart || off > m.end {
		return nil, 0, fmt.Errorf("log %s: offset %d is outside [%d, %d]: %w", l.opts.TP, off, m.localStart, m.end, kafka.OffsetOutOfRange)
	}
	upTo = min(upTo, m.end)
	if h, ok := m.holes.open(from); ok { // no reader passes over it unawares
		if h.From <= from && from < upTo {
			return nil, 0, l.holeError(h)
		}
		upTo = min(upTo, h.From)
	}
	i := sort.Search(len(m.segs), func(i int) bool { return m.segs[i].base > from }) - 1
	if off >= upTo || from >= upTo || i < 0 {
		return nil, 0, nil
	}
	s := m.segs[i]
	p := &place{seg: s, target: from, size: s.size, upTo: min(upTo, s.next), swaps: m.swaps}
	next := m.end
	if i < len(m.segs)-1 {
		next = m.segs[i+1].base
	}
	p.bounded = p.upTo < s.next
	for _, t := range m.segs[i:] {
		p.hasTxns = p.hasTxns || t.hasTxns
	}
	var err error
	if p.file, err = l.opts.Files.acquire(&s.log, func() string { return s.path(logSuffix) }, 0); err != nil {
		return nil, 0, fmt.Errorf("open %s: %w: %w", s.path(logSuffix), kafka.KafkaStorageError, err)
	}
	if p.start, err = l.seekOffset(s, from); err == nil && p.bounded {
		p.bound, err = l.seekOffset(s, upTo)
	}
	if err != nil {
		p.release()
		return nil, 0, fmt.Errorf("open %s: %w: %w", s.path(indexSuffix), kafka.KafkaStorageError, err)
	}
	return p, next, nil
}

func (p *place) release() {
	p.start.release()
	p.bound.release()
	p.file.ref.Release()
}

// read searches the segment outside every lock. It consumes p.
func (p *place) read(l *Log, maxBytes int64, minOne bool) (r Read, found bool, err error) {
	keep := false
	defer func() {
		p.start.release()
		p.bound.release()
		if !keep {
			p.file.ref.Release()
		}
	}()
	room := l.opts.Files.chunks.get()
	defer l.opts.Files.chunks.p.Put(room)
	from, err := p.start.resolve(p.target, *room)
	if err != nil {
		return r, false, err
	}
	pos, h, found, err := findBatch(p.file, from, p.size, p.target, p.start.first, *room)
	if err != nil || !found {
		return r, false, wrapPath(p.seg.path(logSuffix), err)
	}
	limit := p.size
	if p.bounded {
		if from, err = p.bound.resolve(p.upTo, *room); err != nil {
			return r, false, err
		}
		first := p.bound.first
		if from < pos {
			from, first = pos, kafka.NoOffset
		}
		if limit, _, _, err = findBatch(p.file, from, p.size, p.upTo, first, *room); err != nil {
			return r, false, wrapPath(p.seg.path(logSuffix), err)
		}
	}
	n := limit - pos
	if n > maxBytes {
		n = maxBytes
		if maxBytes < h.Size() {
			n = 0
			if minOne {
				n = h.Size()
			}
		}
	}
	if n <= 0 || h.BaseOffset >= p.upTo {
		return Read{}, true, nil
	}
	upper := p.upTo
	if n <= h.Size() {
		upper = min(upper, h.LastOffset()+1)
	}
	r = Read{Base: h.BaseOffset, UpperBound: upper, Range: vfs.NewRange(p.file.File, pos, n, p.file.ref)}
	if p.hasTxns {
		var swaps uint64
		if r.Aborted, swaps, err = (finder{l}).abortedTxns(h.BaseOffset, r.UpperBound); err == nil && swaps != p.swaps {
			err = errSwapped
		}
		if err != nil {
			return Read{}, false, err
		}
	}
	keep = true
	return r, true, nil
}

func wrapPath(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", path, err)
}

// AbortedTxns lists the aborted transactions that overlap [from, upTo), ascending in
// FirstOffset; markers in later segments count too.
func (l *Log) AbortedTxns(from, upTo int64) ([]AbortedTxn, error) {
	out, _, err := (finder{l}).abortedTxns(from, upTo)
	return out, err
}

// abortedTxns also tells of which state of the files the list is: that of mu.swaps.
func (l finder) abortedTxns(from, upTo int64) ([]AbortedTxn, uint64, error) {
	for {
		if err := l.view(); err != nil {
			return nil, 0, err
		}
		swaps := l.mu.swaps
		var segs []*segment
		for i, s := range l.mu.segs {
			if s.hasTxns && (i == len(l.mu.segs)-1 || l.mu.segs[i+1].base > from) {
				segs = append(segs, s)
			}
		}
		l.mu.RUnlock()
		out, err := l.readTxns(segs, from, upTo)
		l.mu.RLock()
		same := l.mu.swaps == swaps
		l.mu.RUnlock()
		if same {
			return out, swaps, err
		} // else the files that were read may be of two times
	}
}

func (l finder) readTxns(segs []*segment, from, upTo int64) (out []AbortedTxn, err error) {
	for _, s := range segs {
		b, err := vfs.ReadFile(l.opts.FS, s.path(txnIndexSuffix))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w: %w", s.path(txnIndexSuffix), kafka.KafkaStorageError, err)
		}
		txns, err := ParseTxnIndex(s.base, b[:len(b)/txnEntrySize*txnEntrySize])
		if err != nil {
			return nil, err
		}
		var complete bool
		if out, complete = collectAborted(out, txns, from, upTo); complete {
			break
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].FirstOffset < out[j].FirstOffset })
	return out, nil
}

// seek is an index lookup that may need the index file, so that it can be finished
// outside the lock under which it began.
type seek struct {
	base    int64
	pos     int64 // the answer, when file is nil
	file    *handle
	entries int
	end     int64 // offset up to which the entries reach, for the first guess
	first   int64 // last offset of the batch at the position that resolve took from the file, or kafka.NoOffset
}

// seekOffset begins to look for the position from which a scan finds target. mu is held.
func (l finder) seekOffset(s *segment, target int64) (seek, error) {
	tail := OffsetIndex{base: s.base, b: s.offsets.tail}
	if tail.Len() > 0 && tail.Entry(0).Offset <= target {
		return seek{pos: tail.Lookup(target).Position, first: kafka.NoOffset}, nil
	}
	if s.offsets.flushed == 0 {
		return seek{first: kafka.NoOffset}, nil
	}
	h, err := l.opts.Files.acquire(&s.offsetIdx, func() string { return s.path(indexSuffix) }, 0)
	return seek{base: s.base, file: h, entries: s.offsets.flushed, end: s.indexFileEnd(), first: kafka.NoOffset}, err
}

// resolve answers the position: that of the last index entry at or below target.
func (k *seek) resolve(target int64, room []byte) (int64, error) {
	if k.file == nil {
		return k.pos, nil
	}
	e, err := searchFile(k.file, offsetEntrySize, k.entries, proportion(target, k.base, k.end, k.entries), room, func(b []byte) bool {
		return decodeOffsetEntry(k.base, b).Offset > target
	})
	if err != nil || e == nil {
		return 0, err
	}
	found := decodeOffsetEntry(k.base, e)
	k.first = found.Offset
	return found.Position, nil
}

func (k *seek) release() {
	if k.file != nil {
		k.file.ref.Release()
		k.file = nil
	}
}
