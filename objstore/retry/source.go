package retry

import (
	"fmt"
	"io"
	"sync/atomic"

	"github.com/varve-io/varve/objstore"
)

// Body is a source as the transport reads it. It remembers an error of the source, which
// would otherwise be taken for one of the network. Each attempt needs one of its own.
type Body struct {
	*io.SectionReader
	key string
	err atomic.Pointer[error]
}

// NewBody reads src from its start, for a put of key.
func NewBody(key string, src objstore.Source) *Body {
	return &Body{SectionReader: src.Reader(), key: key}
}

// Read fails on a source that is shorter than it says.
func (b *Body) Read(p []byte) (int, error) {
	n, err := b.SectionReader.Read(p)
	if err == io.EOF {
		if at, serr := b.Seek(0, io.SeekCurrent); serr != nil || at < b.Size() {
			err = io.ErrUnexpectedEOF
		}
	}
	if err != nil && err != io.EOF {
		b.err.Store(&err)
	}
	return n, err
}

// Close does nothing; SDKs ask for it.
func (b *Body) Close() error { return nil }

// Blame prefers the error of the source to what the put made of it.
func (b *Body) Blame(err error) error {
	if own := b.err.Load(); own != nil {
		return SourceError(b.key, *own)
	}
	return err
}

// SourceError is the failure of a put whose source could not be read.
func SourceError(key string, err error) error {
	return objstore.NewError(objstore.ErrUnknown, "put", key, fmt.Errorf("reading the source: %w", err))
}
