package tiered

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/tiered/manifest"
)

// offer is what the local log has for upload, as plain values.
type offer struct {
	segments  []commitlog.SegmentInfo
	stableEnd int64
	logEnd    int64
	nowMs     int64
	lagMs     int64 // remote.copy.lag.ms, resolved: -1 = never by age
	lagBytes  int64 // remote.copy.lag.bytes, resolved: -1 = never by size
	epochAt   func(int64) int32
}

// choose picks the segment that follows the manifest: closed, wholly below the stable
// end, and lagging enough. It also adds up all that could be uploaded now.
func (o offer) choose(h *manifest.Manifest) (pick commitlog.SegmentInfo, count int, bytes int64, err error) {
	if err := o.lineage(h); err != nil {
		return pick, 0, 0, err
	}
	behind, due := int64(0), false // bytes that follow the segment; whether the oldest is due
	for i := len(o.segments) - 1; i >= 0; i-- {
		s := o.segments[i]
		if s.Next <= h.Next || s.Next <= h.Start {
			break
		}
		if !s.Active && s.Next <= o.stableEnd && s.SizeBytes > 0 {
			pick, due = s, o.due(s, behind)
			if due {
				count++
				bytes += s.SizeBytes
			}
		}
		behind += s.SizeBytes
	}
	if !due {
		return commitlog.SegmentInfo{}, 0, 0, errNothing
	}
	return pick, count, bytes, nil
}

// due says whether a segment lags enough (KIP-1241): old enough, or followed by enough.
func (o offer) due(s commitlog.SegmentInfo, behind int64) bool {
	if o.lagMs == 0 || o.lagBytes == 0 {
		return true
	}
	ts := s.MaxTimestampMs
	if ts < 0 {
		ts = s.CreatedMs
	}
	return o.lagMs > 0 && o.nowMs-ts >= o.lagMs || o.lagBytes > 0 && behind >= o.lagBytes
}

// lineage refuses to extend a manifest whose records are not the local log's own: its
// last record must be there, of the same leader epoch. Two logs that agree on the epoch
// of an offset agree on everything below it.
func (o offer) lineage(h *manifest.Manifest) error {
	if len(h.Segments) == 0 {
		return nil
	}
	if o.logEnd < h.Next {
		return fmt.Errorf("%w: the local log ends at %d, the manifest at %d", ErrDiverged, o.logEnd, h.Next)
	}
	last := h.Next - 1
	local, remote := o.epochAt(last), h.EpochAt(last)
	if local == kafka.NoEpoch || remote == kafka.NoEpoch || local == remote {
		return nil
	}
	return fmt.Errorf("%w: offset %d is of leader epoch %d in the local log, of %d in the manifest", ErrDiverged, last, local, remote)
}

// offer takes stock of the local log.
func (p *Partition) offer() offer {
	c := p.r.Config()
	o := offer{segments: p.log.Segments(), stableEnd: p.r.StableEnd(), logEnd: p.log.End(), nowMs: p.m.o.Now().UnixMilli(),
		lagMs: c.EffectiveRemoteCopyLagMs(), lagBytes: c.EffectiveRemoteCopyLagBytes(), epochAt: p.log.EpochAt}
	if urgent := p.m.o.Urgent; urgent != nil && urgent(p.log.Dir()) {
		o.lagMs, o.lagBytes = 0, 0
	}
	return o
}

// selectSegment answers the machine's question for the next segment.
func (p *Partition) selectSegment() event {
	pick, _, _, err := p.offer().choose(p.machine.head)
	switch {
	case errors.Is(err, errNothing):
		return event{answer: absent}
	case err != nil:
		return event{answer: failed, err: err}
	}
	return event{segment: manifest.Segment{Base: pick.Base, Next: pick.Next, SizeBytes: pick.SizeBytes, MaxTsMs: pick.MaxTimestampMs}}
}

// object is a segment object on its way up: the log's bytes as they lie in the file, and
// the footer in memory.
type object struct {
	ctx    context.Context // of the upload: reads wait for the bandwidth limit
	pace   *pacer
	export *commitlog.Export
	epochs []manifest.EpochEntry
	footer []byte
	crc    uint32
}

// dropObject lets go of the local segment.
func (p *Partition) dropObject() {
	if p.object != nil {
		p.object.export.Release()
		p.object = nil
	}
}

// newObject exports a local segment and computes its footer and checksums. The segment
// comes back with what only the object knows: its sizes and its checksum.
func (p *Partition) newObject(ctx context.Context, s manifest.Segment) (*object, manifest.Segment, error) {
	e, err := p.log.Export(s.Base)
	if err != nil {
		return nil, manifest.Segment{}, err
	}
	o := &object{ctx: ctx, pace: p.m.copies, export: e}
	f := &manifest.Footer{ID: p.id, Base: s.Base, Next: s.Next, Epoch: s.Epoch, Try: s.Try, LogBytes: e.Log.Len, MaxTsMs: e.Info.MaxTimestampMs,
		OffsetIndex: e.OffsetIndex, TimeIndex: e.TimeIndex, TxnIndex: e.TxnIndex, Producers: e.ProducerSnapshot, Epochs: epochEntries(e.Epochs)}
	err = o.seal(f)
	if err == nil && (e.Info.Next != s.Next || e.Log.Len != s.SizeBytes) {
		err = fmt.Errorf("local segment %d changed while it was chosen: [%d, %d), %d bytes", s.Base, e.Info.Base, e.Info.Next, e.Log.Len)
	}
	if err != nil {
		e.Release()
		return nil, manifest.Segment{}, err
	}
	s.FooterBytes, s.CRC32C, s.MaxTsMs = int64(len(o.footer)), o.crc, e.Info.MaxTimestampMs
	s.UploadedMs, s.HasAborts = p.m.o.Now().UnixMilli(), len(e.TxnIndex) > 0
	o.epochs = f.Epochs
	return o, s, nil
}

// seal reads the log once, block by block, for the footer's CRCs and the object's.
func (o *object) seal(f *manifest.Footer) error {
	buf := make([]byte, min(f.LogBytes, manifest.BlockBytes))
	for off := int64(0); off < f.LogBytes; off += manifest.BlockBytes {
		block := buf[:min(f.LogBytes-off, manifest.BlockBytes)]
		if _, err := io.ReadFull(io.NewSectionReader(o.export.Log.File, o.export.Log.Off+off, int64(len(block))), block); err != nil {
			return fmt.Errorf("read local segment %d at %d: %w", f.Base, off, err)
		}
		f.Blocks = append(f.Blocks, crc32.Checksum(block, objstore.Castagnoli))
		o.crc = crc32.Update(o.crc, objstore.Castagnoli, block)
	}
	var err error
	if o.footer, err = f.Encode(); err != nil {
		return err
	}
	o.crc = crc32.Update(o.crc, objstore.Castagnoli, o.footer)
	return nil
}

// source is the object as an upload takes it. It can be read again, in any order.
func (o *object) source() objstore.Source {
	return objstore.Source{R: o, Size: o.export.Log.Len + int64(len(o.footer)), CRC32C: o.crc, HasCRC: true}
}

// ReadAt reads log bytes from the file and footer bytes from memory.
func (o *object) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	size := o.export.Log.Len
	if off < size {
		part := p[:min(int64(len(p)), size-off)]
		if err := o.pace.wait(o.ctx, float64(len(part))); err != nil {
			return 0, err
		}
		var err error
		if n, err = o.export.Log.File.ReadAt(part, o.export.Log.Off+off); n < len(part) {
			return n, errors.Join(err, io.ErrUnexpectedEOF)
		}
	}
	if n < len(p) {
		at := off + int64(n) - size
		if at >= int64(len(o.footer)) {
			return n, io.EOF
		}
		n += copy(p[n:], o.footer[at:])
		if n < len(p) {
			return n, io.EOF
		}
	}
	return n, nil
}
