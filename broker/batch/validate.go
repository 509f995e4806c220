package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/varve-io/varve/broker/kafka"
)

// NoLimit is the value of the bounds in Rules that refuse nothing.
const NoLimit int64 = math.MaxInt64

// Rules is what a topic asks of a produced batch. Every bound is taken as it stands, as
// Kafka takes its settings: 0 is a bound of zero, NoLimit is none.
type Rules struct {
	MaxBytes    int64 // max.message.bytes: of the whole batch as it is stored, header included
	AppendTime  bool  // message.timestamp.type is LogAppendTime: times are set to NowMs
	NowMs       int64 // the broker's clock
	BeforeMaxMs int64 // message.timestamp.before.max.ms
	AfterMaxMs  int64 // message.timestamp.after.max.ms
	KeyRequired bool  // the topic is compacted: a record without key is refused

	// Codec is compression.type: "producer" (or "") keeps the batch as it came; another
	// value has ValidateInto compress it anew where it differs. Validate never does.
	Codec string
	Level int // of that codec; 0 is its default

	ZstdOK       bool // Produce 7 or later
	AllowControl bool // the batch comes from a coordinator, not from a client

	// Full looks at every record (decompressing the batch), as Kafka always does. Without it
	// a header that looks right is believed: of uncompressed records the sizes are followed,
	// so that they are as many as the header says, compressed ones stay closed. All of it is
	// looked at only where something needs it: keys, a bound on old times, a maximum timestamp
	// out of bounds or before the first record's, another codec that the topic wants.
	Full   bool
	Limits Limits // what decompression may cost
}

// RecordError is one record that was refused, by its index in the batch.
type RecordError struct {
	Index   int32
	Message string
}

// Rejection is why a batch was refused. errors.Is finds Err in it.
type Rejection struct {
	Err     kafka.Error
	Message string
	Records []RecordError // the records that are to blame, ascending, at most maxRecordErrors; none when it is the batch itself
	// Shape says that what was sent is not one batch that a request of its version may hold.
	// Kafka finds that out before it looks at the log, everything else after.
	Shape bool
}

// Error implements error.
func (r *Rejection) Error() string { return r.Message + ": " + r.Err.Name() }

// Unwrap is the Kafka code.
func (r *Rejection) Unwrap() error { return r.Err }

// misshapen is a Rejection with Shape.
func misshapen(code kafka.Error, format string, args ...any) error {
	return &Rejection{Err: code, Message: fmt.Sprintf(format, args...), Shape: true}
}

func reject(code kafka.Error, format string, args ...any) error {
	return &Rejection{Err: code, Message: fmt.Sprintf(format, args...)}
}

// Validate checks what a producer sent for one partition, b, and rewrites its header in
// place where the topic asks for it: the LogAppendTime bit, and the maximum timestamp when
// the records do not bear the header out. It returns the header as it then stands. On an
// error, which is a *Rejection, b is unchanged.
//
// The decisions are those of Kafka's LogValidator, UnifiedLog and ProduceRequest; stricter
// than they are: bytes after the batch, and records whose offset deltas do not count up from
// zero, are refused (INVALID_RECORD); so is LogAppendTime set by a producer, on every topic.
func Validate(b []byte, r Rules) (Header, error) {
	h, err := checkFrame(b, r)
	if err != nil {
		return h, err
	}
	if err := checkHeader(b, h, r); err != nil {
		return h, err
	}
	maxMs := h.MaxTimestampMs
	switch {
	case r.mustWalk(h):
		maxMs, err = walk(b, h, r)
	case h.Codec() == None:
		err = chain(b[HeaderSize:], h)
	}
	if err != nil {
		return h, err
	}
	switch {
	case r.AppendTime:
		SetAppendTime(b, r.NowMs)
	case maxMs != h.MaxTimestampMs:
		setMaxTimestamp(b, maxMs)
	}
	return ParseHeader(b)
}

// ValidateInto is Validate for a topic that may name a codec. Where the batch has another
// one it is compressed anew, appended to dst, and returned in its new form; otherwise the
// returned bytes are b itself. Control batches keep their form.
func ValidateInto(dst, b []byte, r Rules) ([]byte, Header, error) {
	target, keep, err := ParseCodec(r.Codec)
	if err != nil {
		return nil, Header{}, &Rejection{Err: kafka.InvalidConfig, Message: err.Error()}
	}
	r.Full = r.Full || !keep && codecOf(b) != target // what is written anew has to decode
	h, err := Validate(b, r)
	if err != nil || keep || target == h.Codec() || h.IsControl() {
		return b, h, err
	}
	out, err := recompress(dst, b, h, target, r)
	if err != nil {
		return nil, h, err
	}
	h, err = ParseHeader(out)
	return out, h, err
}

// codecOf is the codec of a batch of which nothing has been checked.
func codecOf(b []byte) Codec {
	if len(b) < HeaderSize {
		return None
	}
	return Codec(Attributes(binary.BigEndian.Uint16(b[offAttributes:])) & CodecMask)
}

// Recompress returns the batch b, decompressed within DefaultMaxBytes and compressed with
// codec; offsets and times stay. Level 0 is the codec's default.
func Recompress(b []byte, codec Codec, level int) ([]byte, error) {
	h, payload, err := open(b, Limits{})
	if err != nil {
		return nil, err
	}
	return seal(nil, h, codec, level, payload)
}

// seal appends a batch to dst: the header h with its codec, length and checksum made right for payload.
func seal(dst []byte, h Header, c Codec, level int, payload []byte) ([]byte, error) {
	start := len(dst)
	dst = append(dst, make([]byte, HeaderSize)...)
	dst, err := compress(dst, c, level, payload)
	if err != nil {
		return nil, err
	}
	return sealed(dst, start, h, c)
}

// sealed finishes the batch that starts in dst at start: room for the header, then records that
// are compressed with c.
func sealed(dst []byte, start int, h Header, c Codec) ([]byte, error) {
	if len(dst)-start > math.MaxInt32 {
		return nil, fmt.Errorf("batch of %d bytes: %w", len(dst)-start, kafka.MessageTooLarge)
	}
	b := dst[start:]
	h.Attributes = h.Attributes&known&^CodecMask | Attributes(c)
	h.Length = int32(len(b) - lengthOverhead)
	h.put(b)
	binary.BigEndian.PutUint32(b[offCRC:], Checksum(b))
	return b, nil
}

// checkFrame finds exactly one batch of magic 2 in b: what Kafka checks before it looks for the partition.
func checkFrame(b []byte, r Rules) (Header, error) {
	if len(b) <= offMagic {
		return Header{}, misshapen(kafka.InvalidRecord, "no record batch in %d bytes", len(b))
	}
	size := lengthOverhead + int64(int32(binary.BigEndian.Uint32(b[offLength:])))
	switch magic := int8(b[offMagic]); {
	case size < offMagic+1 || magic < 0 || magic > Magic:
		return Header{}, misshapen(kafka.CorruptMessage, "a batch of %d bytes and magic %d", size, magic)
	case size > int64(len(b)):
		return Header{}, misshapen(kafka.InvalidRecord, "a batch of %d bytes was cut to %d", size, len(b))
	case magic != Magic:
		return Header{}, misshapen(kafka.InvalidRecord, "message format %d is not accepted: batches must have magic 2", magic)
	}
	h, err := ParseHeader(b)
	if err != nil {
		return h, misshapen(kafka.CorruptMessage, "a batch of %d bytes is smaller than its header", size)
	}
	switch c := h.Codec(); {
	case c > Zstd:
		return h, reject(kafka.UnsupportedCompressionType, "%s is not known", c)
	case c == Zstd && !r.ZstdOK:
		return h, misshapen(kafka.UnsupportedCompressionType, "zstd needs Produce version 7 or later")
	case size < int64(len(b)):
		return h, misshapen(kafka.InvalidRecord, "%d bytes follow the batch: want exactly one batch per partition", int64(len(b))-size)
	}
	return h, nil
}

// checkHeader holds the header against the rules and the checksum, in the order in which Kafka does.
func checkHeader(b []byte, h Header, r Rules) error {
	client := !r.AllowControl
	if client && h.BaseOffset != 0 {
		return reject(kafka.InvalidRecord, "the base offset of a produced batch must be 0, it is %d", h.BaseOffset)
	}
	if h.Size() > r.MaxBytes {
		return reject(kafka.MessageTooLarge, "the batch has %d bytes, the topic allows %d", h.Size(), r.MaxBytes)
	}
	if err := h.checkCRC(b); err != nil {
		return reject(kafka.CorruptMessage, "%v", err)
	}
	switch {
	case h.LastOffsetDelta < 0 || h.LastOffsetDelta == math.MaxInt32:
		return reject(kafka.InvalidRecord, "the batch has an invalid last offset delta, %d", h.LastOffsetDelta)
	case h.Count <= 0:
		return reject(kafka.InvalidRecord, "the batch has an invalid record count, %d", h.Count)
	case h.Count != h.LastOffsetDelta+1:
		return reject(kafka.InvalidRecord, "the batch counts %d records, its last offset delta is %d", h.Count, h.LastOffsetDelta)
	case h.Codec() == None && int64(h.Count) > (h.Size()-HeaderSize)/minRecordSize:
		return reject(kafka.InvalidRecord, "the batch counts %d records in %d bytes", h.Count, h.Size()-HeaderSize)
	case client && h.IsControl():
		return reject(kafka.InvalidRecord, "clients must not write control records")
	case client && h.HasProducerID() && h.BaseSequence < 0:
		return reject(kafka.InvalidRecord, "the batch of producer %d has an invalid sequence number, %d", h.ProducerID, h.BaseSequence)
	case h.IsLogAppendTime() && client:
		return rejectAppendTime(h)
	}
	return nil
}

// minRecordSize is a record with neither key, value nor headers: seven numbers of one byte.
const minRecordSize = 7

// rejectAppendTime blames every record for a bit that only a broker may set.
func rejectAppendTime(h Header) error {
	rej := &Rejection{Err: kafka.InvalidTimestamp, Message: "producers must not set the timestamp type to LogAppendTime"}
	if h.Codec() == None { // otherwise the count is a claim without bytes behind it
		for i := range min(h.Count, maxRecordErrors) {
			rej.Records = append(rej.Records, RecordError{Index: i, Message: rej.Message})
		}
	}
	return rej
}

// mustWalk says whether the header alone does not settle the matter.
func (r Rules) mustWalk(h Header) bool {
	if r.Full || r.KeyRequired {
		return true
	}
	return !r.AppendTime && (r.BeforeMaxMs != NoLimit || !r.inTime(h.MaxTimestampMs) || h.MaxTimestampMs < h.BaseTimestampMs)
}

// chain follows the sizes of uncompressed records and says whether exactly as many as the
// header counts fill the batch: offsets are given by that count. The rest of a record is the
// consumers' affair. A walk over small records costs several times what the checksum does,
// this a fraction of it.
func chain(b []byte, h Header) error {
	i := 0
	for k := range h.Count {
		if i+2 > len(b) { // the shortest record has seven bytes and its size
			return reject(kafka.InvalidRecord, "the batch counts %d records, its bytes end in record %d", h.Count, k)
		}
		size, n := short(uint64(binary.LittleEndian.Uint16(b[i:])))
		if n <= 2 {
			i += n
		} else {
			size, i = longNumber(b, i, 5)
		}
		if size < 0 {
			return reject(kafka.InvalidRecord, "record %d is malformed: its size is %d", k, size)
		}
		if size > int64(len(b)-i) {
			return reject(kafka.InvalidRecord, "the batch counts %d records, its bytes end in record %d", h.Count, k)
		}
		i += int(size)
	}
	if i != len(b) {
		return reject(kafka.InvalidRecord, "the batch counts %d records, more bytes follow", h.Count)
	}
	return nil
}

// inTime says whether a record's time lies within the topic's bounds; no time at all does.
func (r Rules) inTime(ms int64) bool {
	if ms == kafka.NoTimestamp {
		return true
	}
	if ms <= r.NowMs {
		age := uint64(r.NowMs) - uint64(ms) // right even where the signed difference overflows
		return age <= uint64(r.BeforeMaxMs)
	}
	return uint64(ms)-uint64(r.NowMs) <= uint64(r.AfterMaxMs)
}

// walk looks at every record and returns their largest time.
func walk(b []byte, h Header, r Rules) (maxMs int64, err error) {
	c := cursor{buf: b[HeaderSize:], w: len(b) - HeaderSize}
	if h.Codec() != None {
		maxBytes := r.Limits.max()
		src, done, err := decompressor(h.Codec(), c.buf, maxBytes)
		defer done()
		if err != nil {
			return 0, rejectDecode(h, decodeError(h.Codec(), err))
		}
		c = cursor{buf: make([]byte, windowSize), src: src, left: maxBytes}
	}
	maxMs = kafka.NoTimestamp
	var bad badRecords
	for i := range h.Count {
		s, err := c.scan()
		if err != nil {
			return 0, rejectScan(&c, h, i, err)
		}
		ms := h.BaseTimestampMs + s.timestampDelta
		maxMs = max(maxMs, ms)
		switch {
		case s.offsetDelta != i:
			bad.add(kafka.InvalidRecord, i, fmt.Sprintf("its offset delta is %d", s.offsetDelta))
		case r.KeyRequired && s.keyIsNull:
			bad.add(kafka.InvalidRecord, i, "a compacted topic takes no record without key")
		case !r.AppendTime && !r.inTime(ms):
			bad.add(kafka.InvalidTimestamp, i, fmt.Sprintf("timestamp %d is not within %d ms before and %d ms after the broker's time, %d", ms, r.BeforeMaxMs, r.AfterMaxMs, r.NowMs))
		}
	}
	end, err := c.atEnd()
	if err != nil {
		return 0, rejectScan(&c, h, h.Count, err)
	}
	if !end {
		return 0, reject(kafka.InvalidRecord, "the batch counts %d records, more bytes follow", h.Count)
	}
	return maxMs, bad.rejection()
}

// rejectScan tells a record of wrong form from a stream that does not decompress.
func rejectScan(c *cursor, h Header, i int32, err error) error {
	switch {
	case c.err == kafka.MessageTooLarge:
		return reject(kafka.MessageTooLarge, "the records exceed what may be decompressed")
	case c.err != nil && err == c.err:
		return rejectDecode(h, decodeError(h.Codec(), err))
	case errors.Is(err, errShort):
		return reject(kafka.InvalidRecord, "the batch counts %d records, its bytes end in record %d", h.Count, i)
	default:
		return reject(kafka.InvalidRecord, "record %d is malformed: %v", i, err)
	}
}

func rejectDecode(h Header, err error) error {
	return reject(kafka.Code(err), "%s batch: %v", h.Codec(), err)
}

// maxRecordErrors bounds the list of refused records, so that a small batch that
// decompresses to millions of them cannot grow a large answer.
const maxRecordErrors = 10_000

// badRecords gathers the records that are to blame.
type badRecords struct {
	code    kafka.Error
	count   int
	records []RecordError
}

func (b *badRecords) add(code kafka.Error, i int32, why string) {
	// One bad time makes the whole batch INVALID_TIMESTAMP, as in Kafka.
	if b.code != kafka.InvalidTimestamp {
		b.code = code
	}
	b.count++
	if b.count <= maxRecordErrors {
		b.records = append(b.records, RecordError{Index: i, Message: why})
	}
}

func (b *badRecords) rejection() error {
	if len(b.records) == 0 {
		return nil
	}
	first := b.records[0]
	return &Rejection{
		Err:     b.code,
		Message: fmt.Sprintf("%d records were refused; record %d: %s", b.count, first.Index, first.Message),
		Records: b.records,
	}
}
