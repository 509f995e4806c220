package cache

import (
	"errors"
	"io"
	"io/fs"
	"time"
)

// memFile serves a chunk that the disk would not take. It is read-only.
type memFile struct {
	name string
	b    []byte
}

var errReadOnly = errors.New("chunk in memory is read-only")

// ReadAt is io.ReaderAt.
func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= int64(len(f.b)) {
		return 0, io.EOF
	}
	n := copy(p, f.b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt([]byte, int64) (int, error) { return 0, errReadOnly }
func (f *memFile) Truncate(int64) error               { return errReadOnly }
func (f *memFile) Close() error                       { return nil }
func (f *memFile) Sync() error                        { return nil }
func (f *memFile) Datasync() error                    { return nil }
func (f *memFile) Name() string                       { return f.name }
func (f *memFile) Stat() (fs.FileInfo, error)         { return memInfo{f}, nil }

// memInfo describes a memFile.
type memInfo struct{ f *memFile }

func (i memInfo) Name() string       { return i.f.name }
func (i memInfo) Size() int64        { return int64(len(i.f.b)) }
func (i memInfo) Mode() fs.FileMode  { return 0o444 }
func (i memInfo) ModTime() time.Time { return time.Time{} }
func (i memInfo) IsDir() bool        { return false }
func (i memInfo) Sys() any           { return nil }
