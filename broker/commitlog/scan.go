package commitlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
)

// errDamaged is what a scanner says of bytes that are no whole batch.
var errDamaged = errors.New("not a whole batch")

const (
	lookupChunk  = 4 << 10   // a search starts at most index.interval.bytes in front of its batch
	recoverChunk = 256 << 10 // a recovery reads everything
)

// chunkPool holds the chunks of searches.
type chunkPool struct{ p sync.Pool }

func (c *chunkPool) get() *[]byte {
	if b, ok := c.p.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, lookupChunk)
	return &b
}

// scanner walks the batches of a segment file from header to header, reading by the
// chunk and never behind limit.
type scanner struct {
	f     io.ReaderAt
	pos   int64 // of the batch that header reads
	limit int64

	buf  []byte // file bytes from at on
	room []byte
	at   int64
	big  []byte // a batch that no chunk holds
}

func newScanner(f io.ReaderAt, pos, limit int64, room []byte) *scanner {
	return &scanner{f: f, pos: pos, limit: limit, room: room, at: pos}
}

// fill makes n bytes at pos present in buf; n is at most the size of a chunk.
func (s *scanner) fill(n int64) error {
	if off := s.pos - s.at; off >= 0 && off+n <= int64(len(s.buf)) {
		return nil
	}
	want := min(int64(len(s.room)), s.limit-s.pos)
	got, err := s.f.ReadAt(s.room[:want], s.pos)
	s.buf, s.at = s.room[:got], s.pos
	if int64(got) >= n {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return errDamaged // the file is shorter than it was
	}
	return err
}

// header reads the header at pos: io.EOF at the limit, errDamaged when there is no batch
// that ends within it. It checks no CRC.
func (s *scanner) header() (batch.Header, error) {
	if s.pos >= s.limit {
		return batch.Header{}, io.EOF
	}
	if s.limit-s.pos < batch.HeaderSize {
		return batch.Header{}, errDamaged
	}
	if err := s.fill(batch.HeaderSize); err != nil {
		return batch.Header{}, err
	}
	h, err := batch.ParseHeader(s.buf[s.pos-s.at:])
	if err != nil || h.Size() > s.limit-s.pos || h.LastOffsetDelta < 0 || h.BaseOffset < 0 || h.BaseOffset > math.MaxInt64-int64(h.LastOffsetDelta)-1 {
		return h, errDamaged
	}
	return h, nil
}

// body reads the whole batch at pos; the bytes are good until the next call.
func (s *scanner) body(h batch.Header) ([]byte, error) {
	n := h.Size()
	if n <= int64(len(s.room)) {
		if err := s.fill(n); err != nil {
			return nil, err
		}
		off := s.pos - s.at
		return s.buf[off : off+n], nil
	}
	if int64(cap(s.big)) < n {
		s.big = make([]byte, n)
	}
	s.big = s.big[:n]
	if _, err := s.f.ReadAt(s.big, s.pos); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errDamaged
		}
		return nil, err
	}
	return s.big, nil
}

func (s *scanner) skip(h batch.Header) { s.pos += h.Size() }

// findBatch walks from pos to the first batch whose last offset is at least target, and
// answers its position and header; found is false when limit comes first. first is the last
// offset of the batch at pos by an index file, or kafka.NoOffset: those files have no CRC, and
// a search from a wrong place would pass over records.
func findBatch(f io.ReaderAt, pos, limit, target, first int64, room []byte) (at int64, h batch.Header, found bool, err error) {
	s := newScanner(f, pos, limit, room)
	for {
		h, err := s.header()
		if first != kafka.NoOffset && s.pos == pos && (errors.Is(err, io.EOF) || err == nil && h.LastOffset() != first) {
			err = fmt.Errorf("an index names offset %d: %w", first, errDamaged)
		}
		if errors.Is(err, io.EOF) {
			return s.pos, h, false, nil
		}
		if err != nil {
			return s.pos, h, false, fmt.Errorf("batch at byte %d: %w", s.pos, err)
		}
		if h.LastOffset() >= target {
			return s.pos, h, true, nil
		}
		s.skip(h)
	}
}

// followed says whether a whole, valid batch with an offset from next on lies anywhere
// behind byte pos. A torn last write has nothing behind it; a flipped bit has.
func followed(f io.ReaderAt, pos, limit, next int64) (bool, error) {
	at, err := nextBatch(f, pos, limit, next)
	return at >= 0, err
}

// nextBatch is the first byte behind pos at which a whole, valid batch with an offset from
// next on lies, -1 when there is none.
func nextBatch(f io.ReaderAt, pos, limit, next int64) (int64, error) {
	room := make([]byte, recoverChunk)
	sc := newScanner(f, pos+1, limit, room)
	for sc.pos+batch.HeaderSize <= limit {
		if err := sc.fill(batch.HeaderSize); err != nil {
			return -1, err
		}
		b := sc.buf[sc.pos-sc.at:]
		n := len(b) - batch.HeaderSize + 1
		for i := range n {
			if !plausible(b[i:], next, limit-sc.pos-int64(i)) {
				continue
			}
			at := sc.pos + int64(i)
			ok, err := validAt(f, at, limit)
			if err != nil {
				return -1, err
			}
			if ok {
				return at, nil
			}
		}
		sc.pos += int64(n)
	}
	return -1, nil
}

// plausible filters the places at which a batch may start; b has a header's length.
func plausible(b []byte, next, room int64) bool {
	if b[16] != byte(batch.Magic) {
		return false
	}
	base := int64(binary.BigEndian.Uint64(b))
	size := int64(int32(binary.BigEndian.Uint32(b[8:]))) + 12
	return size >= batch.HeaderSize && size <= room && base >= next && base-next <= math.MaxInt32
}

func validAt(f io.ReaderAt, pos, limit int64) (bool, error) {
	sc := newScanner(f, pos, limit, make([]byte, lookupChunk))
	h, err := sc.header()
	if err == nil {
		var b []byte
		if b, err = sc.body(h); err == nil {
			return batch.CheckCRC(b) == nil, nil
		}
	}
	if errors.Is(err, errDamaged) || errors.Is(err, io.EOF) {
		return false, nil
	}
	return false, err
}

// corruptAt names a damaged place in a file.
func corruptAt(path string, pos, offset int64, why error) error {
	return fmt.Errorf("%s: damaged at byte %d (offset %d): %v: %w", path, pos, offset, why, kafka.ErrCorrupt)
}
