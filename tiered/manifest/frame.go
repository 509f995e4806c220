package manifest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/varve-io/varve/broker/kafka"
)

// ErrNewer marks an object written by a newer release in a format this one does not read.
var ErrNewer = errors.New("written in a newer format than this release reads")

// castagnoli is the polynomial of every CRC in our formats (CRC32C).
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// The frame is the same for every format and for ever, so that a reader can tell
// damage from a newer format:
//
//	magic 4 | version uint16 | flags uint16 | body length uint32 | body | CRC32C uint32
//
// All integers of the frame are big-endian; the CRC covers everything before it.
const (
	frameHead  = 12
	frameExtra = frameHead + 4
	maxBody    = 256 << 20
)

// format is a magic with the newest version that this release reads and writes.
type format struct {
	magic   string
	version uint16
	name    string
}

// The formats of this package.
var (
	manifestFormat = format{"VMAN", 1, "manifest"}
	topicFormat    = format{"VTOP", 1, "topic object"}
	footerFormat   = format{"VSEG", 1, "segment footer"}
	spillFormat    = format{"VSPL", 1, "spill object"}
)

// open checks a frame and returns its body; b must be the frame and nothing else.
func (f format) open(b []byte) ([]byte, error) {
	if len(b) < frameExtra {
		return nil, fmt.Errorf("%s: %d bytes, shorter than a frame: %w", f.name, len(b), kafka.ErrCorrupt)
	}
	if string(b[:4]) != f.magic {
		return nil, fmt.Errorf("%s: magic %q, want %q: %w", f.name, b[:4], f.magic, kafka.ErrCorrupt)
	}
	if n := binary.BigEndian.Uint32(b[8:]); int64(n) != int64(len(b)-frameExtra) {
		return nil, fmt.Errorf("%s: body of %d bytes in a frame of %d: %w", f.name, n, len(b), kafka.ErrCorrupt)
	}
	end := len(b) - 4
	if got, want := crc32.Checksum(b[:end], castagnoli), binary.BigEndian.Uint32(b[end:]); got != want {
		return nil, fmt.Errorf("%s: CRC %08x, want %08x: %w", f.name, got, want, kafka.ErrCorrupt)
	}
	if v := binary.BigEndian.Uint16(b[4:]); v == 0 || v > f.version {
		return nil, fmt.Errorf("%s: format version %d, this release reads up to %d: %w", f.name, v, f.version, ErrNewer)
	}
	if fl := binary.BigEndian.Uint16(b[6:]); fl != 0 {
		return nil, fmt.Errorf("%s: unknown flags %04x: %w", f.name, fl, ErrNewer)
	}
	return b[frameHead:end], nil
}

// begin starts a frame; seal completes it.
func (f format) begin(size int) []byte {
	b := make([]byte, frameHead, frameExtra+size)
	copy(b, f.magic)
	binary.BigEndian.PutUint16(b[4:], f.version)
	return b
}

// seal writes the length and the CRC of a frame that begin started.
func seal(b []byte) []byte {
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-frameHead))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// reader takes a body apart. The first fault sticks: later reads give zero values.
type reader struct {
	b    []byte
	name string
	err  error
}

// fail records the first fault.
func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%s: %s: %w", r.name, what, kafka.ErrCorrupt)
	}
	r.b = nil
}

// take is the next n bytes, aliased.
func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail("ends early")
		return nil
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

// uvarint reads an unsigned varint.
func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail("bad varint")
		return 0
	}
	r.b = r.b[n:]
	return v
}

// varint reads a zig-zag varint.
func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail("bad varint")
		return 0
	}
	r.b = r.b[n:]
	return v
}

// offset reads an unsigned varint that must fit an int64.
func (r *reader) offset() int64 {
	v := r.uvarint()
	if v > 1<<63-1 {
		r.fail("number above 2^63-1")
		return 0
	}
	return int64(v)
}

// small reads an unsigned varint of at most limit.
func (r *reader) small(limit uint64) uint64 {
	v := r.uvarint()
	if v > limit {
		r.fail("number too large")
		return 0
	}
	return v
}

// count reads a list's length, refused when the bytes left cannot hold that many
// elements of minSize bytes: nothing is allocated on the word of a count alone.
func (r *reader) count(minSize int) int {
	v := r.uvarint()
	if v > uint64(len(r.b)/minSize) {
		r.fail("list longer than the bytes left")
		return 0
	}
	return int(v)
}

// uuid reads 16 bytes.
func (r *reader) uuid() (u kafka.UUID) {
	copy(u[:], r.take(len(u)))
	return u
}

// byte reads one byte.
func (r *reader) byte() byte {
	if p := r.take(1); p != nil {
		return p[0]
	}
	return 0
}

// uint16 reads two big-endian bytes.
func (r *reader) uint16() uint16 {
	if p := r.take(2); p != nil {
		return binary.BigEndian.Uint16(p)
	}
	return 0
}

// uint32 reads four big-endian bytes.
func (r *reader) uint32() uint32 {
	if p := r.take(4); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

// bytes reads a length and a copy of that many bytes; empty comes back nil.
func (r *reader) bytes() []byte {
	p := r.take(r.count(1))
	if len(p) == 0 {
		return nil
	}
	return append([]byte(nil), p...)
}

// string reads a length and that many bytes.
func (r *reader) string() string { return string(r.take(r.count(1))) }

// done reports the first fault, or bytes left over.
func (r *reader) done() error {
	if r.err == nil && len(r.b) != 0 {
		r.fail(fmt.Sprintf("%d bytes too many", len(r.b)))
	}
	return r.err
}

// appendBytes writes a length and the bytes.
func appendBytes[T ~string | ~[]byte](b []byte, p T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(p))), p...)
}
