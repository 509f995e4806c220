package batch

import (
	"fmt"
	"iter"

	"github.com/varve-io/varve/broker/kafka"
)

// Record is one record of a batch, with its absolute offset and time.
type Record struct {
	Offset      int64
	TimestampMs int64
	Key         []byte // nil is null
	Value       []byte // nil is null
	Headers     []RecordHeader
}

// RecordHeader is a named value that travels with a record.
type RecordHeader struct {
	Key   string
	Value []byte // nil is null
}

// Records decodes b, which starts with one batch; bytes after it are not looked at. The
// checksum is not checked. Keys and values alias b when it is not compressed, otherwise
// memory that belongs to whoever holds them. A malformed batch ends the sequence with an
// error that wraps kafka.CorruptMessage; too large a one, kafka.MessageTooLarge.
func Records(b []byte, lim Limits) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		h, payload, err := open(b, lim)
		if err != nil {
			yield(Record{}, err)
			return
		}
		d := decoder{b: payload}
		for i := range h.Count {
			rec, err := d.record(h)
			if err != nil {
				yield(Record{}, fmt.Errorf("record %d of the batch at offset %d: %v: %w", i, h.BaseOffset, err, kafka.CorruptMessage))
				return
			}
			if !yield(rec, nil) {
				return
			}
		}
		if len(d.b) > 0 {
			yield(Record{}, fmt.Errorf("%d bytes follow the %d records of the batch at offset %d: %w", len(d.b), h.Count, h.BaseOffset, kafka.CorruptMessage))
		}
	}
}

// open returns the header and the decompressed records.
func open(b []byte, lim Limits) (Header, []byte, error) {
	h, err := ParseHeader(b)
	if err != nil {
		return h, nil, err
	}
	if h.Size() > int64(len(b)) {
		return h, nil, fmt.Errorf("batch of %d bytes in %d bytes: %w", h.Size(), len(b), kafka.CorruptMessage)
	}
	payload := b[HeaderSize:h.Size()]
	if h.Codec() == None || h.Count == 0 {
		return h, payload, nil
	}
	payload, err = decompress(h.Codec(), payload, lim)
	return h, payload, err
}

// decoder takes records from the front of b.
type decoder struct{ b []byte }

func (d *decoder) record(h Header) (Record, error) {
	size, err := d.varint()
	if err != nil {
		return Record{}, err
	}
	if size < 0 || int(size) > len(d.b) {
		return Record{}, fmt.Errorf("size %d, %d bytes are left", size, len(d.b))
	}
	body := decoder{b: d.b[:size:size]}
	d.b = d.b[size:]
	return body.fields(h)
}

func (d *decoder) fields(h Header) (rec Record, err error) {
	if len(d.b) == 0 {
		return rec, errShort
	}
	d.b = d.b[1:] // attributes: no bit is in use
	c := cursor{buf: d.b, w: len(d.b)}
	ts, err := c.varlong()
	if err != nil {
		return rec, err
	}
	d.b = d.b[c.r:]
	delta, err := d.varint()
	if err != nil {
		return rec, err
	}
	rec.Offset = h.BaseOffset + int64(delta)
	rec.TimestampMs = h.BaseTimestampMs + ts
	if h.IsLogAppendTime() {
		rec.TimestampMs = h.MaxTimestampMs
	}
	if rec.Key, err = d.bytes(); err != nil {
		return rec, err
	}
	if rec.Value, err = d.bytes(); err != nil {
		return rec, err
	}
	if rec.Headers, err = d.headers(); err != nil {
		return rec, err
	}
	if len(d.b) > 0 {
		return rec, fmt.Errorf("%d bytes follow its headers", len(d.b))
	}
	return rec, nil
}

func (d *decoder) headers() ([]RecordHeader, error) {
	n, err := d.varint()
	if err != nil || n == 0 {
		return nil, err
	}
	if n < 0 || int(n) > len(d.b)/2 { // each takes two bytes at least
		return nil, fmt.Errorf("%d headers in %d bytes", n, len(d.b))
	}
	headers := make([]RecordHeader, n)
	for i := range headers {
		key, err := d.bytes()
		if err != nil {
			return nil, err
		}
		if key == nil {
			return nil, fmt.Errorf("the key of header %d is null", i)
		}
		headers[i].Key = string(key)
		if headers[i].Value, err = d.bytes(); err != nil {
			return nil, err
		}
	}
	return headers, nil
}

// bytes takes a field behind its length; a negative length stands for null.
func (d *decoder) bytes() ([]byte, error) {
	n, err := d.varint()
	if err != nil || n < 0 {
		return nil, err
	}
	if int(n) > len(d.b) {
		return nil, fmt.Errorf("a field of %d bytes, %d are left", n, len(d.b))
	}
	f := d.b[:n:n]
	d.b = d.b[n:]
	return f, nil
}

func (d *decoder) varint() (int32, error) {
	c := cursor{buf: d.b, w: len(d.b)}
	v, err := c.varint()
	d.b = d.b[c.r:]
	return v, err
}
