package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/varve-io/varve/broker/kafka"
)

// Format page: docs/formats/wal.md. Integers are big-endian.
const (
	fileName   = "varve-wal"
	keptSuffix = ".kept-"

	headerMagic = "VWAL"
	frameMagic  = "VWFR"
	version     = 1

	blockBytes   = 4096           // every write is whole blocks at a block's start
	headerSlots  = 2              // written in turns, so that a torn write leaves the other
	headerBytes  = 64             // of a slot; the rest of its block is zero
	ringStart    = 2 * blockBytes // where the ring begins in the file
	frameBytes   = 40             // a frame's own header
	recordBytes  = 33             // a record without its content
	maxFrameSize = 4 << 20        // blocks and header included; a small ring has smaller ones
	framesInRing = 8              // at least
)

// kind is what a record says.
type kind uint8

const (
	kindData  kind = 1 // a record batch, as it is in the segment
	kindEnd   kind = 2 // nothing before it of that partition is to be replayed; the log start is the offset
	kindStart kind = 3 // the log start moved up to the offset
)

// ErrNewer says that the file was written by a later version of this program.
var ErrNewer = errors.New("written by a newer version")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Key names a partition for as long as its topic lives.
type Key struct {
	TopicID   kafka.UUID
	Partition int32
}

// header is the content of a slot.
type header struct {
	dirID      kafka.UUID
	generation uint64 // random; frames of another one are leftovers
	sequence   uint64 // the valid slot with the higher one counts
	ring       int64  // bytes
	tail       int64  // position of the oldest frame that may be needed
	prev       uint32 // what the frame at tail has as its predecessor's CRC
}

// appendHeader encodes a slot: a whole block.
func appendHeader(dst []byte, h header) []byte {
	start := len(dst)
	dst = append(dst, headerMagic...)
	dst = binary.BigEndian.AppendUint16(dst, version)
	dst = binary.BigEndian.AppendUint16(dst, 0)
	dst = append(dst, h.dirID[:]...)
	for _, v := range []uint64{h.generation, h.sequence, uint64(h.ring), uint64(h.tail)} {
		dst = binary.BigEndian.AppendUint64(dst, v)
	}
	dst = binary.BigEndian.AppendUint32(dst, h.prev)
	dst = binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
	return append(dst, make([]byte, blockBytes-headerBytes)...)
}

// parseHeader decodes a slot. Errors wrap kafka.ErrCorrupt, or ErrNewer.
func parseHeader(b []byte) (h header, err error) {
	if len(b) < headerBytes || string(b[:4]) != headerMagic {
		return h, fmt.Errorf("no magic: %w", kafka.ErrCorrupt)
	}
	if crc32.Checksum(b[:headerBytes-4], castagnoli) != binary.BigEndian.Uint32(b[headerBytes-4:]) {
		return h, fmt.Errorf("fails its CRC: %w", kafka.ErrCorrupt)
	}
	if v, flags := binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:]); v != version || flags != 0 {
		return h, fmt.Errorf("has version %d and flags %#x, this program knows %d and none: %w", v, flags, version, ErrNewer)
	}
	copy(h.dirID[:], b[8:])
	h.generation, h.sequence = binary.BigEndian.Uint64(b[24:]), binary.BigEndian.Uint64(b[32:])
	h.ring, h.tail = int64(binary.BigEndian.Uint64(b[40:])), int64(binary.BigEndian.Uint64(b[48:]))
	h.prev = binary.BigEndian.Uint32(b[56:])
	if h.ring < framesInRing*blockBytes || h.ring%blockBytes != 0 || h.tail < 0 || h.tail%blockBytes != 0 {
		return h, fmt.Errorf("a ring of %d bytes with its tail at %d: %w", h.ring, h.tail, kafka.ErrCorrupt)
	}
	return h, nil
}

// maxFrame is the size of the largest frame in a ring, a multiple of the block.
func maxFrame(ring int64) int64 {
	return min(maxFrameSize, ring/framesInRing) / blockBytes * blockBytes
}

// wholeBlocks rounds up.
func wholeBlocks(n int64) int64 { return (n + blockBytes - 1) / blockBytes * blockBytes }

// place is where a frame of size bytes goes that follows position head: it is never split.
func place(head, size, ring int64) int64 {
	if left := ring - head%ring; size > left {
		return head + left
	}
	return head
}

// frame is the header of a frame.
type frame struct {
	generation uint64
	position   int64
	length     int64 // of the records
	count      uint32
	prev, crc  uint32
}

// sealFrame fills in the header in front of the records in b and answers the frame's CRC.
func sealFrame(b []byte, f frame) uint32 {
	dst := append(b[:0], frameMagic...)
	dst = binary.BigEndian.AppendUint16(dst, version)
	dst = binary.BigEndian.AppendUint16(dst, 0)
	dst = binary.BigEndian.AppendUint64(dst, f.generation)
	dst = binary.BigEndian.AppendUint64(dst, uint64(f.position))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(b)-frameBytes))
	dst = binary.BigEndian.AppendUint32(dst, f.count)
	dst = binary.BigEndian.AppendUint32(dst, f.prev)
	crc := frameCRC(b)
	binary.BigEndian.AppendUint32(dst, crc)
	return crc
}

// frameCRC covers the header up to its CRC, and the records.
func frameCRC(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:frameBytes-4], castagnoli), castagnoli, b[frameBytes:])
}

// parseFrame decodes a frame's header; ok says that it may be one.
func parseFrame(b []byte) (f frame, ok bool) {
	if len(b) < frameBytes || string(b[:4]) != frameMagic || binary.BigEndian.Uint32(b[4:]) != version<<16 {
		return f, false
	}
	f.generation, f.position = binary.BigEndian.Uint64(b[8:]), int64(binary.BigEndian.Uint64(b[16:]))
	f.length, f.count = int64(binary.BigEndian.Uint32(b[24:])), binary.BigEndian.Uint32(b[28:])
	f.prev, f.crc = binary.BigEndian.Uint32(b[32:]), binary.BigEndian.Uint32(b[36:])
	return f, true
}

// appendRecord encodes a record.
func appendRecord(dst []byte, k kind, key Key, offset int64, content []byte) []byte {
	dst = append(dst, byte(k))
	dst = append(dst, key.TopicID[:]...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(key.Partition))
	dst = binary.BigEndian.AppendUint64(dst, uint64(offset))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(content)))
	return append(dst, content...)
}

// record is a decoded record.
type record struct {
	kind   kind
	key    Key
	offset int64
	at     int // where its content begins in the frame's records
	length int
}

// parseRecords decodes the records of a frame whose CRC fits. Errors wrap kafka.ErrCorrupt.
func parseRecords(b []byte, count uint32, each func(record)) error {
	at := 0
	for ; count > 0; count-- {
		if len(b)-at < recordBytes {
			return fmt.Errorf("a record at byte %d of %d: %w", at, len(b), kafka.ErrCorrupt)
		}
		r := record{kind: kind(b[at])}
		copy(r.key.TopicID[:], b[at+1:])
		r.key.Partition = int32(binary.BigEndian.Uint32(b[at+17:]))
		r.offset = int64(binary.BigEndian.Uint64(b[at+21:]))
		length := binary.BigEndian.Uint32(b[at+29:])
		r.at = at + recordBytes
		if int64(length) > int64(len(b)-r.at) {
			return fmt.Errorf("a record of %d bytes at byte %d of %d: %w", length, at, len(b), kafka.ErrCorrupt)
		}
		r.length = int(length)
		if r.kind < kindData || r.kind > kindStart || r.kind != kindData && length > 0 || r.key.Partition < 0 || r.offset < 0 {
			return fmt.Errorf("a record of kind %d for partition %d, offset %d: %w", r.kind, r.key.Partition, r.offset, kafka.ErrCorrupt)
		}
		each(r)
		at = r.at + r.length
	}
	if at != len(b) {
		return fmt.Errorf("%d bytes behind the last record: %w", len(b)-at, kafka.ErrCorrupt)
	}
	return nil
}
