package commitlog

import (
	"encoding/binary"
	"fmt"

	"github.com/varve-io/varve/broker/kafka"
)

// txnEntrySize is the size of one entry of a transaction index: part of Kafka's format.
const txnEntrySize = 34

// AbortedTxn is one entry of a transaction index (`.txnindex`): a transaction that a
// marker in this segment aborted. Readers at isolation read_committed skip its records.
type AbortedTxn struct {
	ProducerID  int64
	FirstOffset int64 // of the transaction in this partition
	LastOffset  int64 // the abort marker's own offset
	LastStable  int64 // last stable offset once the marker was applied
}

// ParseTxnIndex decodes the bytes of a transaction index of the segment at base.
// Errors wrap kafka.ErrCorrupt.
func ParseTxnIndex(base int64, b []byte) ([]AbortedTxn, error) {
	if len(b)%txnEntrySize != 0 {
		return nil, fmt.Errorf("transaction index of %d: %d bytes are not whole entries: %w", base, len(b), kafka.ErrCorrupt)
	}
	out := make([]AbortedTxn, 0, len(b)/txnEntrySize)
	last := base - 1
	for ; len(b) > 0; b = b[txnEntrySize:] {
		if v := binary.BigEndian.Uint16(b); v != 0 {
			return nil, fmt.Errorf("transaction index of %d: unknown version %d: %w", base, v, kafka.ErrCorrupt)
		}
		t := AbortedTxn{
			ProducerID:  int64(binary.BigEndian.Uint64(b[2:])),
			FirstOffset: int64(binary.BigEndian.Uint64(b[10:])),
			LastOffset:  int64(binary.BigEndian.Uint64(b[18:])),
			LastStable:  int64(binary.BigEndian.Uint64(b[26:])),
		}
		if t.LastOffset <= last || t.FirstOffset > t.LastOffset {
			return nil, fmt.Errorf("transaction index of %d: marker at %d does not ascend: %w", base, t.LastOffset, kafka.ErrCorrupt)
		}
		last = t.LastOffset
		out = append(out, t)
	}
	return out, nil
}

func appendTxnEntry(dst []byte, t AbortedTxn) []byte {
	dst = binary.BigEndian.AppendUint16(dst, 0)
	dst = binary.BigEndian.AppendUint64(dst, uint64(t.ProducerID))
	dst = binary.BigEndian.AppendUint64(dst, uint64(t.FirstOffset))
	dst = binary.BigEndian.AppendUint64(dst, uint64(t.LastOffset))
	return binary.BigEndian.AppendUint64(dst, uint64(t.LastStable))
}

// collectAborted adds to dst the transactions of one segment that overlap [from, upTo),
// and says whether later segments can't add any: once the last stable offset had
// reached upTo, no earlier transaction was open any more.
func collectAborted(dst, txns []AbortedTxn, from, upTo int64) ([]AbortedTxn, bool) {
	for _, t := range txns {
		if t.LastOffset >= from && t.FirstOffset < upTo {
			dst = append(dst, t)
		}
		if t.LastStable >= upTo {
			return dst, true
		}
	}
	return dst, false
}
