package commitlog

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/varve-io/varve/broker/kafka"
)

// Layout of a producer snapshot file, version 1, part of Kafka's format:
//
//	int16 version | uint32 CRC32C of what follows | int32 count | count × 46 bytes
const (
	snapshotVersion   = 1
	snapshotHead      = 6 // version and CRC
	snapshotEntrySize = 46
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ProducerSnapshotEntry is one producer in a snapshot file (`.snapshot`).
type ProducerSnapshotEntry struct {
	ProducerID       int64
	Epoch            int16
	LastSequence     int32 // -1 when LastOffset is
	LastOffset       int64 // of the last data batch, -1 = none since the epoch began
	OffsetDelta      int32 // records of that batch, less one
	TimestampMs      int64 // newest record time of the last batch or marker
	CoordinatorEpoch int32 // -1 = no marker seen
	TxnFirstOffset   int64 // of the open transaction, -1 = none
}

// AppendProducerSnapshot encodes a snapshot file.
func AppendProducerSnapshot(dst []byte, entries []ProducerSnapshotEntry) []byte {
	head := len(dst)
	dst = binary.BigEndian.AppendUint16(dst, snapshotVersion)
	dst = binary.BigEndian.AppendUint32(dst, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(entries)))
	for _, e := range entries {
		dst = binary.BigEndian.AppendUint64(dst, uint64(e.ProducerID))
		dst = binary.BigEndian.AppendUint16(dst, uint16(e.Epoch))
		dst = binary.BigEndian.AppendUint32(dst, uint32(e.LastSequence))
		dst = binary.BigEndian.AppendUint64(dst, uint64(e.LastOffset))
		dst = binary.BigEndian.AppendUint32(dst, uint32(e.OffsetDelta))
		dst = binary.BigEndian.AppendUint64(dst, uint64(e.TimestampMs))
		dst = binary.BigEndian.AppendUint32(dst, uint32(e.CoordinatorEpoch))
		dst = binary.BigEndian.AppendUint64(dst, uint64(e.TxnFirstOffset))
	}
	binary.BigEndian.PutUint32(dst[head+2:], crc32.Checksum(dst[head+snapshotHead:], castagnoli))
	return dst
}

// ParseProducerSnapshot decodes a snapshot file. Errors wrap kafka.ErrCorrupt.
func ParseProducerSnapshot(b []byte) ([]ProducerSnapshotEntry, error) {
	if len(b) < snapshotHead+4 {
		return nil, fmt.Errorf("producer snapshot of %d bytes is cut off: %w", len(b), kafka.ErrCorrupt)
	}
	if v := int16(binary.BigEndian.Uint16(b)); v != snapshotVersion {
		return nil, fmt.Errorf("producer snapshot has unknown version %d: %w", v, kafka.ErrCorrupt)
	}
	if crc32.Checksum(b[snapshotHead:], castagnoli) != binary.BigEndian.Uint32(b[2:]) {
		return nil, fmt.Errorf("producer snapshot fails its CRC: %w", kafka.ErrCorrupt)
	}
	n, rest := int64(int32(binary.BigEndian.Uint32(b[snapshotHead:]))), b[snapshotHead+4:]
	if n*snapshotEntrySize != int64(len(rest)) {
		return nil, fmt.Errorf("producer snapshot counts %d entries in %d bytes: %w", n, len(rest), kafka.ErrCorrupt)
	}
	out := make([]ProducerSnapshotEntry, n)
	for i := range out {
		e := rest[i*snapshotEntrySize:]
		out[i] = ProducerSnapshotEntry{
			ProducerID:       int64(binary.BigEndian.Uint64(e)),
			Epoch:            int16(binary.BigEndian.Uint16(e[8:])),
			LastSequence:     int32(binary.BigEndian.Uint32(e[10:])),
			LastOffset:       int64(binary.BigEndian.Uint64(e[14:])),
			OffsetDelta:      int32(binary.BigEndian.Uint32(e[22:])),
			TimestampMs:      int64(binary.BigEndian.Uint64(e[26:])),
			CoordinatorEpoch: int32(binary.BigEndian.Uint32(e[34:])),
			TxnFirstOffset:   int64(binary.BigEndian.Uint64(e[38:])),
		}
	}
	return out, nil
}
