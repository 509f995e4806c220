// Package inspect reads the files of partitions that are at rest, for operators: it shows
// what is in one file (Dump), and says whether the files of a partition are whole and agree
// with each other (Verify).
//
// It owns neither the formats (commitlog, batch) nor any repair (logdir); it writes nothing
// and takes no lock. Of a log that is in use it sees a moment of each file, so that the end
// of the newest segment says nothing. Its functions may be called from any goroutine.
package inspect

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// readChunk is how much of a segment is read at once.
const readChunk = 1 << 20

// Batch is a record batch in a segment file, or a place where none is.
type Batch struct {
	Position        int64  `json:"position"`
	Size            int64  `json:"size_bytes"`
	BaseOffset      int64  `json:"base_offset"`
	LastOffset      int64  `json:"last_offset"`
	Count           int32  `json:"count"`
	LeaderEpoch     int32  `json:"leader_epoch"`
	MaxTimestampMs  int64  `json:"max_timestamp_ms"`
	Codec           string `json:"compression"`
	ProducerID      int64  `json:"producer_id"`
	ProducerEpoch   int16  `json:"producer_epoch"`
	BaseSequence    int32  `json:"base_sequence"`
	IsTransactional bool   `json:"transactional"`
	IsControl       bool   `json:"control"`
	// Damage says why the bytes at Position are no valid batch; then little else holds.
	Damage string `json:"damage,omitempty"`

	bytes []byte // of the batch, until the next one is read
}

// String is the batch as a line of text.
func (b Batch) String() string {
	if b.Damage != "" {
		return fmt.Sprintf("position %d: DAMAGED: %s", b.Position, b.Damage)
	}
	s := fmt.Sprintf("position %d size %d offsets %d..%d count %d epoch %d maxTimestamp %d codec %s",
		b.Position, b.Size, b.BaseOffset, b.LastOffset, b.Count, b.LeaderEpoch, b.MaxTimestampMs, b.Codec)
	if b.ProducerID >= 0 {
		s += fmt.Sprintf(" producer %d/%d sequence %d", b.ProducerID, b.ProducerEpoch, b.BaseSequence)
	}
	if b.IsTransactional {
		s += " transactional"
	}
	if b.IsControl {
		s += " control"
	}
	return s
}

// eachBatch walks over the batches of a segment file. A damaged batch whose length still
// makes sense is told and passed over; one whose length does not ends the walk. seen counts
// bytes as they are read and may be nil.
func eachBatch(fsys vfs.FS, path string, seen func(int64), each func(Batch) error) error {
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("stat %s: %w", path, err)
	}
	r := reader{f: f, size: info.Size()}
	for pos := int64(0); pos < r.size; {
		b, err := r.batch(pos)
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		if seen != nil {
			seen(b.Size)
		}
		if err := each(b); err != nil {
			return err
		}
		pos += b.Size
	}
	return nil
}

// reader reads batches through a window of the file.
type reader struct {
	f    vfs.File
	size int64
	buf  []byte
	at   int64 // file position of buf
}

// bytes answers n bytes at pos, which lie in the file.
func (r *reader) bytes(pos, n int64) ([]byte, error) {
	if off := pos - r.at; off >= 0 && off+n <= int64(len(r.buf)) {
		return r.buf[off : off+n], nil
	}
	want := min(max(n, readChunk), r.size-pos)
	if int64(cap(r.buf)) < want {
		r.buf = make([]byte, want)
	}
	r.buf, r.at = r.buf[:want], pos
	got, err := r.f.ReadAt(r.buf, pos)
	if int64(got) < n && (err == nil || errors.Is(err, io.EOF)) {
		err = fmt.Errorf("%d bytes at %d of %d: %w", n, pos, r.size, io.ErrUnexpectedEOF)
	}
	if int64(got) >= n {
		err = nil
	}
	r.buf = r.buf[:got]
	return r.buf[:min(n, int64(got))], err
}

// batch reads the one at pos. What is no batch takes the rest of the file.
func (r *reader) batch(pos int64) (Batch, error) {
	rest := r.size - pos
	damaged := func(size int64, format string, args ...any) (Batch, error) {
		return Batch{Position: pos, Size: size, Damage: fmt.Sprintf(format, args...)}, nil
	}
	if rest < batch.HeaderSize {
		return damaged(rest, "%d bytes are no whole batch header", rest)
	}
	raw, err := r.bytes(pos, batch.HeaderSize)
	if err != nil {
		return Batch{}, err
	}
	h, err := batch.ParseHeader(raw)
	if err != nil {
		return damaged(rest, "%v", err)
	}
	if h.Size() > rest {
		return damaged(rest, "a batch of %d bytes in the last %d of the file", h.Size(), rest)
	}
	if raw, err = r.bytes(pos, h.Size()); err != nil {
		return Batch{}, err
	}
	if err := batch.CheckCRC(raw); err != nil {
		return damaged(h.Size(), "%v", err)
	}
	if h.BaseOffset < 0 || h.LastOffsetDelta < 0 || h.BaseOffset > math.MaxInt64-int64(h.LastOffsetDelta)-1 {
		return damaged(h.Size(), "base offset %d with %d more", h.BaseOffset, h.LastOffsetDelta)
	}
	return Batch{
		Position: pos, Size: h.Size(), BaseOffset: h.BaseOffset, LastOffset: h.LastOffset(), Count: h.Count,
		LeaderEpoch: h.LeaderEpoch, MaxTimestampMs: h.MaxTimestampMs, Codec: h.Codec().String(),
		ProducerID: h.ProducerID, ProducerEpoch: h.ProducerEpoch, BaseSequence: h.BaseSequence,
		IsTransactional: h.IsTransactional(), IsControl: h.IsControl(), bytes: raw,
	}, nil
}

// abort answers whether a control batch aborts a transaction; ok is false for other batches.
func (b Batch) marker() (kind batch.ControlKind, ok bool) {
	if !b.IsControl {
		return 0, false
	}
	for rec, err := range batch.Records(b.bytes, batch.Limits{}) {
		if err != nil {
			return 0, false
		}
		kind, _, err := batch.ParseControl(rec)
		return kind, err == nil
	}
	return 0, false
}

// trimmed is the entries of an index file without the zeros that Kafka preallocates.
func trimmed(b []byte, entry int) []byte {
	n := len(b) / entry * entry
	for n >= entry && allZero(b[n-entry:n]) {
		n -= entry
	}
	return b[:n]
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// corrupt is an error about stored bytes.
func corrupt(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), kafka.ErrCorrupt)
}
