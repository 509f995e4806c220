package wire

import "github.com/varve-io/varve/broker/vfs"

// Piece is a part of a response on its way out: bytes in memory, or a range of a file
// that leaves without a copy. Exactly one of the two is set.
type Piece struct {
	Bytes []byte
	Range vfs.Range
}

// Len is the size of the piece in bytes.
func (p Piece) Len() int64 {
	if p.Bytes != nil {
		return int64(len(p.Bytes))
	}
	return p.Range.Len
}

// Size is the number of bytes that pieces send together.
func Size(pieces []Piece) (n int64) {
	for _, p := range pieces {
		n += p.Len()
	}
	return n
}

// Release lets go of the files behind pieces, once they are sent or given up.
func Release(pieces []Piece) {
	for _, p := range pieces {
		p.Range.Release()
	}
}

// inlineCopy is the size in bytes up to which records in memory are copied between the
// fields around them, because a piece of their own would cost more than the copy.
const inlineCopy = 1024

// pieceWriter collects bytes into pieces. Pieces alias the buffer; when it grows, those
// that are cut already keep the old one.
type pieceWriter struct {
	pieces []Piece
	buf    []byte
	from   int // where the next piece starts in buf
}

// cut ends a piece at the end of the buffer.
func (w *pieceWriter) cut() {
	if n := len(w.buf); n > w.from {
		w.pieces = append(w.pieces, Piece{Bytes: w.buf[w.from:n:n]})
		w.from = n
	}
}

// inline adds bytes that stay valid until the pieces are sent.
func (w *pieceWriter) inline(b []byte) {
	if len(b) <= inlineCopy {
		w.buf = append(w.buf, b...)
		return
	}
	w.cut()
	w.pieces = append(w.pieces, Piece{Bytes: b})
}

// file adds a range, and with it the duty to release it.
func (w *pieceWriter) file(r vfs.Range) {
	if r.Len == 0 {
		r.Release()
		return
	}
	w.cut()
	w.pieces = append(w.pieces, Piece{Range: r})
}
