package tiered

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/tracing"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/tiered/cache"
	"github.com/varve-io/varve/tiered/manifest"
)

// Read is a run of remote bytes.
type Read struct {
	// Ranges are consecutive bytes of one segment, from the batch that holds the asked
	// offset on; the last batch may be cut. The caller releases each.
	Ranges []vfs.Range
	// Aborted are the transactions known to the remote part that overlap [Base,
	// UpperBound), ascending in FirstOffset. One that was aborted above the remote part, at
	// or above Next, is in the local log's own index.
	Aborted []commitlog.AbortedTxn
	// Next is the offset behind the remote part, in the manifest that was read.
	Next int64
	// Base is the base offset of the first batch, UpperBound an offset that no record of
	// the ranges reaches.
	Base, UpperBound int64
}

// Release lets go of all ranges.
func (r Read) Release() {
	for _, x := range r.Ranges {
		x.Release()
	}
}

// place is where a batch lies in a segment.
type place struct {
	seg    manifest.Segment
	footer *footer
	pos    int64
	header batch.Header
}

// reader reads segments that a manifest names, through the cache.
type reader struct {
	m  *Manager
	id manifest.ID
}

func (p *Partition) reader() reader { return reader{p.m, p.id} }

// Read finds the batch that holds off and returns it with what follows in the same
// segment: at most maxBytes, two chunks, and, if minOne, at least the whole first batch.
// It waits for the object store when the cache does not hold the bytes. Errors:
// kafka.OffsetOutOfRange, kafka.ErrCorrupt, objstore's.
func (p *Partition) Read(ctx context.Context, off, maxBytes int64, minOne bool) (Read, error) {
	ctx, span := tracing.Start(ctx, "tier read")
	describe(span, p.tp, off)
	var r Read
	err := p.pinned(ctx, off, func(h *manifest.Manifest) (err error) {
		r, err = p.reader().read(ctx, h, off, maxBytes, minOne)
		r.Next = h.Next
		return err
	})
	span.End(err)
	if err != nil {
		return Read{}, fmt.Errorf("tier of %s: read at %d: %w", p.tp, off, readError(err))
	}
	return r, nil
}

// readError gives an error of the store a Kafka code that clients retry on.
func readError(err error) error {
	if kafka.Code(err) != kafka.UnknownServerError || errors.Is(err, kafka.ErrCorrupt) || errors.Is(err, manifest.ErrNewer) {
		return err
	}
	return fmt.Errorf("%w: %w", kafka.KafkaStorageError, err)
}

// pinned runs f on the newest manifest known, and once more on the newest there is if
// an object was gone: the manifest was older than the deletion's grace.
func (p *Partition) pinned(ctx context.Context, off int64, f func(*manifest.Manifest) error) error {
	if p.head.Load() == nil {
		if _, err := p.Load(ctx); err != nil {
			return err
		}
	}
	for again := false; ; again = true {
		h := p.Manifest()
		if h == nil || off < h.Start || off >= h.Next {
			return kafka.OffsetOutOfRange
		}
		err := f(h)
		if !errors.Is(err, objstore.ErrNotFound) || again {
			return err
		}
		if _, err := p.Load(ctx); err != nil {
			return err
		}
		if p.Manifest() == h {
			return fmt.Errorf("the newest manifest refers to a missing object: %w: %w", err, kafka.ErrCorrupt)
		}
	}
}

// read is Read on one version.
func (r reader) read(ctx context.Context, h *manifest.Manifest, off, maxBytes int64, minOne bool) (Read, error) {
	at, err := r.find(ctx, h, off)
	if err != nil {
		return Read{}, err
	}
	n := min(maxBytes, at.seg.SizeBytes-at.pos)
	if n < at.header.Size() {
		if !minOne {
			return Read{Base: at.header.BaseOffset, UpperBound: at.header.BaseOffset}, nil
		}
		n = at.header.Size()
	}
	chunk := r.m.o.ChunkBytes
	if twoChunks := (at.pos/chunk+2)*chunk - at.pos; n > twoChunks {
		n = max(twoChunks, at.header.Size())
	}
	out := Read{Base: at.header.BaseOffset, UpperBound: at.footer.upperBound(at.pos+n, at.seg.Next)}
	for pos := at.pos; pos < at.pos+n; {
		end := min((pos/chunk+1)*chunk, at.pos+n)
		rng, err := r.m.cache.Get(ctx, r.m.chunk(r.id, at.seg, at.footer, pos, end))
		if err != nil {
			out.Release()
			return Read{}, err
		}
		out.Ranges = append(out.Ranges, rng)
		pos = end
	}
	if next := (at.pos + n + chunk - 1) / chunk * chunk; next < at.seg.SizeBytes {
		r.m.cache.Prefetch(ctx, r.m.chunk(r.id, at.seg, at.footer, next, next))
	}
	r.m.metrics.readBytes.Add(float64(n))
	if out.Aborted, err = r.aborted(ctx, h, at.seg, out.Base, out.UpperBound); err != nil {
		out.Release()
		return Read{}, err
	}
	return out, nil
}

// find locates the batch that holds off, or the first one behind it when compaction has
// removed it, which may lie in a later segment.
func (r reader) find(ctx context.Context, h *manifest.Manifest, off int64) (place, error) {
	for {
		seg, ok := h.Find(off)
		if !ok {
			return place{}, kafka.OffsetOutOfRange
		}
		f, err := r.m.footer(ctx, r.id, seg)
		if err != nil {
			return place{}, err
		}
		at := place{seg: seg, footer: f, pos: f.offsets.Lookup(off).Position}
		for at.pos < seg.SizeBytes {
			if at.header, err = r.header(ctx, at); err != nil {
				return place{}, err
			}
			if at.header.LastOffset() >= off {
				return at, nil
			}
			at.pos += at.header.Size()
		}
		off = seg.Next
	}
}

// header reads the batch header at a place.
func (r reader) header(ctx context.Context, at place) (batch.Header, error) {
	var b [batch.HeaderSize]byte
	if at.pos+int64(len(b)) > at.seg.SizeBytes {
		return batch.Header{}, fmt.Errorf("segment %d ends within a batch header at %d: %w", at.seg.Base, at.pos, kafka.ErrCorrupt)
	}
	if err := r.readAt(ctx, at, b[:]); err != nil {
		return batch.Header{}, err
	}
	h, err := batch.ParseHeader(b[:])
	if err == nil && at.pos+h.Size() > at.seg.SizeBytes {
		err = fmt.Errorf("batch of %d bytes at %d in a log of %d", h.Size(), at.pos, at.seg.SizeBytes)
	}
	if err != nil {
		return h, fmt.Errorf("segment %d: %w: %w", at.seg.Base, err, kafka.ErrCorrupt)
	}
	return h, nil
}

// readAt copies the bytes at a place out of the cache.
func (r reader) readAt(ctx context.Context, at place, b []byte) error {
	for pos := at.pos; len(b) > 0; {
		end := min((pos/r.m.o.ChunkBytes+1)*r.m.o.ChunkBytes, pos+int64(len(b)))
		rng, err := r.m.cache.Get(ctx, r.m.chunk(r.id, at.seg, at.footer, pos, end))
		if err != nil {
			return err
		}
		_, err = io.ReadFull(io.NewSectionReader(rng.File, rng.Off, rng.Len), b[:end-pos])
		rng.Release()
		if err != nil {
			return err
		}
		b, pos = b[end-pos:], end
	}
	return nil
}

// chunk names the part [from, to) of the log, which lies in one chunk, and says how the
// chunk is fetched: block CRCs first, then those of the batches that lie in it whole.
func (m *Manager) chunk(id manifest.ID, s manifest.Segment, f *footer, from, to int64) cache.Request {
	i := from / m.o.ChunkBytes
	start := i * m.o.ChunkBytes
	size := min(m.o.ChunkBytes, s.SizeBytes-start)
	return cache.Request{
		Name: fmt.Sprintf("%s%08x", objectName(id, s), i), Size: size, From: from - start, To: to - start,
		Fill: func(ctx context.Context, p []byte) error {
			if err := m.fetches.wait(ctx, float64(len(p))); err != nil {
				return err
			}
			return m.getRange(ctx, id.SegmentKey(s), start, p)
		},
		Verify: func(p []byte) error {
			if err := f.CheckBlocks(start, p); err != nil {
				return err
			}
			return f.checkBatches(start, p)
		},
	}
}

// payerKey is the key of a context's payer.
type payerKey struct{}

// WithPayer has pay told of the bytes that the store sends for reads with the context: chunks,
// those that are read ahead among them, and footers. Any goroutine calls it. What is in the cache
// costs nothing, and of readers who wait for the same bytes the first one pays.
func WithPayer(ctx context.Context, pay func(bytes int64)) context.Context {
	return context.WithValue(ctx, payerKey{}, pay)
}

// getRange reads len(p) bytes of an object, for the context's payer.
func (m *Manager) getRange(ctx context.Context, key string, off int64, p []byte) error {
	_, err := m.o.Bucket.GetRange(ctx, key, off, p, "")
	if pay, ok := ctx.Value(payerKey{}).(func(int64)); ok && err == nil {
		pay(int64(len(p)))
	}
	return err
}

// objectName starts the names of an object's chunks in the cache.
func objectName(id manifest.ID, s manifest.Segment) string {
	return fmt.Sprintf("%s%020d-%08x-%04x-", partitionName(id), s.Base, uint32(s.Epoch), s.Try)
}

// partitionName starts the names of a partition's chunks in the cache.
func partitionName(id manifest.ID) string {
	return fmt.Sprintf("%s-%d-", id.TopicID.Hex(), id.Partition)
}

// aborted collects the transactions that overlap [base, upper) from this segment on. Only
// segments that hold aborts are looked at, and none once every earlier transaction had ended.
func (r reader) aborted(ctx context.Context, h *manifest.Manifest, from manifest.Segment, base, upper int64) ([]commitlog.AbortedTxn, error) {
	var out []commitlog.AbortedTxn
	for _, s := range h.Segments {
		if s.Base < from.Base || !s.HasAborts {
			continue
		}
		f, err := r.m.footer(ctx, r.id, s)
		if err != nil {
			return nil, err
		}
		for _, t := range f.txns {
			if t.LastOffset >= base && t.FirstOffset < upper {
				out = append(out, t)
			}
			if t.LastStable >= upper {
				return out, nil
			}
		}
	}
	return out, nil
}

// OffsetForTime finds the first record at or after tsMs in the remote part. Records below
// the log start do not count.
func (p *Partition) OffsetForTime(ctx context.Context, tsMs int64) (off, foundTsMs int64, epoch int32, ok bool, err error) {
	off, foundTsMs, epoch = kafka.NoOffset, kafka.NoTimestamp, kafka.NoEpoch
	if p.head.Load() == nil {
		if _, err = p.Load(ctx); err != nil {
			return off, foundTsMs, epoch, false, err
		}
	}
	h := p.Manifest()
	if h == nil || len(h.Segments) == 0 {
		return off, foundTsMs, epoch, false, nil
	}
	err = p.pinned(ctx, h.Start, func(h *manifest.Manifest) (err error) {
		off, foundTsMs, epoch, ok, err = p.reader().offsetForTime(ctx, h, tsMs)
		return err
	})
	if err != nil {
		return kafka.NoOffset, kafka.NoTimestamp, kafka.NoEpoch, false, fmt.Errorf("tier of %s: offset for time %d: %w", p.tp, tsMs, readError(err))
	}
	return off, foundTsMs, epoch, ok, nil
}

// offsetForTime is OffsetForTime on one version.
func (r reader) offsetForTime(ctx context.Context, h *manifest.Manifest, tsMs int64) (off, foundTsMs int64, epoch int32, ok bool, err error) {
	for _, s := range h.Segments {
		if s.MaxTsMs < tsMs {
			continue
		}
		f, err := r.m.footer(ctx, r.id, s)
		if err != nil {
			return 0, 0, 0, false, err
		}
		start := max(h.Start, f.times.Lookup(tsMs).Offset)
		for at := (place{seg: s, footer: f, pos: f.offsets.Lookup(start).Position}); at.pos < s.SizeBytes; at.pos += at.header.Size() {
			if at.header, err = r.header(ctx, at); err != nil {
				return 0, 0, 0, false, err
			}
			if at.header.MaxTimestampMs < tsMs || at.header.LastOffset() < start {
				continue
			}
			off, ts, ok, err := r.firstRecord(ctx, at, start, tsMs)
			if err != nil || ok {
				return off, ts, at.header.LeaderEpoch, ok, err
			}
		}
	}
	return kafka.NoOffset, kafka.NoTimestamp, kafka.NoEpoch, false, nil
}

// firstRecord looks in one batch for a record at or after both bounds.
func (r reader) firstRecord(ctx context.Context, at place, fromOffset, tsMs int64) (off, foundTsMs int64, ok bool, err error) {
	b := make([]byte, at.header.Size())
	if err := r.readAt(ctx, at, b); err != nil {
		return 0, 0, false, err
	}
	if err := batch.CheckCRC(b); err != nil {
		return 0, 0, false, fmt.Errorf("segment %d, batch at %d: %w: %w", at.seg.Base, at.pos, err, kafka.ErrCorrupt)
	}
	for rec, err := range batch.Records(b, batch.Limits{}) {
		if err != nil {
			// What the producer sent does not decode, and nobody has looked into it
			// (varve.produce.validation=header): its header has to do.
			return max(at.header.BaseOffset, fromOffset), at.header.MaxTimestampMs, true, nil
		}
		if rec.Offset >= fromOffset && rec.TimestampMs >= tsMs {
			return rec.Offset, rec.TimestampMs, true, nil
		}
	}
	return 0, 0, false, nil
}

// Tail is what a log that lost its files needs in order to go on behind the remote part.
type Tail struct {
	Next             int64
	Epochs           []commitlog.EpochEntry
	ProducerSnapshot []byte // as of Next; nil if no segment is left
}

// Tail reads the newest manifest and the state at its end: what commitlog's ResetTo and
// Adopt take.
func (p *Partition) Tail(ctx context.Context) (Tail, error) {
	v, err := p.Load(ctx)
	if err != nil {
		return Tail{}, err
	}
	t := Tail{Next: v.Next}
	h := p.Manifest()
	if h == nil || len(h.Segments) == 0 {
		return t, nil
	}
	f, err := p.m.footer(ctx, p.id, h.Segments[len(h.Segments)-1])
	if err != nil {
		return Tail{}, fmt.Errorf("tier of %s: %w", p.tp, err)
	}
	t.ProducerSnapshot = f.Producers
	for _, e := range h.Epochs {
		t.Epochs = append(t.Epochs, commitlog.EpochEntry(e))
	}
	return t, nil
}
