package manifest

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"

	"github.com/varve-io/varve/broker/kafka"
)

// Bits of a segment's flag byte: the fields that are rarely other than their default.
const (
	segClass      = 1 << 0
	segLocation   = 1 << 1
	segGeneration = 1 << 2
	segFormat     = 1 << 3
	segAborts     = 1 << 4
	segKnownBits  = segClass | segLocation | segGeneration | segFormat | segAborts
)

// minSegmentBytes is the shortest encoded segment: eight varints, the try and the CRC.
const minSegmentBytes = 14

// Encode writes the manifest, and reads its own writing back: a half-made or
// inconsistent manifest never reaches a bucket.
func (m *Manifest) Encode() ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	b := m.append(manifestFormat.begin(256 + 32*len(m.Segments) + 48*len(m.Pending)))
	if len(b) > maxBody {
		return nil, fmt.Errorf("manifest: %d bytes, over the limit of %d", len(b), maxBody)
	}
	b = seal(b)
	back, err := Decode(b)
	if err != nil {
		return nil, fmt.Errorf("BUG: manifest does not read back: %w", err)
	}
	if !back.Equal(m) {
		return nil, fmt.Errorf("BUG: manifest version %d reads back as something else", m.Version)
	}
	return b, nil
}

// Equal compares two manifests field by field; a nil list equals an empty one.
func (m *Manifest) Equal(o *Manifest) bool {
	return reflect.DeepEqual(m.normal(), o.normal())
}

// normal is a shallow copy with empty lists made nil.
func (m *Manifest) normal() Manifest {
	c := *m
	if len(c.Epochs) == 0 {
		c.Epochs = nil
	}
	if len(c.Segments) == 0 {
		c.Segments = nil
	}
	if len(c.Pending) == 0 {
		c.Pending = nil
	}
	if len(c.Spills) == 0 {
		c.Spills = nil
	}
	if len(c.Stores) == 0 {
		c.Stores = nil
	}
	return c
}

// append writes the body; docs/formats/manifest.md is its description.
func (m *Manifest) append(b []byte) []byte {
	b = append(b, m.ClusterID[:]...)
	b = append(b, m.TopicID[:]...)
	b = binary.AppendUvarint(b, uint64(m.Partition))
	b = binary.AppendUvarint(b, m.Version)
	b = binary.AppendUvarint(b, uint64(m.OwnerEpoch))
	b = append(b, m.Incarnation[:]...)
	b = append(b, m.Token[:]...)
	b = append(b, m.Parent[:]...)
	b = binary.AppendVarint(b, m.WrittenMs)
	b = binary.AppendUvarint(b, uint64(m.Start))
	b = binary.AppendUvarint(b, uint64(m.Next))
	b = append(b, byte(m.Copy))
	b = appendEpochs(b, m.Epochs)
	b = appendSegments(b, m.Segments)
	b = binary.AppendUvarint(b, uint64(len(m.Pending)))
	var prev Segment
	for _, p := range m.Pending {
		b = binary.AppendVarint(b, p.Base-prev.Next)
		b = p.Segment.append(b, prev)
		b = binary.AppendVarint(b, p.SinceMs)
		b = append(b, byte(p.Reason))
		prev = p.Segment
	}
	b = binary.AppendUvarint(b, uint64(len(m.Spills)))
	for _, s := range m.Spills {
		b = binary.AppendUvarint(b, uint64(s.First))
		b = binary.AppendUvarint(b, uint64(s.Next))
		b = binary.AppendUvarint(b, uint64(s.Count))
		b = binary.AppendUvarint(b, uint64(s.LogBytes))
		b = binary.AppendVarint(b, s.MaxTsMs)
		b = binary.AppendUvarint(b, uint64(s.SizeBytes))
		b = binary.BigEndian.AppendUint32(b, s.CRC32C)
	}
	b = binary.AppendUvarint(b, uint64(len(m.Stores)))
	for _, l := range m.Stores {
		b = appendBytes(b, l.Store)
		b = appendBytes(b, l.Bucket)
		b = appendBytes(b, l.Prefix)
	}
	return b
}

// Decode reads a manifest. Errors match kafka.ErrCorrupt or ErrNewer.
func Decode(b []byte) (*Manifest, error) {
	body, err := manifestFormat.open(b)
	if err != nil {
		return nil, err
	}
	r := &reader{b: body, name: manifestFormat.name}
	m := &Manifest{}
	m.ClusterID = r.uuid()
	m.TopicID = r.uuid()
	m.Partition = int32(r.small(math.MaxInt32))
	m.Version = r.uvarint()
	m.OwnerEpoch = int32(r.small(math.MaxInt32))
	m.Incarnation = r.uuid()
	m.Token = r.uuid()
	m.Parent = r.uuid()
	m.WrittenMs = r.varint()
	m.Start = r.offset()
	m.Next = r.offset()
	m.Copy = CopyState(r.byte())
	m.Epochs = r.epochs()
	m.Segments = r.segments()
	m.readTail(r)
	if err := r.done(); err != nil {
		return nil, err
	}
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", err, kafka.ErrCorrupt)
	}
	return m, nil
}

// readTail reads the lists behind the live segments.
func (m *Manifest) readTail(r *reader) {
	var prev Segment
	for n := r.count(minSegmentBytes + 2); n > 0 && r.err == nil; n-- {
		p := Pending{Segment: r.segment(prev, prev.Next+r.varint())}
		p.SinceMs = r.varint()
		p.Reason = Reason(r.byte())
		m.Pending = append(m.Pending, p)
		prev = p.Segment
	}
	for n := r.count(10); n > 0 && r.err == nil; n-- {
		m.Spills = append(m.Spills, Spill{First: r.offset(), Next: r.offset(), Count: uint32(r.small(math.MaxUint32)),
			LogBytes: r.offset(), MaxTsMs: r.varint(), SizeBytes: r.offset(), CRC32C: r.uint32()})
	}
	for n := r.count(3); n > 0 && r.err == nil; n-- {
		m.Stores = append(m.Stores, Location{Store: r.string(), Bucket: r.string(), Prefix: r.string()})
	}
}

// appendEpochs writes an epoch list as deltas.
func appendEpochs(b []byte, list []EpochEntry) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	var prev EpochEntry
	for _, e := range list {
		b = binary.AppendVarint(b, int64(e.Epoch)-int64(prev.Epoch))
		b = binary.AppendVarint(b, e.Start-prev.Start)
		prev = e
	}
	return b
}

// epochs reads what appendEpochs wrote.
func (r *reader) epochs() []EpochEntry {
	var list []EpochEntry
	var prev EpochEntry
	for n := r.count(2); n > 0 && r.err == nil; n-- {
		e := int64(prev.Epoch) + r.varint()
		if e < 0 || e > math.MaxInt32 {
			r.fail("leader epoch out of range")
			break
		}
		prev = EpochEntry{Epoch: int32(e), Start: prev.Start + r.varint()}
		list = append(list, prev)
	}
	return list
}

// appendSegments writes contiguous segments: the first base, then each as a delta of the one before.
func appendSegments(b []byte, list []Segment) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	if len(list) == 0 {
		return b
	}
	b = binary.AppendUvarint(b, uint64(list[0].Base))
	prev := Segment{Next: list[0].Base}
	for _, s := range list {
		b = s.append(b, prev)
		prev = s
	}
	return b
}

// segments reads what appendSegments wrote.
func (r *reader) segments() []Segment {
	n := r.count(minSegmentBytes)
	if n == 0 {
		return nil
	}
	prev := Segment{Next: r.offset()}
	list := make([]Segment, 0, n)
	for ; n > 0 && r.err == nil; n-- {
		prev = r.segment(prev, prev.Next)
		list = append(list, prev)
	}
	return list
}

// append writes s as a delta of prev; the base is written, or implied, by the caller.
func (s Segment) append(b []byte, prev Segment) []byte {
	b = binary.AppendUvarint(b, uint64(s.Next-s.Base))
	b = binary.AppendVarint(b, int64(s.Epoch)-int64(prev.Epoch))
	b = binary.BigEndian.AppendUint16(b, s.Try)
	b = binary.AppendUvarint(b, uint64(s.SizeBytes))
	b = binary.AppendUvarint(b, uint64(s.FooterBytes))
	b = binary.BigEndian.AppendUint32(b, s.CRC32C)
	b = binary.AppendVarint(b, s.MaxTsMs-prev.MaxTsMs)
	b = binary.AppendVarint(b, s.UploadedMs-prev.UploadedMs)
	var flags byte
	if s.Class != 0 {
		flags |= segClass
	}
	if s.Location != 0 {
		flags |= segLocation
	}
	if s.Generation != 0 {
		flags |= segGeneration
	}
	if s.FormatVersion != 1 {
		flags |= segFormat
	}
	if s.HasAborts {
		flags |= segAborts
	}
	b = append(b, flags)
	if flags&segClass != 0 {
		b = append(b, s.Class)
	}
	if flags&segLocation != 0 {
		b = binary.AppendUvarint(b, uint64(s.Location))
	}
	if flags&segGeneration != 0 {
		b = binary.AppendUvarint(b, uint64(s.Generation))
	}
	if flags&segFormat != 0 {
		b = append(b, s.FormatVersion)
	}
	return b
}

// segment reads what Segment.append wrote.
func (r *reader) segment(prev Segment, base int64) Segment {
	s := Segment{Base: base, FormatVersion: 1}
	s.Next = base + r.offset()
	if base < 0 || s.Next < base {
		r.fail("segment offsets out of range")
	}
	epoch := int64(prev.Epoch) + r.varint()
	if epoch < 0 || epoch > math.MaxInt32 {
		r.fail("segment epoch out of range")
	}
	s.Epoch = int32(epoch)
	s.Try = r.uint16()
	s.SizeBytes = r.offset()
	s.FooterBytes = r.offset()
	s.CRC32C = r.uint32()
	s.MaxTsMs = prev.MaxTsMs + r.varint()
	s.UploadedMs = prev.UploadedMs + r.varint()
	flags := r.byte()
	s.HasAborts = flags&segAborts != 0
	if flags&^segKnownBits != 0 {
		r.fail("unknown segment flags")
	}
	if flags&segClass != 0 {
		s.Class = r.byte()
	}
	if flags&segLocation != 0 {
		s.Location = uint32(r.small(math.MaxUint32))
	}
	if flags&segGeneration != 0 {
		s.Generation = uint32(r.small(math.MaxUint32))
	}
	if flags&segFormat != 0 {
		s.FormatVersion = r.byte()
	}
	return s
}

// EncodeSpill writes a range of segments as a spill object.
func EncodeSpill(list []Segment) []byte {
	return seal(appendSegments(spillFormat.begin(32*len(list)), list))
}

// DecodeSpill reads a spill object. Errors match kafka.ErrCorrupt or ErrNewer.
func DecodeSpill(b []byte) ([]Segment, error) {
	body, err := spillFormat.open(b)
	if err != nil {
		return nil, err
	}
	r := &reader{b: body, name: spillFormat.name}
	list := r.segments()
	return list, r.done()
}
