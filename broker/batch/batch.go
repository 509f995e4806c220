// Package batch knows Kafka's RecordBatch, magic 2: its header, its checksum, its
// records and the four ways to compress them.
//
// It owns parsing, the validation of what a producer sent, building, and bounded
// decompression; it is the one door to the compression libraries. It does not assign
// offsets, keeps no producer state, and does not know files or sockets.
// All functions may be called from any goroutine; a Builder belongs to one.
// The format is Kafka's (KIP-98, "Record Batch" in the protocol guide), no page of our own.
package batch

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/varve-io/varve/broker/kafka"
)

// HeaderSize is the size in bytes of a batch without its records.
const HeaderSize = 61

// Magic is the only format version that is stored.
const Magic int8 = 2

// Where the header's fields lie. Length counts the bytes after itself; the checksum
// covers everything from the attributes on, so base offset and leader epoch can be
// assigned without touching it.
const (
	offBaseOffset      = 0
	offLength          = 8
	offLeaderEpoch     = 12
	offMagic           = 16
	offCRC             = 17
	offAttributes      = 21
	offLastOffsetDelta = 23
	offBaseTimestamp   = 27
	offMaxTimestamp    = 35
	offProducerID      = 43
	offProducerEpoch   = 51
	offBaseSequence    = 53
	offCount           = 57

	lengthOverhead = 12 // base offset and length, which Length does not count
)

// Attributes are the header's flag bits.
type Attributes int16

// The bits of Attributes: the codec in the lowest three, then one flag each.
const (
	CodecMask     Attributes = 0x07
	LogAppendTime Attributes = 0x08
	Transactional Attributes = 0x10
	Control       Attributes = 0x20
	// DeleteHorizon says that the base timestamp is a delete horizon (KIP-534).
	DeleteHorizon Attributes = 0x40

	known = CodecMask | LogAppendTime | Transactional | Control | DeleteHorizon
)

// Header is the fixed part of a batch.
type Header struct {
	BaseOffset      int64
	Length          int32 // bytes that follow the length field
	LeaderEpoch     int32
	Magic           int8
	CRC             uint32 // CRC-32C of the bytes from the attributes on
	Attributes      Attributes
	LastOffsetDelta int32
	BaseTimestampMs int64
	MaxTimestampMs  int64
	ProducerID      int64
	ProducerEpoch   int16
	BaseSequence    int32
	Count           int32
}

// ParseHeader reads the header at the start of b. It checks bounds and magic only, not
// the checksum: b must hold a whole header, and the batch that it announces must not be
// smaller than that; b may hold less or more than the batch. Errors wrap kafka.CorruptMessage.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, fmt.Errorf("%d bytes are too few for a batch header of %d: %w", len(b), HeaderSize, kafka.CorruptMessage)
	}
	h := Header{
		BaseOffset:      int64(binary.BigEndian.Uint64(b[offBaseOffset:])),
		Length:          int32(binary.BigEndian.Uint32(b[offLength:])),
		LeaderEpoch:     int32(binary.BigEndian.Uint32(b[offLeaderEpoch:])),
		Magic:           int8(b[offMagic]),
		CRC:             binary.BigEndian.Uint32(b[offCRC:]),
		Attributes:      Attributes(binary.BigEndian.Uint16(b[offAttributes:])),
		LastOffsetDelta: int32(binary.BigEndian.Uint32(b[offLastOffsetDelta:])),
		BaseTimestampMs: int64(binary.BigEndian.Uint64(b[offBaseTimestamp:])),
		MaxTimestampMs:  int64(binary.BigEndian.Uint64(b[offMaxTimestamp:])),
		ProducerID:      int64(binary.BigEndian.Uint64(b[offProducerID:])),
		ProducerEpoch:   int16(binary.BigEndian.Uint16(b[offProducerEpoch:])),
		BaseSequence:    int32(binary.BigEndian.Uint32(b[offBaseSequence:])),
		Count:           int32(binary.BigEndian.Uint32(b[offCount:])),
	}
	if h.Magic != Magic {
		return h, fmt.Errorf("batch magic is %d, want %d: %w", h.Magic, Magic, kafka.CorruptMessage)
	}
	if h.Length < HeaderSize-lengthOverhead {
		return h, fmt.Errorf("batch length %d is smaller than a header: %w", h.Length, kafka.CorruptMessage)
	}
	return h, nil
}

// put writes the header to the start of b, which has room for it.
func (h Header) put(b []byte) {
	binary.BigEndian.PutUint64(b[offBaseOffset:], uint64(h.BaseOffset))
	binary.BigEndian.PutUint32(b[offLength:], uint32(h.Length))
	binary.BigEndian.PutUint32(b[offLeaderEpoch:], uint32(h.LeaderEpoch))
	b[offMagic] = byte(h.Magic)
	binary.BigEndian.PutUint32(b[offCRC:], h.CRC)
	binary.BigEndian.PutUint16(b[offAttributes:], uint16(h.Attributes))
	binary.BigEndian.PutUint32(b[offLastOffsetDelta:], uint32(h.LastOffsetDelta))
	binary.BigEndian.PutUint64(b[offBaseTimestamp:], uint64(h.BaseTimestampMs))
	binary.BigEndian.PutUint64(b[offMaxTimestamp:], uint64(h.MaxTimestampMs))
	binary.BigEndian.PutUint64(b[offProducerID:], uint64(h.ProducerID))
	binary.BigEndian.PutUint16(b[offProducerEpoch:], uint16(h.ProducerEpoch))
	binary.BigEndian.PutUint32(b[offBaseSequence:], uint32(h.BaseSequence))
	binary.BigEndian.PutUint32(b[offCount:], uint32(h.Count))
}

// Size is the size in bytes of the whole batch.
func (h Header) Size() int64 { return lengthOverhead + int64(h.Length) }

// LastOffset is the offset of the last record, or the one it had before compaction.
func (h Header) LastOffset() int64 { return h.BaseOffset + int64(h.LastOffsetDelta) }

// LastSequence is the sequence number of the last record, -1 when there is none.
// Sequences wrap from 2^31-1 to 0.
func (h Header) LastSequence() int32 {
	if h.BaseSequence < 0 {
		return -1
	}
	return int32((int64(h.BaseSequence) + int64(h.LastOffsetDelta)) & 0x7fffffff)
}

// Codec is how the records are compressed.
func (h Header) Codec() Codec { return Codec(h.Attributes & CodecMask) }

// IsTransactional says whether the batch belongs to a transaction.
func (h Header) IsTransactional() bool { return h.Attributes&Transactional != 0 }

// IsControl says whether the batch holds control records, which no consumer sees.
func (h Header) IsControl() bool { return h.Attributes&Control != 0 }

// IsLogAppendTime says whether every record has MaxTimestampMs as its time.
func (h Header) IsLogAppendTime() bool { return h.Attributes&LogAppendTime != 0 }

// HasProducerID says whether an idempotent or transactional producer wrote the batch.
func (h Header) HasProducerID() bool { return h.ProducerID > kafka.NoProducerID }

// castagnoli is the polynomial of CRC-32C; the standard library uses the CPU's instruction for it.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum is the CRC-32C that the header of the batch b should hold; b has at least HeaderSize bytes.
func Checksum(b []byte) uint32 { return crc32.Checksum(b[offAttributes:], castagnoli) }

// CheckCRC checks the checksum of b, which is exactly one batch. Errors wrap kafka.CorruptMessage.
func CheckCRC(b []byte) error {
	h, err := ParseHeader(b)
	if err != nil {
		return err
	}
	if h.Size() != int64(len(b)) {
		return fmt.Errorf("batch of %d bytes in %d bytes: %w", h.Size(), len(b), kafka.CorruptMessage)
	}
	return h.checkCRC(b)
}

func (h Header) checkCRC(b []byte) error {
	if got := Checksum(b); got != h.CRC {
		return fmt.Errorf("batch checksum is %08x, its header says %08x: %w", got, h.CRC, kafka.CorruptMessage)
	}
	return nil
}

// SetBaseOffset rewrites the base offset, which the checksum does not cover.
func SetBaseOffset(b []byte, off int64) {
	binary.BigEndian.PutUint64(b[offBaseOffset:], uint64(off))
}

// SetLeaderEpoch rewrites the partition leader epoch, which the checksum does not cover.
func SetLeaderEpoch(b []byte, e int32) {
	binary.BigEndian.PutUint32(b[offLeaderEpoch:], uint32(e))
}

// SetAppendTime gives every record of b, which is exactly one batch, the time ms: it sets
// the LogAppendTime bit and the maximum timestamp, and computes the checksum anew. Bits
// that have no meaning are cleared, as in Kafka.
func SetAppendTime(b []byte, ms int64) {
	attrs := Attributes(binary.BigEndian.Uint16(b[offAttributes:]))&known | LogAppendTime
	binary.BigEndian.PutUint16(b[offAttributes:], uint16(attrs))
	setMaxTimestamp(b, ms)
}

// setMaxTimestamp rewrites the maximum timestamp and computes the checksum anew.
func setMaxTimestamp(b []byte, ms int64) {
	binary.BigEndian.PutUint64(b[offMaxTimestamp:], uint64(ms))
	binary.BigEndian.PutUint32(b[offCRC:], Checksum(b))
}
