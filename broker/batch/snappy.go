package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/snappy"
)

// xerialMagic starts a stream as snappy-java writes it: the magic, a version and the lowest
// version that can read it (four bytes each), then blocks behind their big-endian lengths.
// librdkafka and sarama also send one raw block without any of that.
var xerialMagic = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

const (
	xerialHeaderSize = 16
	// xerialBlockSize is the uncompressed size of the blocks that snappy-java writes.
	xerialBlockSize = 32 << 10
	// snappyMaxRatio bounds what a block can hold: its best element copies 64 bytes for three.
	snappyMaxRatio = 22
)

var errSnappyShort = errors.New("snappy block ends early")

// snappyReader decodes either framing block by block.
type snappyReader struct {
	in       []byte
	maxBytes int64  // no block may be larger than this
	block    []byte // decoded and not yet read
	buf      []byte // what block lies in
	started  bool
	framed   bool
}

// Read implements io.Reader.
func (r *snappyReader) Read(p []byte) (int, error) {
	for len(r.block) == 0 {
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.block)
	r.block = r.block[n:]
	return n, nil
}

func (r *snappyReader) next() error {
	if !r.started {
		r.started = true
		r.framed = bytes.HasPrefix(r.in, xerialMagic)
		if !r.framed {
			src := r.in
			r.in = nil
			return r.decode(src)
		}
	}
	// Streams may be concatenated: a header can stand where a block is expected.
	for bytes.HasPrefix(r.in, xerialMagic) {
		if len(r.in) < xerialHeaderSize {
			return errSnappyShort
		}
		r.in = r.in[xerialHeaderSize:]
	}
	if len(r.in) == 0 {
		return io.EOF
	}
	if len(r.in) < 4 {
		return errSnappyShort
	}
	n := int64(binary.BigEndian.Uint32(r.in))
	if n > int64(len(r.in)-4) {
		return errSnappyShort
	}
	src := r.in[4 : 4+n]
	r.in = r.in[4+n:]
	return r.decode(src)
}

// decode checks the length that a block claims before anything is allocated for it.
func (r *snappyReader) decode(src []byte) error {
	if len(src) == 0 {
		if r.framed {
			return nil
		}
		return io.EOF
	}
	n, err := snappy.DecodedLen(src)
	if err != nil {
		return err
	}
	if n > snappyMaxRatio*len(src) {
		return fmt.Errorf("snappy block of %d bytes claims to hold %d", len(src), n)
	}
	if int64(n) > r.maxBytes {
		return errTooLarge(r.maxBytes)
	}
	if cap(r.buf) < n {
		r.buf = make([]byte, n)
	}
	r.block, err = snappy.Decode(r.buf[:n], src)
	return err
}

// appendXerialHeader starts snappy-java's framing.
func appendXerialHeader(dst []byte) []byte {
	dst = append(dst, xerialMagic...)
	dst = binary.BigEndian.AppendUint32(dst, 1)
	return binary.BigEndian.AppendUint32(dst, 1)
}

// appendXerial compresses payload in snappy-java's framing, which every client reads.
func appendXerial(dst, payload []byte) []byte {
	return appendXerialBlocks(appendXerialHeader(dst), payload)
}

// appendXerialBlocks appends payload in blocks.
func appendXerialBlocks(dst, payload []byte) []byte {
	var block []byte
	for len(payload) > 0 {
		n := min(len(payload), xerialBlockSize)
		block = snappy.Encode(block[:cap(block)], payload[:n])
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(block)))
		dst = append(dst, block...)
		payload = payload[n:]
	}
	return dst
}
