package metadata

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"slices"

	"github.com/varve-io/varve/broker/kafka"
)

// The head of a log entry: magic, format, and the CRC-32C of everything behind it.
const (
	entryMagic  = "VMEN"
	entryFormat = 1
	entryHead   = len(entryMagic) + 1 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// layout is one version of one kind of record: the lowest level of FormatFeature at which it
// may be written, and its bytes.
type layout struct {
	version uint16
	level   int16
	encode  func(w *writer, r Record)
	decode  func(r *reader) Record
}

// layouts are all versions of all kinds, oldest first. A version is never changed and never
// removed: logs and snapshots hold it for ever.
type layouts map[Kind][]layout

var known = layouts{
	KindCluster:        {{1, 1, encodeCluster, decodeCluster}},
	KindFeature:        {{1, 1, encodeFeature, decodeFeature}},
	KindRegisterBroker: {{1, 1, encodeRegisterBroker, decodeRegisterBroker}},
	KindTopic:          {{1, 1, encodeTopic, decodeTopic}},
	KindPartition:      {{1, 1, encodePartition, decodePartition}},
	KindTopicConfig:    {{1, 1, encodeTopicConfig, decodeTopicConfig}},
	KindRemoveTopic:    {{1, 1, encodeRemoveTopic, decodeRemoveTopic}},
	KindProducerIDs:    {{1, 1, encodeProducerIDs, decodeProducerIDs}},
	KindPurge:          {{1, 1, encodePurge, decodePurge}},
	KindConfig:         {{1, 1, encodeConfig, decodeConfig}},
	KindRemoveBroker:   {{1, 1, encodeRemoveBroker, decodeRemoveBroker}},
	KindScram:          {{1, 1, encodeScram, decodeScram}},
	KindRemoveScram:    {{1, 1, encodeRemoveScram, decodeRemoveScram}},
	KindClientQuota:    {{1, 1, encodeClientQuota, decodeClientQuota}},
	KindACL:            {{1, 1, encodeACL, decodeACL}},

	KindDelegationToken: {{1, 1, encodeDelegationToken, decodeDelegationToken}},
}

// EncodeEntry is the log entry that holds the records as one atomic list. Each gets the newest
// version that the level of FormatFeature allows; a kind that the level does not know is
// kafka.UnsupportedVersion.
func EncodeEntry(records []Record, level int16) ([]byte, error) { return known.encode(records, level) }

// DecodeEntry reads a log entry. Bytes that are not what was written wrap kafka.ErrCorrupt;
// a format, kind or version that a newer program wrote wraps ErrUnsupported and is named.
func DecodeEntry(b []byte) ([]Record, error) { return known.decode(b) }

func (l layouts) encode(records []Record, level int16) ([]byte, error) {
	w := &writer{b: make([]byte, entryHead, 64*len(records)+entryHead)}
	copy(w.b, entryMagic)
	w.b[len(entryMagic)] = entryFormat
	w.uvarint(uint64(len(records)))
	payload := &writer{}
	for _, r := range records {
		lay, ok := l.newest(r.Kind(), level)
		if !ok {
			return nil, fmt.Errorf("metadata record kind %d needs a level of %s above %d: %w", r.Kind(), FormatFeature, level, kafka.UnsupportedVersion)
		}
		payload.b = payload.b[:0]
		lay.encode(payload, r)
		w.uvarint(uint64(r.Kind()))
		w.uvarint(uint64(lay.version))
		w.bytes(payload.b)
	}
	binary.BigEndian.PutUint32(w.b[entryHead-4:], crc32.Checksum(w.b[entryHead:], castagnoli))
	return w.b, nil
}

// newest finds the newest version of a kind that may be written at a level.
func (l layouts) newest(k Kind, level int16) (layout, bool) {
	for _, lay := range slices.Backward(l[k]) {
		if lay.level <= level {
			return lay, true
		}
	}
	return layout{}, false
}

func (l layouts) decode(b []byte) ([]Record, error) {
	if len(b) < entryHead || string(b[:len(entryMagic)]) != entryMagic {
		return nil, fmt.Errorf("a metadata entry of %d bytes without the magic %s: %w", len(b), entryMagic, kafka.ErrCorrupt)
	}
	if f := b[len(entryMagic)]; f != entryFormat {
		return nil, fmt.Errorf("metadata entry format %d, this program knows %d: %w", f, entryFormat, ErrUnsupported)
	}
	body := b[entryHead:]
	if want, got := binary.BigEndian.Uint32(b[entryHead-4:]), crc32.Checksum(body, castagnoli); got != want {
		return nil, fmt.Errorf("a metadata entry has the checksum %08x, it should be %08x: %w", got, want, kafka.ErrCorrupt)
	}
	r := &reader{b: body}
	n := r.count(3) // kind, version and length take a byte each
	records := make([]Record, 0, n)
	for range n {
		kind, version := r.uvarint(), r.uvarint()
		payload := reader{b: r.bytes()}
		if r.err != nil {
			break
		}
		rec, err := l.record(kind, version, &payload)
		if err != nil {
			return nil, err
		}
		records = append(records, rec)
	}
	if err := r.finish(); err != nil {
		return nil, fmt.Errorf("metadata entry: %w", err)
	}
	return records, nil
}

func (l layouts) record(kind, version uint64, payload *reader) (Record, error) {
	versions := l[Kind(min(kind, math.MaxUint16))]
	if len(versions) == 0 {
		return nil, fmt.Errorf("metadata record kind %d is not known: %w", kind, ErrUnsupported)
	}
	for _, lay := range versions {
		if uint64(lay.version) == version {
			rec := lay.decode(payload)
			if err := payload.finish(); err != nil {
				return nil, fmt.Errorf("metadata record kind %d version %d: %w", kind, version, err)
			}
			return rec, nil
		}
	}
	return nil, fmt.Errorf("metadata record kind %d has version %d, this program knows up to %d: %w", kind, version, versions[len(versions)-1].version, ErrUnsupported)
}

// writer appends the primitives of the format: numbers as varints, zigzag where they can be
// negative; text and lists behind their length.
type writer struct{ b []byte }

func (w *writer) uvarint(v uint64)   { w.b = binary.AppendUvarint(w.b, v) }
func (w *writer) int(v int64)        { w.b = binary.AppendVarint(w.b, v) }
func (w *writer) id(v kafka.UUID)    { w.b = append(w.b, v[:]...) }
func (w *writer) string(s string)    { w.uvarint(uint64(len(s))); w.b = append(w.b, s...) }
func (w *writer) bytes(v []byte)     { w.uvarint(uint64(len(v))); w.b = append(w.b, v...) }
func (w *writer) ids(v []kafka.UUID) { list(w, v, w.id) }
func (w *writer) int32s(v []int32)   { list(w, v, func(n int32) { w.int(int64(n)) }) }

func (w *writer) bool(v bool) {
	if v {
		w.b = append(w.b, 1)
	} else {
		w.b = append(w.b, 0)
	}
}

func (w *writer) config(m map[string]string) {
	w.uvarint(uint64(len(m)))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		w.string(k)
		w.string(m[k])
	}
}

// floats writes numbers by name, each as the bits of a float64, big-endian.
func (w *writer) floats(m map[string]float64) {
	w.uvarint(uint64(len(m)))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		w.string(k)
		w.b = binary.BigEndian.AppendUint64(w.b, math.Float64bits(m[k]))
	}
}

func list[T any](w *writer, v []T, one func(T)) {
	w.uvarint(uint64(len(v)))
	for _, x := range v {
		one(x)
	}
}

var errMalformed = errors.New("malformed")

// reader takes primitives from the front of b. Every count is held against the bytes that
// are left before anything is allocated. After the first error everything reads as zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail() {
	r.err = fmt.Errorf("%w: %w", errMalformed, kafka.ErrCorrupt)
	r.b = nil
}

// finish reports the first error, or bytes that are left over.
func (r *reader) finish() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail()
	}
	return r.err
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int(low, high int64) int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 || v < low || v > high {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int64() int64 { return r.int(math.MinInt64, math.MaxInt64) }
func (r *reader) int32() int32 { return int32(r.int(math.MinInt32, math.MaxInt32)) }
func (r *reader) int16() int16 { return int16(r.int(math.MinInt16, math.MaxInt16)) }

// count reads the length of a list whose elements take at least elementSize bytes each.
func (r *reader) count(elementSize int) int {
	n := r.uvarint()
	if n > uint64(len(r.b)/elementSize) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.fail()
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes() []byte  { return r.take(r.count(1)) }
func (r *reader) string() string { return string(r.bytes()) }

func (r *reader) id() (id kafka.UUID) {
	copy(id[:], r.take(len(id)))
	return id
}

func (r *reader) bool() bool {
	b := r.take(1)
	if len(b) == 1 && b[0] > 1 {
		r.fail()
	}
	return r.err == nil && b[0] == 1
}

// many reads a list; nil when it is empty.
func many[T any](r *reader, elementSize int, one func() T) []T {
	n := r.count(elementSize)
	if n == 0 {
		return nil
	}
	v := make([]T, n)
	for i := range v {
		v[i] = one()
	}
	return v
}

func (r *reader) ids() []kafka.UUID { return many(r, len(kafka.UUID{}), r.id) }
func (r *reader) int32s() []int32   { return many(r, 1, r.int32) }

// config reads settings.
func (r *reader) config() map[string]string { return byName(r, r.string) }

// floats reads numbers by name.
func (r *reader) floats() map[string]float64 {
	return byName(r, func() float64 {
		if b := r.take(8); len(b) == 8 {
			return math.Float64frombits(binary.BigEndian.Uint64(b))
		}
		return 0
	})
}

// byName reads a map, whose names must ascend: there is one way to write it.
func byName[T any](r *reader, one func() T) map[string]T {
	n := r.count(2)
	if n == 0 {
		return nil
	}
	m := make(map[string]T, n)
	last := ""
	for i := range n {
		k := r.string()
		if i > 0 && k <= last {
			r.fail()
		}
		last = k
		m[k] = one()
	}
	return m
}
