// Package errorfs wraps a file system so that chosen operations fail, as disks do.
//
// It owns the injection points and the three ways to fail: before the operation, after
// it (the work is done, the caller is told otherwise), and half-way through a write.
// It does not decide when: that is the function given to Wrap, which may be called
// from several goroutines at once. Its files offer no descriptor, so no read goes past it.
package errorfs

import (
	"errors"
	"io"
	"io/fs"
	"sync/atomic"

	"github.com/varve-io/varve/broker/vfs"
)

// Op is an operation of a file system or of one of its files.
type Op uint8

// The operations. Those of an open file start with File.
const (
	OpenFile Op = iota
	MkdirAll
	Remove
	RemoveAll
	Rename
	Link
	ReadDir
	Stat
	SyncDir
	Lock
	Usage
	FileReadAt
	FileWriteAt
	FileStat
	FileTruncate
	FileSync
	FileDatasync
	FileClose
)

var opNames = [...]string{
	"open", "mkdirall", "remove", "removeall", "rename", "link", "readdir", "stat", "syncdir", "lock", "usage",
	"read", "write", "fstat", "truncate", "fsync", "fdatasync", "close",
}

// String is the name of the system call that the operation stands for.
func (o Op) String() string { return opNames[o] }

// Inject decides the fate of one operation: nil lets it through, any other error fails
// it before it has an effect. An error from After or Short fails it later. The name is
// the one the operation was called with; for Rename and Link it is the new name.
type Inject func(op Op, name string) error

type after struct{ error }

func (a after) Unwrap() error { return a.error }

// After lets the operation happen and then fails it with err.
func After(err error) error { return after{err} }

type short struct {
	error
	n int
}

func (s short) Unwrap() error { return s.error }

// Short makes a write stop after n bytes and fail with err. Any other operation fails
// before it has an effect.
func Short(n int, err error) error { return short{err, n} }

// Nth fails the n-th (from 1) occurrence of op on a name that match accepts, and no other.
func Nth(n int64, op Op, match func(name string) bool, err error) Inject {
	var hits atomic.Int64
	return func(o Op, name string) error {
		if o == op && match(name) && hits.Add(1) == n {
			return err
		}
		return nil
	}
}

// Wrap is fsys with inject asked before each operation. The error that a caller sees is
// a *fs.PathError around the injected one.
func Wrap(fsys vfs.FS, inject Inject) vfs.FS { return &wrapper{fsys, inject} }

type wrapper struct {
	fs     vfs.FS
	inject Inject
}

// run performs call under the injected fate of op.
func run(inject Inject, op Op, name string, call func() error) error {
	fate := inject(op, name)
	if fate == nil {
		return call()
	}
	var a after
	if !errors.As(fate, &a) {
		return &fs.PathError{Op: op.String(), Path: name, Err: fate}
	}
	if err := call(); err != nil {
		return err
	}
	return &fs.PathError{Op: op.String(), Path: name, Err: a.error}
}

func (w *wrapper) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	var f vfs.File
	err := run(w.inject, OpenFile, name, func() (err error) {
		f, err = w.fs.OpenFile(name, flag, perm)
		return err
	})
	if err != nil {
		if f != nil {
			_ = f.Close() // failed after the open: the caller has no handle to close
		}
		return nil, err
	}
	return &file{f, w.inject}, nil
}

func (w *wrapper) MkdirAll(name string, perm fs.FileMode) error {
	return run(w.inject, MkdirAll, name, func() error { return w.fs.MkdirAll(name, perm) })
}

func (w *wrapper) Remove(name string) error {
	return run(w.inject, Remove, name, func() error { return w.fs.Remove(name) })
}

func (w *wrapper) RemoveAll(name string) error {
	return run(w.inject, RemoveAll, name, func() error { return w.fs.RemoveAll(name) })
}

func (w *wrapper) Rename(oldName, newName string) error {
	return run(w.inject, Rename, newName, func() error { return w.fs.Rename(oldName, newName) })
}

func (w *wrapper) Link(oldName, newName string) error {
	return run(w.inject, Link, newName, func() error { return w.fs.Link(oldName, newName) })
}

func (w *wrapper) ReadDir(name string) (list []fs.DirEntry, err error) {
	err = run(w.inject, ReadDir, name, func() (err error) {
		list, err = w.fs.ReadDir(name)
		return err
	})
	return list, err
}

func (w *wrapper) Stat(name string) (info fs.FileInfo, err error) {
	err = run(w.inject, Stat, name, func() (err error) {
		info, err = w.fs.Stat(name)
		return err
	})
	return info, err
}

func (w *wrapper) SyncDir(name string) error {
	return run(w.inject, SyncDir, name, func() error { return w.fs.SyncDir(name) })
}

func (w *wrapper) Lock(name string) (io.Closer, error) {
	var l io.Closer
	err := run(w.inject, Lock, name, func() (err error) {
		l, err = w.fs.Lock(name)
		return err
	})
	if err != nil {
		if l != nil {
			_ = l.Close()
		}
		return nil, err
	}
	return l, nil
}

func (w *wrapper) Usage(name string) (u vfs.Usage, err error) {
	err = run(w.inject, Usage, name, func() (err error) {
		u, err = w.fs.Usage(name)
		return err
	})
	return u, err
}

// file hides the wrapped file's descriptor on purpose.
type file struct {
	f      vfs.File
	inject Inject
}

func (f *file) Name() string { return f.f.Name() }

func (f *file) ReadAt(b []byte, off int64) (n int, err error) {
	err = run(f.inject, FileReadAt, f.f.Name(), func() (err error) {
		n, err = f.f.ReadAt(b, off)
		return err
	})
	return n, err
}

func (f *file) WriteAt(b []byte, off int64) (n int, err error) {
	name := f.f.Name()
	fate := f.inject(FileWriteAt, name)
	var s short
	if errors.As(fate, &s) {
		n, err = f.f.WriteAt(b[:min(s.n, len(b))], off)
		if err != nil {
			return n, err
		}
		return n, &fs.PathError{Op: FileWriteAt.String(), Path: name, Err: s.error}
	}
	decided := func(Op, string) error { return fate }
	err = run(decided, FileWriteAt, name, func() (err error) {
		n, err = f.f.WriteAt(b, off)
		return err
	})
	return n, err
}

func (f *file) Stat() (info fs.FileInfo, err error) {
	err = run(f.inject, FileStat, f.f.Name(), func() (err error) {
		info, err = f.f.Stat()
		return err
	})
	return info, err
}

func (f *file) Truncate(size int64) error {
	return run(f.inject, FileTruncate, f.f.Name(), func() error { return f.f.Truncate(size) })
}

func (f *file) Sync() error { return run(f.inject, FileSync, f.f.Name(), f.f.Sync) }

func (f *file) Datasync() error { return run(f.inject, FileDatasync, f.f.Name(), f.f.Datasync) }

// Close always releases the file, as close(2) does, whatever error it reports.
func (f *file) Close() error {
	err := f.f.Close()
	if fate := f.inject(FileClose, f.f.Name()); fate != nil {
		return &fs.PathError{Op: FileClose.String(), Path: f.f.Name(), Err: fate}
	}
	return err
}
