package tiered

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/fault"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/tracing"
	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/tiered/manifest"
)

// maxManifestBytes bounds a manifest before it is read.
const maxManifestBytes = 256 << 20

// remote is a partition's objects in the bucket.
type remote struct {
	m  *Manager
	id manifest.ID
	tp kafka.TopicPartition
}

func (p *Partition) remote() remote { return remote{p.m, p.id, p.tp} }

// exec does what the machine asked for and answers it.
func (p *Partition) exec(ctx context.Context, c command) event {
	ev := p.execOp(ctx, c)
	if ev.answer == failed {
		p.m.metrics.failed(ev.err)
	}
	return ev
}

// execOp is exec without the bookkeeping.
func (p *Partition) execOp(ctx context.Context, c command) event {
	switch c.op {
	case opSelect:
		return p.selectSegment()
	case opPutSegment:
		return p.putSegment(ctx, c.segment)
	case opVerifySegment:
		return p.verifySegment(ctx, c.segment)
	}
	ctx, cancel := p.m.request(ctx)
	defer cancel()
	switch c.op {
	case opListManifests:
		return p.remote().listManifests(ctx)
	case opGetManifest:
		return p.remote().getManifest(ctx, c.version, objstore.Version(c.tag))
	case opPutManifest:
		return p.remote().putManifest(ctx, c.manifest)
	case opHeadManifest:
		a, err := p.m.o.Bucket.Head(ctx, p.id.ManifestKey(c.version))
		return event{answer: answerOf(err), err: err, token: parseToken(a.Meta[objstore.TokenMeta])}
	case opDeleteManifest:
		return failedIf(p.m.o.Bucket.Delete(ctx, p.id.ManifestKey(c.version)))
	case opHeadSegment:
		_, err := p.m.o.Bucket.Head(ctx, p.id.SegmentKey(c.segment))
		return event{answer: answerOf(err), err: err}
	case opDeleteSegments:
		return p.remote().deleteSegments(ctx, c.segments)
	case opListSegments:
		return p.remote().listSegments(ctx)
	}
	panic(fmt.Sprintf("BUG: unknown op %d", c.op))
}

// answerOf turns a store's error into an answer.
func answerOf(err error) answer {
	switch {
	case err == nil:
		return ok
	case errors.Is(err, objstore.ErrNotFound):
		return absent
	case errors.Is(err, objstore.ErrPrecondition):
		return taken
	}
	return failed
}

// failedIf answers ok or failed.
func failedIf(err error) event {
	if err != nil {
		return event{answer: failed, err: err}
	}
	return event{}
}

// parseToken reads a write token; one that is none of ours comes back as zero.
func parseToken(s string) kafka.UUID {
	u, _ := kafka.ParseUUID(s)
	return u
}

// listManifests lists every version.
func (r remote) listManifests(ctx context.Context) event {
	var ev event
	prefix := r.id.ManifestPrefix()
	for a, err := range objstore.All(ctx, r.m.o.Bucket, prefix, "") {
		if err != nil {
			return event{answer: failed, err: err}
		}
		if v, ok := manifest.ParseVersion(prefix, a.Key); ok {
			ev.listed = append(ev.listed, listed{version: v, tag: string(a.Version), modifiedMs: a.Modified.UnixMilli()})
		}
	}
	return ev
}

// getManifest reads a version; another generation than the one asked for counts as absent.
func (r remote) getManifest(ctx context.Context, version uint64, ifv objstore.Version) event {
	m, err := getManifest(ctx, r.m.o.Bucket, r.id, version, ifv)
	if err != nil {
		a := answerOf(err)
		if a == taken {
			a = absent
		}
		return event{answer: a, err: err}
	}
	return event{manifest: m, token: m.Token}
}

// getManifest reads and checks one version. Errors: objstore's, kafka.ErrCorrupt, manifest.ErrNewer.
func getManifest(ctx context.Context, b objstore.Bucket, id manifest.ID, version uint64, ifv objstore.Version) (*manifest.Manifest, error) {
	key := id.ManifestKey(version)
	r, a, err := b.Open(ctx, key, 0, -1, ifv)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if a.Size > maxManifestBytes {
		return nil, fmt.Errorf("%s: %d bytes: %w", key, a.Size, kafka.ErrCorrupt)
	}
	raw := make([]byte, a.Size)
	if _, err := io.ReadFull(r, raw); err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	m, err := manifest.Decode(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	if m.ID != id || m.Version != version {
		return nil, fmt.Errorf("%s holds version %d of %s-%d: %w", key, m.Version, m.TopicID, m.Partition, kafka.ErrCorrupt)
	}
	if len(m.Spills) > 0 {
		return nil, fmt.Errorf("%s has spilled segment ranges: %w", key, manifest.ErrNewer)
	}
	return m, nil
}

// putManifest creates a version.
func (r remote) putManifest(ctx context.Context, m *manifest.Manifest) event {
	raw, err := m.Encode()
	if err != nil {
		return event{answer: failed, err: err}
	}
	_, err = r.m.o.Bucket.Put(ctx, r.id.ManifestKey(m.Version), objstore.Bytes(raw),
		objstore.PutOpts{IfAbsent: true, Meta: map[string]string{objstore.TokenMeta: m.Token.String()}})
	return event{answer: answerOf(err), err: err}
}

// putSegment exports the local segment and uploads it.
func (p *Partition) putSegment(ctx context.Context, s manifest.Segment) (ev event) {
	p.dropObject()
	ctx, cancel := context.WithTimeout(ctx, p.m.o.UploadTimeout)
	defer cancel()
	o, s, err := p.newObject(ctx, s)
	if err != nil {
		return event{answer: failed, err: err}
	}
	p.object = o
	ctx, span := tracing.Start(ctx, "tier upload")
	defer func() { span.End(ev.err) }()
	span.Int("messaging.kafka.offset", s.Base)
	span.Int("varve.segment.size", s.ObjectBytes())
	_, err = p.m.o.Bucket.Put(ctx, p.id.SegmentKey(s), o.source(), objstore.PutOpts{})
	if err == nil {
		err = fault.Err("tier.after-put")
	}
	if err != nil {
		return event{answer: failed, err: err, segment: s, epochs: o.epochs}
	}
	p.m.metrics.uploadedBytes.Add(float64(s.ObjectBytes()))
	return event{segment: s, epochs: o.epochs}
}

// verifySegment asks the store for size and checksum and reads the footer back. A store
// that keeps no checksum has the whole object read back instead.
func (p *Partition) verifySegment(ctx context.Context, s manifest.Segment) event {
	ctx, cancel := context.WithTimeout(ctx, p.m.o.UploadTimeout)
	defer cancel()
	key := p.id.SegmentKey(s)
	a, err := p.m.o.Bucket.Head(ctx, key)
	if err != nil {
		return event{answer: answerOf(err), err: err}
	}
	if a.Size != s.ObjectBytes() || a.HasCRC && a.CRC32C != s.CRC32C {
		return event{answer: differs, err: fmt.Errorf("%s: %d bytes, CRC %08x; want %d bytes, CRC %08x: %w", key, a.Size, a.CRC32C, s.ObjectBytes(), s.CRC32C, kafka.ErrCorrupt)}
	}
	footer := make([]byte, s.FooterBytes)
	if _, err := p.m.o.Bucket.GetRange(ctx, key, s.SizeBytes, footer, ""); err != nil {
		return event{answer: failed, err: err}
	}
	if p.object != nil && !bytes.Equal(footer, p.object.footer) {
		return event{answer: differs, err: fmt.Errorf("%s: the footer reads back as something else: %w", key, kafka.ErrCorrupt)}
	}
	if !a.HasCRC {
		if err := p.remote().readBack(ctx, key, s); errors.Is(err, kafka.ErrCorrupt) {
			return event{answer: differs, err: err}
		} else if err != nil {
			return event{answer: failed, err: err}
		}
	}
	if err := fault.Err("tier.after-verify"); err != nil {
		return event{answer: failed, err: err}
	}
	return event{}
}

// readBack computes the checksum of an object from its bytes.
func (r remote) readBack(ctx context.Context, key string, s manifest.Segment) error {
	body, _, err := r.m.o.Bucket.Open(ctx, key, 0, -1, "")
	if err != nil {
		return err
	}
	defer body.Close()
	h := crc32.New(objstore.Castagnoli)
	if _, err := io.Copy(h, body); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	if h.Sum32() != s.CRC32C {
		return fmt.Errorf("%s: reads back with CRC %08x, want %08x: %w", key, h.Sum32(), s.CRC32C, kafka.ErrCorrupt)
	}
	return nil
}

// deleteSegments deletes objects and answers those that are gone, key by key.
func (r remote) deleteSegments(ctx context.Context, list []manifest.Segment) event {
	if err := fault.Err("tier.delete"); err != nil {
		return event{answer: failed, err: err}
	}
	keys := make([]string, len(list))
	for i, s := range list {
		keys[i] = r.id.SegmentKey(s)
	}
	ev := event{segments: list}
	if err := r.m.o.Bucket.Delete(ctx, keys...); err != nil {
		ev = event{answer: failed, err: err}
		var batch *objstore.BatchError
		if errors.As(err, &batch) {
			for i, s := range list {
				if batch.Key(keys[i]) == nil {
					ev.segments = append(ev.segments, s)
				}
			}
		}
	}
	for _, s := range ev.segments {
		r.m.footers.drop(keyOf(r.id, s))
		r.m.cache.DropPrefix(objectName(r.id, s))
	}
	r.m.metrics.deleted.Add(float64(len(ev.segments)))
	if f := r.m.o.Events.Deleted; f != nil && len(ev.segments) > 0 {
		f(r.tp, len(ev.segments))
	}
	return ev
}

// listSegments lists every segment object.
func (r remote) listSegments(ctx context.Context) event {
	var ev event
	for a, err := range objstore.All(ctx, r.m.o.Bucket, r.id.SegmentPrefix(), "") {
		if err != nil {
			return event{answer: failed, err: err}
		}
		if s, ok := r.id.ParseSegmentKey(a.Key); ok {
			ev.listed = append(ev.listed, listed{segment: s, modifiedMs: a.Modified.UnixMilli()})
		}
	}
	return ev
}

// epochEntries are the log's epochs in the manifest's type.
func epochEntries(list []commitlog.EpochEntry) []manifest.EpochEntry {
	out := make([]manifest.EpochEntry, len(list))
	for i, e := range list {
		out[i] = manifest.EpochEntry(e)
	}
	return out
}
