package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unsafe"

	"github.com/varve-io/varve/broker/kafka"
)

// Limits of what one message may cost.
const (
	// maxTags caps one tag section; Kafka's own messages have at most a handful of tags.
	maxTags = 1024
	// A message may allocate allocFloor + allocPerByte × its size. The densest honest
	// requests (thousands of topics with short names) stay under 8; what lies above are
	// frames made of empty elements, 1 byte each, that want 16 to 24 bytes each in memory.
	allocFloor   = 1 << 20
	allocPerByte = 8
)

var (
	errShort    = errors.New("it ends too early")
	errCount    = errors.New("a count is larger than the bytes that remain")
	errNegative = errors.New("a length is negative")
	errNull     = errors.New("null where the version allows none")
	errVarint   = errors.New("a varint is too long")
	errTags     = errors.New("too many tags")
	errBudget   = errors.New("it would take too much memory for its size")
)

// Reader reads primitives from one message. The first error sticks: it empties the
// Reader, so that everything after it reads as zero at no cost, and Err tells it.
type Reader struct {
	b      []byte
	budget int // bytes that may still be allocated
	err    error
}

// NewReader starts at the first byte of b, which is not changed.
func NewReader(b []byte) Reader {
	return Reader{b: b, budget: allocFloor + allocPerByte*len(b)}
}

// Reset starts again with other bytes.
func (r *Reader) Reset(b []byte) { *r = NewReader(b) }

// Len is the number of bytes not yet read, 0 after an error.
func (r *Reader) Len() int { return len(r.b) }

// Rest is what has not been read; it aliases the input.
func (r *Reader) Rest() []byte { return r.b }

// Err is the first error; it matches ErrMalformed.
func (r *Reader) Err() error {
	if r.err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrMalformed, r.err)
}

func (r *Reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

// finish ends the Read of a message.
func (r *Reader) finish(name string, version int16) error {
	if r.err == nil {
		return nil
	}
	return fmt.Errorf("%s v%d: %w: %w", name, version, ErrMalformed, r.err)
}

// take cuts n bytes off the front, nil when there are fewer.
func (r *Reader) take(n int) []byte {
	if uint(n) > uint(len(r.b)) {
		r.fail(errShort)
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

// Bool reads one byte; anything but 0 is true.
func (r *Reader) Bool() bool { return r.Int8() != 0 }

// Int8 reads one byte.
func (r *Reader) Int8() int8 {
	if len(r.b) < 1 {
		r.fail(errShort)
		return 0
	}
	v := int8(r.b[0])
	r.b = r.b[1:]
	return v
}

// Uint16 reads two bytes.
func (r *Reader) Uint16() uint16 {
	if len(r.b) < 2 {
		r.fail(errShort)
		return 0
	}
	v := binary.BigEndian.Uint16(r.b)
	r.b = r.b[2:]
	return v
}

// Uint32 reads four bytes.
func (r *Reader) Uint32() uint32 {
	if len(r.b) < 4 {
		r.fail(errShort)
		return 0
	}
	v := binary.BigEndian.Uint32(r.b)
	r.b = r.b[4:]
	return v
}

// Uint64 reads eight bytes.
func (r *Reader) Uint64() uint64 {
	if len(r.b) < 8 {
		r.fail(errShort)
		return 0
	}
	v := binary.BigEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

// Int16 reads two bytes.
func (r *Reader) Int16() int16 { return int16(r.Uint16()) }

// Int32 reads four bytes.
func (r *Reader) Int32() int32 { return int32(r.Uint32()) }

// Int64 reads eight bytes.
func (r *Reader) Int64() int64 { return int64(r.Uint64()) }

// Float64 reads eight bytes of IEEE 754.
func (r *Reader) Float64() float64 { return math.Float64frombits(r.Uint64()) }

// UUID reads sixteen bytes.
func (r *Reader) UUID() (u kafka.UUID) {
	copy(u[:], r.take(len(u)))
	return u
}

// Uvarint reads an unsigned varint of at most 32 bits.
func (r *Reader) Uvarint() uint32 {
	if len(r.b) > 0 && r.b[0] < 0x80 {
		v := uint32(r.b[0])
		r.b = r.b[1:]
		return v
	}
	return uint32(r.uvarint(math.MaxUint32))
}

// Varint reads a zigzag varint of at most 32 bits.
func (r *Reader) Varint() int32 {
	u := uint32(r.uvarint(math.MaxUint32))
	return int32(u>>1) ^ -int32(u&1)
}

// Varlong reads a zigzag varint of at most 64 bits.
func (r *Reader) Varlong() int64 {
	u := r.uvarint(math.MaxUint64)
	return int64(u>>1) ^ -int64(u&1)
}

func (r *Reader) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	switch {
	case n == 0:
		r.fail(errShort)
		return 0
	case n < 0 || v > limit:
		r.fail(errVarint)
		return 0
	}
	r.b = r.b[n:]
	return v
}

// length reads the length of a string: int16, or uvarint+1 when flexible. -1 is null.
func (r *Reader) length(flex, null bool) int {
	var n int
	if flex {
		n = int(r.Uvarint()) - 1
	} else {
		n = int(r.Int16())
	}
	return r.checkLength(n, 1, null)
}

// count reads the count of an array or the length of bytes: int32, or uvarint+1 when
// flexible. -1 is null. least is the fewest bytes that an element can have.
func (r *Reader) count(flex bool, least int, null bool) int {
	var n int
	if flex {
		n = int(r.Uvarint()) - 1
	} else {
		n = int(r.Int32())
	}
	return r.checkLength(n, least, null)
}

func (r *Reader) checkLength(n, least int, null bool) int {
	switch {
	case r.err != nil:
		return 0
	case n > len(r.b)/least:
		r.fail(errCount)
		return 0
	case n == -1 && null:
		return -1
	case n == -1:
		r.fail(errNull)
		return 0
	case n < 0:
		r.fail(errNegative)
		return 0
	}
	return n
}

// present reads whether a struct that may be null is there.
func (r *Reader) present() bool { return r.Int8() >= 0 && r.err == nil }

// tagPresent is present for a struct behind a tag, where Kafka writes an unsigned varint.
func (r *Reader) tagPresent() bool { return r.Int8() > 0 && r.err == nil }

// str reads a string; old is answered instead of a copy when it is equal.
func (r *Reader) str(flex bool, old string) string {
	return r.copyString(r.take(r.length(flex, false)), old)
}

// nullStr reads a string that may be null where null allows it.
func (r *Reader) nullStr(flex, null bool, old *string) *string {
	n := r.length(flex, null)
	if n < 0 || r.err != nil {
		return nil
	}
	b := r.take(n)
	if old != nil && *old == string(b) {
		return old
	}
	if !r.charge(1, int(unsafe.Sizeof(""))) {
		return nil
	}
	s := r.copyString(b, "")
	return &s
}

func (r *Reader) copyString(b []byte, old string) string {
	if old == string(b) {
		return old
	}
	if !r.charge(len(b), 1) {
		return ""
	}
	return string(b)
}

// bytes reads bytes that the message owns.
func (r *Reader) bytes(flex, null bool) []byte {
	b := r.records(flex, null)
	if b == nil || !r.charge(len(b), 1) {
		return nil
	}
	return append(make([]byte, 0, len(b)), b...)
}

// records reads bytes that alias the input; nil is null.
func (r *Reader) records(flex, null bool) []byte {
	n := r.count(flex, 1, null)
	if n < 0 || r.err != nil {
		return nil
	}
	return r.take(n)
}

// charge takes n elements of size bytes off what may be allocated.
func (r *Reader) charge(n, size int) bool {
	if n > r.budget/size {
		r.fail(errBudget)
		return false
	}
	r.budget -= n * size
	return true
}

// grow makes s n long. Elements that it had keep their own slices for reuse. The answer
// is never nil unless the budget is spent, for nil means null.
func grow[T any](r *Reader, s []T, n int) []T {
	if n <= cap(s) && s != nil {
		return s[:n]
	}
	var zero T
	if !r.charge(n, int(unsafe.Sizeof(zero))) {
		return nil
	}
	t := make([]T, n)
	copy(t, s[:cap(s)])
	return t
}

// alloc makes a struct that may be null. It is never nil; when the budget is spent,
// reading it fails.
func alloc[T any](r *Reader) *T {
	v := new(T)
	r.charge(1, int(unsafe.Sizeof(*v)))
	return v
}

// tags reads the number of tags of a section. Each takes two bytes at least.
func (r *Reader) tags() int {
	n := r.Uvarint()
	switch {
	case n == 0:
		return 0
	case n > maxTags:
		r.fail(errTags)
		return 0
	case int(n) > len(r.b)/2:
		r.fail(errCount)
		return 0
	}
	return int(n)
}

// openTag reads the head of a tag and narrows the Reader to its content; closeTag, given
// what follows the tag, leaves it and skips what of the content was not read.
func (r *Reader) openTag() (tag uint32, rest []byte) {
	tag = r.Uvarint()
	size := int(r.Uvarint())
	content := r.take(size)
	rest = r.b
	r.b = content
	return tag, rest
}

func (r *Reader) closeTag(rest []byte) {
	if r.err == nil {
		r.b = rest
	}
}

// skipTags reads over a tag section in which no tag is known.
func (r *Reader) skipTags() {
	for n := r.tags(); n > 0 && r.err == nil; n-- {
		r.Uvarint()
		r.take(int(r.Uvarint()))
	}
}
