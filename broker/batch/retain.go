package batch

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/varve-io/varve/broker/kafka"
)

// Kept is what compaction looks at in a record.
type Kept struct {
	Offset int64
	Key    []byte // nil is null; good until the function that was given it returns
	Null   bool   // the value is null: the record deletes its key
}

// Retention says what compaction leaves of a batch.
type Retention struct {
	// Keep says whether a record stays.
	Keep func(Kept) bool
	// HorizonMs becomes the delete horizon of a batch that has none and keeps a record with a
	// null value, or, with Marker, any record: the time from which those may go (KIP-534).
	HorizonMs int64
	Marker    bool
	Limits    Limits
}

// Retained is the outcome of Retain.
type Retained struct {
	Batch []byte // nil when no record stays; the batch that came in when all do and no horizon was set
	Read  int    // records that the batch held
	Kept  int
}

// DeleteHorizonMs is the time from which the batch's records with null values, or its
// transaction marker, may be dropped; ok is false while none is set (KIP-534).
func (h Header) DeleteHorizonMs() (ms int64, ok bool) {
	return h.BaseTimestampMs, h.Attributes&DeleteHorizon != 0
}

// Retain drops records from b, which is exactly one batch whose checksum was checked, and
// appends what is left to dst. Offsets, sequences, codec and the producer stay as they are,
// and so does every record. The maximum timestamp becomes that of the records left. A
// malformed batch is an error that wraps kafka.CorruptMessage, too large a one
// kafka.MessageTooLarge; nothing is dropped then.
func Retain(dst, b []byte, r Retention) (Retained, error) {
	h, payload, err := open(b, r.Limits)
	if err != nil {
		return Retained{}, err
	}
	spans, out, nulls, err := pick(payload, h, r.Keep)
	if err != nil || len(spans) == 0 {
		return out, err
	}
	_, has := h.DeleteHorizonMs()
	setHorizon := !has && (nulls || r.Marker)
	if out.Kept == out.Read && !setHorizon {
		out.Batch = b
		return out, nil
	}
	maxMs := h.MaxTimestampMs
	if !h.IsLogAppendTime() {
		maxMs = math.MinInt64
		for _, s := range spans {
			maxMs = max(maxMs, h.BaseTimestampMs+s.timestampDelta)
		}
	}
	size := 0
	for _, s := range spans {
		size += s.end - s.start
	}
	left := make([]byte, 0, size+10*len(spans))
	for _, s := range spans {
		if !setHorizon {
			left = append(left, payload[s.start:s.end]...)
			continue
		}
		left = s.moved(left, payload, h.BaseTimestampMs-r.HorizonMs)
	}
	if setHorizon {
		h.BaseTimestampMs = r.HorizonMs
		h.Attributes |= DeleteHorizon
	}
	h.MaxTimestampMs, h.Count = maxMs, int32(out.Kept)
	out.Batch, err = seal(dst, h, h.Codec(), 0, left)
	return out, err
}

// span is a record that stays, as it lies in the payload.
type span struct {
	start, end     int // its size included
	body           int // where the attributes lie
	afterTime      int // behind the timestamp delta
	timestampDelta int64
}

// moved appends the record with its time against a base that is smaller by shift.
func (s span) moved(dst, payload []byte, shift int64) []byte {
	var delta [binary.MaxVarintLen64]byte
	d := binary.AppendVarint(delta[:0], s.timestampDelta+shift)
	dst = binary.AppendVarint(dst, int64(1+len(d)+s.end-s.afterTime))
	dst = append(dst, payload[s.body])
	dst = append(dst, d...)
	return append(dst, payload[s.afterTime:s.end]...)
}

// pick reads all records and answers those that stay, and whether one of them has no value.
func pick(payload []byte, h Header, keep func(Kept) bool) (spans []span, out Retained, nulls bool, err error) {
	malformed := func(why string) error {
		return fmt.Errorf("record %d of the batch at offset %d: %s: %w", out.Read, h.BaseOffset, why, kafka.CorruptMessage)
	}
	i := 0
	for range max(h.Count, 0) {
		size, body := number(payload, i, 5)
		if size < 1 || body > len(payload) || size > int64(len(payload)-body) {
			return nil, out, false, malformed("its size does not fit")
		}
		s := span{start: i, body: body, end: body + int(size)}
		k, ok := s.read(payload[:s.end], h)
		if !ok {
			return nil, out, false, malformed("its fields do not fit its size")
		}
		i = s.end
		out.Read++
		if keep(k) {
			out.Kept++
			nulls = nulls || k.Null
			spans = append(spans, s)
		}
	}
	if i != len(payload) {
		return nil, out, false, malformed("bytes follow the records")
	}
	return spans, out, nulls, nil
}

// read takes the fields of the record, whose bytes end with b.
func (s *span) read(b []byte, h Header) (k Kept, ok bool) {
	s.timestampDelta, s.afterTime = number(b, s.body+1, 10)
	delta, i := number(b, s.afterTime, 5)
	k.Offset = h.BaseOffset + delta
	n, i := number(b, i, 5)
	end := pass(b, i, n)
	if end > len(b) || delta < 0 || delta > int64(h.LastOffsetDelta) {
		return k, false
	}
	if n >= 0 {
		k.Key = b[i:end:end]
	}
	n, i = number(b, end, 5)
	k.Null = n < 0
	return k, passHeaders(b, pass(b, i, n))
}

// passHeaders says whether a record's headers, from i on, fill b.
func passHeaders(b []byte, i int) bool {
	headers, i := number(b, i, 5)
	for ; headers > 0 && i < len(b); headers-- {
		n, at := number(b, i, 5)
		if n < 0 {
			return false // a header's key cannot be null
		}
		i = pass(b, at, n)
		n, at = number(b, i, 5)
		i = pass(b, at, n)
	}
	return headers == 0 && i == len(b)
}

// Keys calls f for each record of b, which is exactly one batch whose checksum was checked.
// Errors are those of Retain; f may then have seen some of the records.
func Keys(b []byte, lim Limits, f func(Kept)) error {
	h, payload, err := open(b, lim)
	if err != nil {
		return err
	}
	_, _, _, err = pick(payload, h, func(k Kept) bool { f(k); return false })
	return err
}

// Hollow appends to dst the batch of h without its records: what compaction keeps so that
// its producer's last sequence, or the last offset, stays known.
func Hollow(dst []byte, h Header) []byte {
	h.Length, h.Count, h.BaseTimestampMs = HeaderSize-lengthOverhead, 0, -1
	h.Attributes &= LogAppendTime | Transactional | Control
	start := len(dst)
	dst = append(dst, make([]byte, HeaderSize)...)
	b := dst[start:]
	h.put(b)
	binary.BigEndian.PutUint32(b[offCRC:], Checksum(b))
	return dst
}
