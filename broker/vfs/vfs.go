// Package vfs is the file system that every room below the doors uses, so that
// crashes, full disks and failed writes can be played in memory.
//
// It owns the interface, the operating system's version (OS), and the byte range
// that travels from a log to a socket (Range). Its sub-packages hold an in-memory
// version with crash clones (memfs) and a fault-injecting wrapper (errorfs).
// An FS and its Files may be used from several goroutines at once, as os.File may.
package vfs

import (
	"io"
	"io/fs"
	"sync/atomic"
)

// FS is a file system. Names are slash-separated paths as package os takes them.
// Errors match fs.ErrNotExist, fs.ErrExist and the syscall errno behind them.
type FS interface {
	// OpenFile opens name with os.O_* flags other than O_APPEND; it never opens a directory.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// MkdirAll creates name and its missing parents. The entries are durable only
	// after SyncDir on each parent.
	MkdirAll(name string, perm fs.FileMode) error
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// RemoveAll removes name and what is below it; a missing name is no error.
	RemoveAll(name string) error
	// Rename replaces newName atomically.
	Rename(oldName, newName string) error
	// Link makes newName a second name of a file; it fails with fs.ErrExist when newName exists.
	Link(oldName, newName string) error
	// ReadDir lists a directory sorted by name.
	ReadDir(name string) ([]fs.DirEntry, error)
	// Stat describes name.
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the entries of a directory durable: creations, renames, removals.
	SyncDir(name string) error
	// Lock takes an exclusive advisory lock on the file name, which it creates; it fails at
	// once with ErrLocked when another holder has it. Close releases it, as does a crash.
	Lock(name string) (io.Closer, error)
	// Usage reports the size and the free bytes of the file system that holds name.
	Usage(name string) (Usage, error)
}

// File is an open file. Positions are explicit: there is no file cursor.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Name is the path the file was opened under.
	Name() string
	// Stat describes the file.
	Stat() (fs.FileInfo, error)
	// Truncate sets the size in bytes.
	Truncate(size int64) error
	// Sync makes content and metadata durable (fsync).
	Sync() error
	// Datasync makes the content durable, and the size where it is needed to read it (fdatasync).
	Datasync() error
}

// Descriptor is what a File implements as well when the operating system has a
// descriptor for it, so that bytes can leave by sendfile. Readers fall back to ReadAt.
type Descriptor interface {
	// Fd is the descriptor; it is valid while the File is open.
	Fd() uintptr
}

// Usage is the room on a file system, in bytes.
type Usage struct {
	Total int64
	Free  int64 // available to an ordinary user
}

// Range is a run of bytes in an open file, on its way to a reader. Whoever holds a
// Range calls Release once when it is done; the file is not closed under it before.
type Range struct {
	File File
	Off  int64
	Len  int64
	ref  *Ref
}

// Ref counts the holders of something that must outlive its readers, and calls done
// when the last one lets go.
type Ref struct {
	n    atomic.Int64
	done func()
}

// NewRef starts a count of one.
func NewRef(done func()) *Ref {
	r := &Ref{done: done}
	r.n.Store(1)
	return r
}

// TryAcquire adds a holder, unless the last one has let go already.
func (r *Ref) TryAcquire() bool {
	for {
		n := r.n.Load()
		if n == 0 {
			return false
		}
		if r.n.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release takes a holder away; the last one runs done.
func (r *Ref) Release() {
	switch n := r.n.Add(-1); {
	case n == 0:
		r.done()
	case n < 0:
		panic("BUG: vfs.Ref released more often than acquired")
	}
}

// NewRange wraps a run of bytes; ref, which may be nil, is released with it.
// The caller has acquired ref for this Range.
func NewRange(f File, off, n int64, ref *Ref) Range {
	return Range{File: f, Off: off, Len: n, ref: ref}
}

// Release lets go of the file behind the range. The zero Range may be released.
func (r Range) Release() {
	if r.ref != nil {
		r.ref.Release()
	}
}

// ReadAll reads the range into memory: for checks, tools and tests, not for the fetch path.
func (r Range) ReadAll() ([]byte, error) {
	b := make([]byte, r.Len)
	_, err := io.ReadFull(io.NewSectionReader(r.File, r.Off, r.Len), b)
	return b, err
}
