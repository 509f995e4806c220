package commitlog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// Export is a closed segment with all that a reader needs elsewhere to serve it.
type Export struct {
	Info        SegmentInfo
	Log         vfs.Range // the whole file
	OffsetIndex []byte
	TimeIndex   []byte
	TxnIndex    []byte // nil when no transaction was aborted here
	// ProducerSnapshot is the state as of Info.Next: with it a log may start there.
	ProducerSnapshot []byte
	Epochs           []EpochEntry // those that began below Info.Next
}

// Release lets go of the segment's file.
func (e *Export) Release() { e.Log.Release() }

// Export prepares the closed segment at base for remote storage. In every durability mode
// the segment, its indexes, the producer snapshot behind it, the segment that follows and
// their directory entries are durable on return, so that a power cut never leaves a log
// that ends below what was exported. Every batch is read and its CRC checked. Errors wrap
// kafka.OffsetOutOfRange when there is no closed segment at base, kafka.ErrCorrupt,
// kafka.KafkaStorageError.
func (l *Log) Export(base int64) (*Export, error) {
	l.maintMu.Lock()
	defer l.maintMu.Unlock()
	if err := l.view(); err != nil {
		return nil, err
	}
	l.mu.RUnlock()
	if err := (syncer{l}).sync(syncClosed); err != nil {
		return nil, err
	}
	if err := (syncer{l}).syncDir(); err != nil {
		return nil, l.fail(err)
	}
	e, s, err := (finder{l}).export(base)
	if err != nil {
		return nil, err
	}
	if err := e.fill(l, s); err != nil {
		e.Release()
		if errors.Is(err, kafka.ErrCorrupt) {
			l.appendMu.Lock()
			defer l.appendMu.Unlock()
			err = errors.Join(err, (cutter{l}).check(base))
		}
		return nil, fmt.Errorf("export segment %d of %s: %w", base, l.opts.TP, err)
	}
	return e, nil
}

// export takes the segment's file in the critical section that finds it.
func (l finder) export(base int64) (*Export, *segment, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	i := slices.IndexFunc(l.mu.segs, func(s *segment) bool { return s.base == base })
	if i < 0 || i == len(l.mu.segs)-1 {
		return nil, nil, fmt.Errorf("log %s has no closed segment at %d: %w", l.opts.TP, base, kafka.OffsetOutOfRange)
	}
	s := l.mu.segs[i]
	e := &Export{Info: s.info(false)}
	e.Info.Next = l.mu.segs[i+1].base
	for _, ep := range l.mu.epochs.entries {
		if ep.Start < e.Info.Next {
			e.Epochs = append(e.Epochs, ep)
		}
	}
	if hole, ok := l.mu.holes.open(s.base); ok && hole.From < e.Info.Next {
		return nil, nil, l.holeError(hole)
	}
	h, err := l.opts.Files.acquire(&s.log, func() string { return s.path(logSuffix) }, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open %s: %w: %w", s.path(logSuffix), kafka.KafkaStorageError, err)
	}
	e.Log = vfs.NewRange(h.File, 0, s.size, h.ref)
	return e, s, nil
}

// fill verifies the batches and reads the small files. maintMu keeps them there.
func (e *Export) fill(l *Log, s *segment) error {
	if err := verify(e.Log.File, s); err != nil {
		return err
	}
	for _, x := range []struct {
		dst    *[]byte
		suffix string
	}{{&e.OffsetIndex, indexSuffix}, {&e.TimeIndex, timeIndexSuffix}, {&e.TxnIndex, txnIndexSuffix}} {
		b, err := vfs.ReadFile(l.opts.FS, s.path(x.suffix))
		if errors.Is(err, os.ErrNotExist) && x.suffix == txnIndexSuffix {
			continue
		}
		if err != nil {
			return fmt.Errorf("read %s: %w: %w", s.path(x.suffix), kafka.KafkaStorageError, err)
		}
		*x.dst = b
	}
	if _, err := ParseOffsetIndex(s.base, e.OffsetIndex); err != nil {
		return err
	}
	if _, err := ParseTimeIndex(s.base, e.TimeIndex); err != nil {
		return err
	}
	return e.fillSnapshot(l)
}

// verify walks a closed segment's chain of batches to its last byte.
func verify(f io.ReaderAt, s *segment) error {
	sc := newScanner(f, 0, s.size, make([]byte, recoverChunk))
	next := s.base
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
		if err == nil && h.BaseOffset < next {
			err = fmt.Errorf("batch of offset %d after %d", h.BaseOffset, next)
		}
		if err != nil {
			return corruptAt(s.path(logSuffix), sc.pos, next, err)
		}
		next = h.LastOffset() + 1
		sc.skip(h)
	}
}

// fillSnapshot reads the producer snapshot at the end of the segment, or rebuilds it,
// durably, when it is not there or torn.
func (e *Export) fillSnapshot(l *Log) error {
	path := segmentPath(l.dir, e.Info.Next, snapshotSuffix)
	b, err := vfs.ReadFile(l.opts.FS, path)
	if err == nil {
		if _, err = ParseProducerSnapshot(b); err == nil {
			e.ProducerSnapshot = b
			return nil
		}
	}
	if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, kafka.ErrCorrupt) {
		return fmt.Errorf("read %s: %w: %w", path, kafka.KafkaStorageError, err)
	}
	ld := &loader{l: l, c: l.config(), evicted: -1, snapshot: -1}
	if err := ld.list(); err != nil {
		return err
	}
	l.mu.RLock()
	ld.segs = slices.Clone(l.mu.segs)
	l.mu.RUnlock()
	ld.segs = slices.DeleteFunc(ld.segs, func(s *segment) bool { return s.base >= e.Info.Next })
	ld.scanFrom = len(ld.segs)
	from, err := ld.pickSnapshot(e.Info.Next-1, l.opts.nowMs())
	if err != nil {
		return err
	}
	for _, s := range ld.segs {
		if s.next <= from {
			continue
		}
		if err := ld.headers(s, 0, func(h batch.Header, sc *scanner) error { return ld.apply(s, h, sc, from, false, l.opts.nowMs()) }); err != nil {
			return err
		}
	}
	e.ProducerSnapshot = AppendProducerSnapshot(nil, ld.producers.snapshot())
	return vfs.WriteFileAtomic(l.opts.FS, path, e.ProducerSnapshot)
}
