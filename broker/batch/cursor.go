package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/varve-io/varve/broker/kafka"
)

// errShort says that the records end before they should.
var errShort = errors.New("the records end early")

// windowSize is what a walk over compressed records holds of them at a time, in bytes.
const windowSize = 16 << 10

// cursor reads records from a slice, or from a stream through a small window, so that
// checking a batch costs the same little memory whatever it decompresses to.
type cursor struct {
	buf  []byte
	r, w int   // the unread bytes are buf[r:w]
	gone int64 // bytes that left the window before buf[0]
	src  io.Reader
	left int64 // how many more bytes src may give
	err  error // why src gives no more
}

// pos is how many bytes were read so far.
func (c *cursor) pos() int64 { return c.gone + int64(c.r) }

// fill reads on until the window holds n unread bytes (n ≤ windowSize) or the stream ends.
func (c *cursor) fill(n int) {
	if c.src == nil {
		return
	}
	copy(c.buf, c.buf[c.r:c.w])
	c.gone += int64(c.r)
	c.w -= c.r
	c.r = 0
	for c.w < n && c.err == nil {
		var got int
		got, c.err = c.src.Read(c.buf[c.w:])
		c.w += got
		c.left -= int64(got)
		if c.left < 0 {
			c.err = kafka.MessageTooLarge
		}
	}
}

// short is the error for bytes that are missing.
func (c *cursor) short() error {
	if c.err == nil || c.err == io.EOF || c.err == io.ErrUnexpectedEOF {
		return errShort
	}
	return c.err
}

// uvarint reads a base-128 number of at most maxBytes bytes.
func (c *cursor) uvarint(maxBytes int) (uint64, error) {
	if c.w-c.r < maxBytes {
		c.fill(maxBytes)
	}
	var v uint64
	for i := range maxBytes {
		if c.r+i >= c.w {
			return 0, c.short()
		}
		b := c.buf[c.r+i]
		v |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			c.r += i + 1
			return v, nil
		}
	}
	return 0, fmt.Errorf("a number is longer than %d bytes", maxBytes)
}

// varint reads a zigzag number of 32 bits.
func (c *cursor) varint() (int32, error) {
	if c.r+2 <= c.w {
		if v, n := short(uint64(binary.LittleEndian.Uint16(c.buf[c.r:]))); n <= 2 {
			c.r += n
			return int32(v), nil
		}
	}
	u, err := c.uvarint(5)
	return int32(uint32(u)>>1) ^ -int32(u&1), err
}

// varlong reads a zigzag number of 64 bits.
func (c *cursor) varlong() (int64, error) {
	u, err := c.uvarint(10)
	return int64(u>>1) ^ -int64(u&1), err
}

// skip passes over n bytes.
func (c *cursor) skip(n int64) error {
	for {
		have := int64(c.w - c.r)
		if n <= have {
			c.r += int(n)
			return nil
		}
		c.r = c.w
		n -= have
		if c.fill(1); c.r == c.w {
			return c.short()
		}
	}
}

// skipField passes over bytes behind their length; a negative length stands for null.
func (c *cursor) skipField() (null bool, err error) {
	n, err := c.varint()
	if err != nil || n < 0 {
		return true, err
	}
	return false, c.skip(int64(n))
}

// scanned is what checking needs to know of a record.
type scanned struct {
	timestampDelta int64
	offsetDelta    int32
	keyIsNull      bool
}

// scan reads over one record. Errors other than those of the stream say what is wrong with its form.
func (c *cursor) scan() (scanned, error) {
	size, err := c.varint()
	if err != nil {
		return scanned{}, err
	}
	if size < 0 {
		return scanned{}, fmt.Errorf("its size is %d", size)
	}
	if c.w-c.r < int(size) {
		c.fill(min(int(size), windowSize))
	}
	if c.w-c.r < int(size) {
		if c.src == nil || c.err != nil {
			return scanned{}, c.short()
		}
		return c.scanWide(size)
	}
	body := c.buf[c.r : c.r+int(size)]
	s, ok := scanShort(body)
	if !ok {
		s, ok = scanBody(body)
	}
	if !ok {
		return s, fmt.Errorf("its fields do not fit its size of %d", size)
	}
	c.r += int(size)
	return s, nil
}

// scanShort is scanBody for what nearly all records are: no headers, short numbers. It says
// nothing about those that it does not take. Small records are many: per byte, looking at
// each of them costs more than the checksum.
func scanShort(b []byte) (s scanned, ok bool) {
	if len(b) < 8 {
		return s, false
	}
	x := binary.LittleEndian.Uint64(b) >> 8 // attributes: no bit is in use
	timestamp, n := short(x)
	i := 1 + n
	x >>= 8 * n
	offset, n := short(x)
	i += n
	x >>= 8 * n
	key, n := short(x)
	if i += n; i > 8 { // a longer number
		return s, false
	}
	i += int(max(key, 0))
	if i+2 > len(b) {
		return s, false
	}
	value, n := short(uint64(binary.LittleEndian.Uint16(b[i:])))
	i += n + int(max(value, 0))
	if n > 2 || i != len(b)-1 || b[i] != 0 {
		return s, false
	}
	return scanned{timestampDelta: timestamp, offsetDelta: int32(offset), keyIsNull: key < 0}, true
}

// short reads the zigzag number in the lowest bytes of x, of which n belong to it: 1 to 3,
// or 8 when it is longer.
func short(x uint64) (v int64, n int) {
	switch {
	case x&0x80 == 0:
		x, n = x&0x7f, 1
	case x&0x8000 == 0:
		x, n = x&0x7f|x>>1&0x3f80, 2
	case x&0x800000 == 0:
		x, n = x&0x7f|x>>1&0x3f80|x>>2&0x1fc000, 3
	default:
		return 0, 8
	}
	return int64(x>>1) ^ -int64(x&1), n
}

// scanBody is scan for a record that lies in memory, b being what follows its size. A field
// that leaves b moves the index past its end, from where nothing leads back: one check at
// the end finds them all.
func scanBody(b []byte) (s scanned, ok bool) {
	i := 1 // attributes: no bit is in use
	s.timestampDelta, i = number(b, i, 10)
	delta, i := number(b, i, 5)
	s.offsetDelta = int32(delta)
	n, i := number(b, i, 5)
	s.keyIsNull = n < 0
	i = pass(b, i, n)
	n, i = number(b, i, 5)
	i = pass(b, i, n)
	headers, i := number(b, i, 5)
	if headers < 0 {
		return s, false
	}
	for ; headers > 0 && i < len(b); headers-- {
		if n, i = number(b, i, 5); n < 0 {
			return s, false // a header's key cannot be null
		}
		i = pass(b, i, n)
		n, i = number(b, i, 5)
		i = pass(b, i, n)
	}
	return s, headers == 0 && i == len(b)
}

// pass is the index behind a field of n bytes at i; a negative n stands for null.
func pass(b []byte, i int, n int64) int {
	if n <= 0 {
		return i
	}
	if n > int64(len(b)-i) {
		return len(b) + 1
	}
	return i + int(n)
}

// number reads the zigzag number at i, of at most maxBytes bytes, and returns the index behind it.
func number(b []byte, i, maxBytes int) (int64, int) {
	if i < len(b) && b[i] < 0x80 {
		return int64(b[i]>>1) ^ -int64(b[i]&1), i + 1
	}
	return longNumber(b, i, maxBytes)
}

func longNumber(b []byte, i, maxBytes int) (int64, int) {
	var u uint64
	for k := range maxBytes {
		if i+k >= len(b) {
			break
		}
		c := b[i+k]
		u |= uint64(c&0x7f) << (7 * k)
		if c < 0x80 {
			if maxBytes == 5 {
				u &= 1<<32 - 1
			}
			return int64(u>>1) ^ -int64(u&1), i + k + 1
		}
	}
	return 0, len(b) + 1
}

// scanWide is scan for a record that is larger than the window.
func (c *cursor) scanWide(size int32) (s scanned, err error) {
	start := c.pos()
	if err := c.skip(1); err != nil { // attributes: no bit is in use
		return s, err
	}
	if s.timestampDelta, err = c.varlong(); err != nil {
		return s, err
	}
	if s.offsetDelta, err = c.varint(); err != nil {
		return s, err
	}
	if s.keyIsNull, err = c.skipField(); err != nil {
		return s, err
	}
	if _, err = c.skipField(); err != nil {
		return s, err
	}
	headers, err := c.varint()
	if err != nil {
		return s, err
	}
	if left := start + int64(size) - c.pos(); headers < 0 || int64(headers) > left {
		return s, fmt.Errorf("a record counts %d headers in %d bytes", headers, left)
	}
	for range headers {
		null, err := c.skipField()
		if err != nil {
			return s, err
		}
		if null {
			return s, errors.New("a header's key is null")
		}
		if _, err := c.skipField(); err != nil {
			return s, err
		}
	}
	if used := c.pos() - start; used != int64(size) {
		return s, fmt.Errorf("a record's size is %d, its fields take %d", size, used)
	}
	return s, nil
}

// atEnd says whether nothing follows.
func (c *cursor) atEnd() (bool, error) {
	if c.r == c.w {
		c.fill(1)
	}
	if c.r < c.w {
		return false, nil
	}
	if err := c.short(); err != errShort {
		return false, err
	}
	return true, nil
}
