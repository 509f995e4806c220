package commitlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// checker compares those files of a trusted log that have no CRC with its batches.
type checker struct{ *loader }

// checkTxns makes sure that the transaction index of a trusted segment says the truth, as
// its file has no CRC: each entry must name an abort marker and the first batch of its
// transaction, and no last stable offset may lie above a transaction that was still open.
// An index that does not is built anew from the segment and the snapshot at its base.
func (ld checker) checkTxns(i int) error {
	if ld.gaps() { // compaction takes batches of transactions away: there is nothing to compare with
		return nil
	}
	s := ld.segs[i]
	b, err := vfs.ReadFile(ld.l.opts.FS, s.path(txnIndexSuffix))
	if err != nil {
		return fmt.Errorf("read %s: %w", s.path(txnIndexSuffix), err)
	}
	txns, err := ParseTxnIndex(s.base, b)
	if err == nil {
		err = ld.compareTxns(i, txns)
	}
	if !errors.Is(err, kafka.ErrCorrupt) {
		return err
	}
	ld.l.opts.Logger.Warn("rebuilding a transaction index", "file", s.path(txnIndexSuffix), "reason", err)
	return ld.rebuildTxns(s)
}

func (ld checker) compareTxns(i int, txns []AbortedTxn) error {
	s := ld.segs[i]
	f, err := ld.finderOf(s)
	if err != nil {
		return err
	}
	defer f.Close()
	open := ld.openTxns(s.base)
	atEnd := map[int64]int64{}
	if i+1 < len(ld.segs) {
		atEnd = ld.openTxns(ld.segs[i+1].base)
	}
	for n, t := range txns {
		lie := func(what string) error {
			return fmt.Errorf("%s: entry %d: %s: %w", s.path(txnIndexSuffix), n, what, kafka.ErrCorrupt)
		}
		h, err := f.at(t.LastOffset)
		if err != nil {
			return err
		}
		if !h.IsControl() || h.ProducerID != t.ProducerID || h.BaseOffset != t.LastOffset {
			return lie("not the marker of the producer")
		}
		first, known := open[t.ProducerID]
		if t.FirstOffset >= s.base {
			if h, err = f.at(t.FirstOffset); err != nil {
				return err
			}
			if !h.IsTransactional() || h.IsControl() || h.ProducerID != t.ProducerID || h.BaseOffset != t.FirstOffset {
				return lie("not the first batch of the transaction")
			}
		} else if known && first != t.FirstOffset {
			return lie("the snapshot knows another first offset")
		}
		above := func(first int64) bool { return first <= t.LastOffset && t.LastStable > first }
		if t.LastStable > t.LastOffset+1 || slices.ContainsFunc(txns[n+1:], func(o AbortedTxn) bool { return above(o.FirstOffset) }) {
			return lie("a last stable offset above an open transaction")
		}
		for _, first := range atEnd {
			if above(first) {
				return lie("a last stable offset above an open transaction")
			}
		}
	}
	return nil
}

// batchFinder looks for batches in one trusted segment.
type batchFinder struct {
	vfs.File
	s    *segment
	x    OffsetIndex
	room []byte
}

func (ld checker) finderOf(s *segment) (*batchFinder, error) {
	raw, err := vfs.ReadFile(ld.l.opts.FS, s.path(indexSuffix))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.path(indexSuffix), err)
	}
	f, err := ld.l.opts.FS.OpenFile(s.path(logSuffix), os.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", s.path(logSuffix), err)
	}
	x := OffsetIndex{base: s.base, b: raw[:len(raw)/offsetEntrySize*offsetEntrySize]}
	return &batchFinder{f, s, x, make([]byte, lookupChunk)}, nil
}

// at is the batch that holds off, or the first one behind it. Errors wrap kafka.ErrCorrupt
// when there is none.
func (f *batchFinder) at(off int64) (batch.Header, error) {
	e := f.x.Lookup(off)
	first := int64(kafka.NoOffset)
	if e.Position > 0 {
		first = e.Offset
	}
	_, h, found, err := findBatch(f, e.Position, f.s.size, off, first, f.room)
	if errors.Is(err, errDamaged) || err == nil && !found {
		err = fmt.Errorf("no batch at offset %d: %w", off, kafka.ErrCorrupt)
	}
	return h, err
}

// loadEpochs reads leader-epoch-checkpoint as far as the log reaches. Errors wrap
// kafka.ErrCorrupt when it says something else than the batches.
func (ld checker) loadEpochs(end int64) error {
	b, err := vfs.ReadFile(ld.l.opts.FS, filepath.Join(ld.l.dir, epochFile))
	if err != nil {
		return err
	}
	entries, err := ParseEpochCheckpoint(b)
	if err != nil {
		return err
	}
	ld.epochs.entries = entries
	ld.epochs.truncateEnd(end)
	for i, e := range ld.epochs.entries {
		if err := ld.checkEpoch(e, i); err != nil {
			return err
		}
	}
	return nil
}

// addEpochs completes the history of a sealed log: the file knows of epochs up to the last
// sync, the batches above the recovery point carry the others. What is still missing then
// was lost with the file, and the error wraps errUnclean.
func (ld checker) addEpochs() error {
	if ld.epochs.latest() == ld.state.LatestEpoch {
		return nil
	}
	for _, s := range ld.segs {
		if s.next <= ld.recoveryPoint() {
			continue
		}
		if err := ld.headers(s, 0, func(h batch.Header, _ *scanner) error {
			ld.epochs.assign(h.LeaderEpoch, h.BaseOffset)
			return nil
		}); err != nil {
			return err
		}
	}
	if got := ld.epochs.latest(); got != ld.state.LatestEpoch {
		return fmt.Errorf("%s: ends with epoch %d, the checkpoint says %d: %w", epochFile, got, ld.state.LatestEpoch, errUnclean)
	}
	return nil
}

// checkEpoch makes sure that an epoch starts where the history says: the text has no CRC.
// What lies below the local log can't be compared, and the epoch that holds the log start
// has batches in front of where the history begins.
func (ld checker) checkEpoch(e EpochEntry, i int) error {
	if i > 0 && e.Start == ld.epochs.entries[i-1].Start {
		return fmt.Errorf("%s: epochs %d and %d start at %d: %w", epochFile, ld.epochs.entries[i-1].Epoch, e.Epoch, e.Start, kafka.ErrCorrupt)
	}
	for _, off := range []int64{e.Start, e.Start - 1} {
		if off < e.Start && off < ld.state.LogStart {
			continue
		}
		h, err := ld.batchAt(off)
		if errors.Is(err, kafka.ErrCorrupt) {
			continue // nothing of the segment is left behind off
		}
		if err != nil {
			return err
		}
		if off == e.Start && h.LeaderEpoch < e.Epoch || h.LastOffset() < e.Start && h.LeaderEpoch >= e.Epoch ||
			off == e.Start && h.BaseOffset <= off && h.LeaderEpoch != e.Epoch ||
			off == e.Start && h.BaseOffset < off && (i > 0 || off > ld.state.LogStart) {
			odd, err := ld.oddEpoch(h, i)
			if err != nil {
				return err
			}
			if odd {
				continue
			}
			return fmt.Errorf("%s: epoch %d starts at %d, the batch at %d has epoch %d: %w", epochFile, e.Epoch, e.Start, h.BaseOffset, h.LeaderEpoch, kafka.ErrCorrupt)
		}
	}
	return nil
}

// batchAt is the batch that holds off, or the first one behind it in its segment. Errors wrap
// kafka.ErrCorrupt when there is none.
func (ld checker) batchAt(off int64) (batch.Header, error) {
	n := slices.IndexFunc(ld.segs, func(s *segment) bool { return s.base <= off && off < s.next })
	if n < 0 || ld.segs[n].size == 0 {
		return batch.Header{}, fmt.Errorf("no batch at offset %d: %w", off, kafka.ErrCorrupt)
	}
	f, err := ld.finderOf(ld.segs[n])
	if err != nil {
		return batch.Header{}, err
	}
	defer f.Close()
	return f.at(off)
}

// oddEpoch says that it is the batch whose epoch is damaged, and not entry i of the history that it
// contradicts: the next batch is of the entry's epoch, and its own is out of their order.
func (ld checker) oddEpoch(h batch.Header, i int) (bool, error) {
	e := ld.epochs.entries[i]
	if h.LeaderEpoch <= e.Epoch && (i == 0 || h.LeaderEpoch >= ld.epochs.entries[i-1].Epoch) {
		return false, nil
	}
	next, err := ld.batchAt(h.LastOffset() + 1)
	if errors.Is(err, kafka.ErrCorrupt) {
		return false, nil
	}
	return err == nil && next.LeaderEpoch == e.Epoch, err
}

// openTxns is the first offsets of the transactions that were open at a segment's base, by
// producer, as far as the snapshot there is readable.
func (ld checker) openTxns(base int64) map[int64]int64 {
	out := map[int64]int64{}
	b, err := vfs.ReadFile(ld.l.opts.FS, segmentPath(ld.l.dir, base, snapshotSuffix))
	if err != nil {
		return out
	}
	entries, err := ParseProducerSnapshot(b)
	if err != nil {
		return out
	}
	for _, e := range entries {
		if e.TxnFirstOffset >= 0 {
			out[e.ProducerID] = e.TxnFirstOffset
		}
	}
	return out
}

// rebuildTxns writes a segment's transaction index anew.
func (ld checker) rebuildTxns(s *segment) error {
	nowMs := ld.l.opts.nowMs()
	p := newProducerState(s.base)
	if b, err := vfs.ReadFile(ld.l.opts.FS, segmentPath(ld.l.dir, s.base, snapshotSuffix)); err == nil {
		if entries, err := ParseProducerSnapshot(b); err == nil {
			p.load(entries, s.base, nowMs)
		}
	}
	var out []byte
	err := ld.headers(s, 0, func(h batch.Header, sc *scanner) error {
		if !h.HasProducerID() {
			return nil
		}
		if !h.IsControl() {
			p.data(&h, nowMs)
			return nil
		}
		b, err := sc.body(h)
		if err != nil {
			return fmt.Errorf("read %s: %w", s.path(logSuffix), err)
		}
		m, err := parseMarker(b)
		if err != nil || m == nil {
			return err
		}
		if t, aborted := p.marker(&h, *m, nowMs); aborted {
			out = appendTxnEntry(out, t)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if s.hasTxns = len(out) > 0; s.hasTxns {
		return vfs.WriteFileAtomic(ld.l.opts.FS, s.path(txnIndexSuffix), out)
	}
	if err := ld.l.opts.FS.Remove(s.path(txnIndexSuffix)); err != nil {
		return fmt.Errorf("remove %s: %w", s.path(txnIndexSuffix), err)
	}
	return nil
}

// survived is how many bytes of a segment the checkpoint speaks of, when nothing that was
// written before it can be lost: of those the headers are read, and no CRC is checked. A
// segment that is suspected of damage gets no such trust.
func (ld checker) survived(s *segment, limit int64) int64 {
	if ld.known && !ld.online && !ld.l.opts.PowerLost && !ld.state.Damaged && s.base == ld.state.ActiveBase && !ld.interrupted(s.base, limit) {
		return ld.state.ActiveBytes
	}
	return 0
}
