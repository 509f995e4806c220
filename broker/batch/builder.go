package batch

import (
	"encoding/binary"
	"fmt"

	"github.com/varve-io/varve/broker/kafka"
)

// Builder builds one batch: for tests, tools and internal topics. The zero value builds an
// uncompressed batch at offset 0 without producer. It belongs to one goroutine.
type Builder struct {
	Codec       Codec
	Level       int // of the codec; 0 is its default
	BaseOffset  int64
	LeaderEpoch int32
	// BaseTimestampMs is what record times are stored against; 0 takes the first record's.
	BaseTimestampMs int64
	// ProducerID is the idempotent producer; 0 stands for none. Epoch and sequence count only beside it.
	ProducerID    int64
	ProducerEpoch int16
	BaseSequence  int32
	Attributes    Attributes // flags; the codec's bits come from Codec

	payload []byte
	body    []byte
	count   int32
	maxMs   int64
}

// Append adds a record; a nil key or value is null.
func (b *Builder) Append(key, value []byte, headers []RecordHeader, timestampMs int64) {
	if b.count == 0 {
		b.maxMs = timestampMs
		if b.BaseTimestampMs == 0 {
			b.BaseTimestampMs = timestampMs
		}
	}
	b.maxMs = max(b.maxMs, timestampMs)
	body := append(b.body[:0], 0) // attributes
	body = binary.AppendVarint(body, timestampMs-b.BaseTimestampMs)
	body = binary.AppendVarint(body, int64(b.count))
	body = appendField(body, key)
	body = appendField(body, value)
	body = binary.AppendVarint(body, int64(len(headers)))
	for _, h := range headers {
		body = binary.AppendVarint(body, int64(len(h.Key)))
		body = append(body, h.Key...)
		body = appendField(body, h.Value)
	}
	b.body = body
	b.payload = binary.AppendVarint(b.payload, int64(len(body)))
	b.payload = append(b.payload, body...)
	b.count++
}

func appendField(dst, f []byte) []byte {
	if f == nil {
		return binary.AppendVarint(dst, -1)
	}
	dst = binary.AppendVarint(dst, int64(len(f)))
	return append(dst, f...)
}

// Count is how many records were appended.
func (b *Builder) Count() int32 { return b.count }

// Bytes returns the batch in memory of its own. It panics when there is no record, or when
// the batch passes the 2 GiB that its length field can say.
func (b *Builder) Bytes() []byte {
	if b.count == 0 {
		panic("BUG: batch.Builder without a record")
	}
	h := Header{
		BaseOffset: b.BaseOffset, LeaderEpoch: b.LeaderEpoch, Magic: Magic,
		Attributes: b.Attributes &^ CodecMask, LastOffsetDelta: b.count - 1,
		BaseTimestampMs: b.BaseTimestampMs, MaxTimestampMs: b.maxMs,
		ProducerID: kafka.NoProducerID, ProducerEpoch: -1, BaseSequence: -1, Count: b.count,
	}
	if b.ProducerID != 0 || b.Attributes&(Transactional|Control) == Transactional { // the first id of all is 0
		h.ProducerID, h.ProducerEpoch, h.BaseSequence = b.ProducerID, b.ProducerEpoch, b.BaseSequence
	}
	out, err := seal(nil, h, b.Codec, b.Level, b.payload)
	if err != nil {
		panic(fmt.Sprintf("BUG: batch.Builder: %v", err))
	}
	return out
}

// ControlKind is what a control record says.
type ControlKind int16

// The control records of transactions (KIP-98).
const (
	Abort  ControlKind = 0
	Commit ControlKind = 1
)

// ControlBatch is the marker that ends a transaction in a partition.
func ControlBatch(kind ControlKind, coordinatorEpoch int32, producerID int64, producerEpoch int16, nowMs int64) []byte {
	key := binary.BigEndian.AppendUint16(nil, 0) // version
	key = binary.BigEndian.AppendUint16(key, uint16(kind))
	value := binary.BigEndian.AppendUint16(nil, 0) // version
	value = binary.BigEndian.AppendUint32(value, uint32(coordinatorEpoch))
	b := Builder{Attributes: Transactional | Control}
	b.Append(key, value, nil, nowMs)
	out := b.Bytes()
	h, err := ParseHeader(out)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	h.ProducerID, h.ProducerEpoch = producerID, producerEpoch // a marker has no sequence
	h.put(out)
	binary.BigEndian.PutUint32(out[offCRC:], Checksum(out))
	return out
}

// ParseControl reads a record of a control batch. The coordinator's epoch is there for the
// transaction markers only, otherwise 0. Errors wrap kafka.CorruptMessage.
func ParseControl(r Record) (kind ControlKind, coordinatorEpoch int32, err error) {
	if len(r.Key) < 4 {
		return 0, 0, fmt.Errorf("control record key of %d bytes: %w", len(r.Key), kafka.CorruptMessage)
	}
	kind = ControlKind(binary.BigEndian.Uint16(r.Key[2:]))
	if kind != Abort && kind != Commit {
		return kind, 0, nil
	}
	if len(r.Value) < 6 {
		return kind, 0, fmt.Errorf("transaction marker of %d bytes: %w", len(r.Value), kafka.CorruptMessage)
	}
	return kind, int32(binary.BigEndian.Uint32(r.Value[2:])), nil
}
