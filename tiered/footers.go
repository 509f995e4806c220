package tiered

import (
	"container/list"
	"context"
	"fmt"
	"sort"
	"sync"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/tracing"
	"github.com/varve-io/varve/tiered/cache"
	"github.com/varve-io/varve/tiered/manifest"
)

// footerCacheBytes is the memory that decoded footers may take. Their bytes are on the
// cache's disk as well.
const footerCacheBytes = 16 << 20

// footer is a decoded footer with its indexes ready for lookups.
type footer struct {
	*manifest.Footer
	offsets commitlog.OffsetIndex
	times   commitlog.TimeIndex
	txns    []commitlog.AbortedTxn
	size    int64
}

// newFooter decodes and checks the footer of s.
func newFooter(id manifest.ID, s manifest.Segment, b []byte) (*footer, error) {
	raw, err := manifest.DecodeFooter(b)
	if err != nil {
		return nil, err
	}
	if err := raw.Describes(id, s); err != nil {
		return nil, err
	}
	f := &footer{Footer: raw, size: int64(len(b))}
	if f.offsets, err = commitlog.ParseOffsetIndex(s.Base, raw.OffsetIndex); err != nil {
		return nil, err
	}
	if f.times, err = commitlog.ParseTimeIndex(s.Base, raw.TimeIndex); err != nil {
		return nil, err
	}
	if f.txns, err = commitlog.ParseTxnIndex(s.Base, raw.TxnIndex); err != nil {
		return nil, err
	}
	return f, nil
}

// upperBound is an offset that no record below byte end reaches: the last offset of the
// first indexed batch that starts there or later.
func (f *footer) upperBound(end, next int64) int64 {
	i := sort.Search(f.offsets.Len(), func(i int) bool { return f.offsets.Entry(i).Position >= end })
	if i == f.offsets.Len() {
		return next
	}
	return f.offsets.Entry(i).Offset
}

// checkBatches verifies the CRC of each batch that lies whole in log bytes p at start,
// from the first batch whose place is known.
func (f *footer) checkBatches(start int64, p []byte) error {
	pos := int64(-1)
	if start == 0 {
		pos = 0
	}
	for i := 0; i < f.offsets.Len() && pos < 0; i++ {
		if at := f.offsets.Entry(i).Position; at >= start {
			pos = at - start
		}
	}
	for pos >= 0 && pos+batch.HeaderSize <= int64(len(p)) {
		h, err := batch.ParseHeader(p[pos:])
		if err != nil {
			return fmt.Errorf("segment %d at %d: %w: %w", f.Base, start+pos, err, kafka.ErrCorrupt)
		}
		if pos+h.Size() > int64(len(p)) {
			break
		}
		if err := batch.CheckCRC(p[pos : pos+h.Size()]); err != nil {
			return fmt.Errorf("segment %d at %d: %w: %w", f.Base, start+pos, err, kafka.ErrCorrupt)
		}
		pos += h.Size()
	}
	return nil
}

// footerKey names a footer.
type footerKey struct {
	id    manifest.ID
	base  int64
	epoch int32
	try   uint16
}

func keyOf(id manifest.ID, s manifest.Segment) footerKey {
	return footerKey{id, s.Base, s.Epoch, s.Try}
}

// footers keeps decoded footers in memory, least recently used out.
type footers struct {
	max int64

	mu struct {
		sync.Mutex
		bytes int64
		byKey map[footerKey]*list.Element // of footerEntry
		order *list.List                  // most recently used in front
	}
}

// footerEntry is one footer in the list.
type footerEntry struct {
	key footerKey
	f   *footer
}

func newFooters(maxBytes int64) *footers {
	c := &footers{max: maxBytes}
	c.mu.byKey, c.mu.order = map[footerKey]*list.Element{}, list.New()
	return c
}

// get is a footer in memory.
func (c *footers) get(k footerKey) *footer {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.mu.byKey[k]
	if el == nil {
		return nil
	}
	c.mu.order.MoveToFront(el)
	return el.Value.(footerEntry).f
}

// put keeps a footer.
func (c *footers) put(k footerKey, f *footer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.byKey[k] != nil {
		return
	}
	c.mu.byKey[k] = c.mu.order.PushFront(footerEntry{k, f})
	c.mu.bytes += f.size
	for c.mu.bytes > c.max && c.mu.order.Len() > 1 {
		c.removeLocked(c.mu.order.Back())
	}
}

// drop forgets a footer.
func (c *footers) drop(k footerKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.mu.byKey[k]; el != nil {
		c.removeLocked(el)
	}
}

func (c *footers) removeLocked(el *list.Element) {
	e := c.mu.order.Remove(el).(footerEntry)
	delete(c.mu.byKey, e.key)
	c.mu.bytes -= e.f.size
}

// footer is the footer of a segment: from memory, from the cache's disk, or by one ranged
// read of the object.
func (m *Manager) footer(ctx context.Context, id manifest.ID, s manifest.Segment) (*footer, error) {
	k := keyOf(id, s)
	if f := m.footers.get(k); f != nil {
		return f, nil
	}
	ctx, span := tracing.Start(ctx, "tier index")
	span.Int("messaging.kafka.offset", s.Base)
	rng, err := m.cache.Get(ctx, cache.Request{
		Name: objectName(id, s) + "footer", Size: s.FooterBytes, To: s.FooterBytes,
		Fill: func(ctx context.Context, p []byte) error {
			return m.getRange(ctx, id.SegmentKey(s), s.SizeBytes, p)
		},
		Verify: func(p []byte) error {
			_, err := newFooter(id, s, p)
			return err
		},
	})
	span.End(err)
	if err != nil {
		return nil, err
	}
	defer rng.Release()
	b, err := rng.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("segment %d: footer: %w", s.Base, err)
	}
	f, err := newFooter(id, s, b)
	if err != nil {
		return nil, err
	}
	m.footers.put(k, f)
	return f, nil
}
