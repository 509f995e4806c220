package wal

import (
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"

	"github.com/varve-io/varve/broker/fault"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// Replay is what a write-ahead file holds after a crash: the records of each partition
// since its last end of replay. It may be read from several goroutines at once.
type Replay struct {
	fs   vfs.FS
	dir  string
	f    vfs.File
	h    header
	byID map[Key]*Redo
	any  bool // there are frames
}

// Redo is what is to be replayed into one log. A nil Redo is empty.
type Redo struct {
	f       vfs.File
	batches []stored
	claimed bool
	// Start is what the records say of the log start, 0 when they say nothing.
	Start int64
}

// stored is a record batch in the file.
type stored struct {
	base   int64
	at     int64
	length int
}

// Recover reads the write-ahead file of a log dir from its oldest needed frame to the end
// of its CRC chain, and changes nothing. It answers nil when there is no file. Errors wrap
// kafka.ErrCorrupt when the chain is broken in front of frames that are whole: those were
// written after what is broken was synced, so acknowledged records may be in it.
func Recover(fsys vfs.FS, dir string, dirID kafka.UUID) (*Replay, error) {
	f, h, err := openHeader(fsys, dir, dirID)
	if f == nil || err != nil {
		return nil, err
	}
	r := &Replay{fs: fsys, dir: dir, f: f, h: h, byID: map[Key]*Redo{}}
	if err := r.chain(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return r, nil
}

// chain follows the frames.
func (r *Replay) chain() error {
	pos, prev := r.h.tail, r.h.prev
	for {
		f, b, err := r.next(&pos, prev)
		if err != nil {
			return err
		}
		if b == nil {
			return r.nothingBehind(pos)
		}
		r.any = true
		at := ringStart + pos%r.h.ring + frameBytes
		if err := parseRecords(b[frameBytes:], f.count, func(rec record) { r.add(rec, at) }); err != nil {
			return fmt.Errorf("%s: frame at byte %d: %w", r.f.Name(), at-frameBytes, err)
		}
		pos, prev = pos+wholeBlocks(int64(len(b))), f.crc
	}
}

// next reads the frame that follows: at pos or, when it did not fit there, at the start of
// the ring. b is nil when there is none.
func (r *Replay) next(pos *int64, prev uint32) (f frame, b []byte, err error) {
	for _, at := range []int64{*pos, place(*pos, r.h.ring, r.h.ring)} {
		f, b, err = r.read(at)
		if err != nil || b != nil && f.prev == prev {
			*pos = at
			return f, b, err
		}
	}
	return f, nil, nil
}

// read reads the frame at a position; b is nil when there is none that is whole and of this
// generation and lap.
func (r *Replay) read(pos int64) (f frame, b []byte, err error) {
	at := ringStart + pos%r.h.ring
	first := make([]byte, blockBytes)
	if err := r.readAt(first, at); err != nil {
		return f, nil, err
	}
	f, ok := parseFrame(first)
	size := frameBytes + f.length
	if !ok || f.generation != r.h.generation || f.position != pos || size > min(maxFrame(r.h.ring), r.h.ring-pos%r.h.ring) {
		return f, nil, nil
	}
	b = first[:min(size, blockBytes)]
	if size > blockBytes {
		b = make([]byte, size)
		if err := r.readAt(b, at); err != nil {
			return f, nil, err
		}
	}
	if frameCRC(b) != f.crc && !fault.Planted(fault.BugWALCRCNotChecked) {
		return f, nil, nil
	}
	return f, b, nil
}

// readAt reads; what lies behind the end of the file reads as zeros.
func (r *Replay) readAt(b []byte, at int64) error {
	n, err := r.f.ReadAt(b, at)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s: %w", r.f.Name(), err)
	}
	clear(b[n:])
	return nil
}

// nothingBehind makes sure that the chain ends at its last frame. A frame is written only
// after the one before it was synced, so one that is whole and lies behind the end proves
// that what should be at the end went bad later.
func (r *Replay) nothingBehind(end int64) error {
	for pos := end; pos <= end+2*maxFrame(r.h.ring); pos += blockBytes {
		_, b, err := r.read(pos)
		if err != nil {
			return err
		}
		if b != nil {
			return fmt.Errorf("%s is damaged at byte %d, in front of frames that are whole: acknowledged records may be lost. "+
				"Restore the log dir, or move the file away to start without what it holds: %w", r.f.Name(), ringStart+end%r.h.ring, kafka.ErrCorrupt)
		}
	}
	return nil
}

// add takes one record; at is where the frame's records begin in the file.
func (r *Replay) add(rec record, at int64) {
	d := r.byID[rec.key]
	if d == nil {
		d = &Redo{f: r.f}
		r.byID[rec.key] = d
	}
	switch rec.kind {
	case kindEnd:
		d.batches, d.Start = nil, rec.offset
	case kindStart:
		d.Start = max(d.Start, rec.offset)
	case kindData:
		d.batches = append(d.batches, stored{rec.offset, at + int64(rec.at), rec.length})
	}
}

// For is what is to be replayed into a partition's log, nil for nothing. Calls of it come
// one at a time.
func (r *Replay) For(k Key) *Redo {
	if r == nil || r.byID[k] == nil {
		return nil
	}
	r.byID[k].claimed = true
	return r.byID[k]
}

// Unclaimed counts the partitions with batches for which For was not called.
func (r *Replay) Unclaimed() int {
	n := 0
	for _, d := range r.byID {
		if !d.claimed && len(d.batches) > 0 {
			n++
		}
	}
	return n
}

// Empty says that there is nothing to replay and nothing to discard.
func (r *Replay) Empty() bool { return r == nil || !r.any }

// First is the offset of the first batch, math.MaxInt64 when there is none.
func (d *Redo) First() int64 {
	if d == nil || len(d.batches) == 0 {
		return math.MaxInt64
	}
	return d.batches[0].base
}

// Each reads the batches of records in the order in which they were appended; base is the
// offset of a batch. The bytes are the callee's.
func (d *Redo) Each(f func(base int64, b []byte) error) error {
	if d == nil {
		return nil
	}
	for _, s := range d.batches {
		b := make([]byte, s.length)
		if _, err := d.f.ReadAt(b, s.at); err != nil {
			return fmt.Errorf("read %s: %w", d.f.Name(), err)
		}
		if err := f(s.base, b); err != nil {
			return err
		}
	}
	return nil
}

// Empty says that there is nothing to replay.
func (d *Redo) Empty() bool { return d == nil || len(d.batches) == 0 && d.Start == 0 }

// Discard ends the replay: what the file holds is durable in the logs' own files by now, and
// nothing of it counts any more. A crash before it has returned replays everything again.
func (r *Replay) Discard() error {
	if r == nil {
		return nil
	}
	var err error
	if r.any {
		_, err = begin(r.f, r.h)
	}
	return errors.Join(err, r.f.Close())
}

// Keep puts the file aside, durably, because a log could not take what it holds. It answers
// the new name.
func (r *Replay) Keep() (string, error) {
	name := filepath.Join(r.dir, fileName)
	kept := fmt.Sprintf("%s%s%016x", name, keptSuffix, r.h.generation)
	if err := errors.Join(r.f.Close(), r.fs.Rename(name, kept), r.fs.SyncDir(r.dir)); err != nil {
		return "", fmt.Errorf("put %s aside: %w", name, err)
	}
	return kept, nil
}

// Close lets go of the file and changes nothing.
func (r *Replay) Close() error {
	if r == nil {
		return nil
	}
	return r.f.Close()
}
