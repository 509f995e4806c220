// Package memfs is a file system in memory that remembers what a crash would lose.
//
// It owns the tree of files and, for each file and directory, what is durable and what
// only the page cache holds; CrashClone plays the power cut. A program may count on what
// POSIX promises and journals keep, and on no more: a write is durable after Sync or
// Datasync of its file, a name after SyncDir of its directory.
// It keeps everything in memory, un-synced bytes twice, and is meant for tests, the demo
// and simulations. An FS and its Files may be used from several goroutines at once.
package memfs

import (
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/varve-io/varve/broker/vfs"
)

// defaultLimit is the size of a file system without a limit of its own, in bytes.
const defaultLimit = 1 << 40

// FS is a file system in memory; it implements vfs.FS. Relative names start at the root.
type FS struct {
	mu struct {
		sync.Mutex
		root  *node
		limit int64
		used  int64 // Invariant: sum of len(data) over the files with a name or an open handle.
	}
}

var _ vfs.FS = (*FS)(nil)

// New is an empty file system with nothing but its root directory.
func New() *FS {
	f := &FS{}
	f.mu.root = newDir("/")
	f.mu.limit = defaultLimit
	return f
}

// SetLimit sets the size of the file system in bytes. A write beyond it stores what fits
// and fails with ENOSPC, as a full disk does. What is stored already stays.
func (f *FS) SetLimit(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.limit = bytes
}

func split(name string) []string {
	clean := path.Clean("/" + name)
	if clean == "/" {
		return nil
	}
	return strings.Split(clean[1:], "/")
}

// lookup finds the node of name. Callers hold f.mu.
func (f *FS) lookup(name string) (*node, error) {
	n := f.mu.root
	for _, part := range split(name) {
		if !n.isDir() {
			return nil, syscall.ENOTDIR
		}
		if n = n.entries[part]; n == nil {
			return nil, syscall.ENOENT
		}
	}
	return n, nil
}

// parent finds the directory that holds, or would hold, name. Callers hold f.mu.
func (f *FS) parent(name string) (dir *node, base string, err error) {
	parts := split(name)
	if len(parts) == 0 {
		return nil, "", syscall.EBUSY
	}
	dir, err = f.lookup(strings.Join(parts[:len(parts)-1], "/"))
	if err == nil && !dir.isDir() {
		err = syscall.ENOTDIR
	}
	return dir, parts[len(parts)-1], err
}

// OpenFile opens or creates a file.
func (f *FS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.open(name, flag, perm)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	n.handles++
	return &file{fs: f, node: n, name: name, access: flag & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR)}, nil
}

func (f *FS) open(name string, flag int, perm fs.FileMode) (*node, error) {
	if flag&os.O_APPEND != 0 {
		return nil, syscall.EINVAL // positions are explicit: WriteAt contradicts O_APPEND
	}
	n, err := f.lookup(name)
	switch {
	case err == nil && flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
		return nil, syscall.EEXIST
	case err == nil && n.isDir():
		return nil, syscall.EISDIR
	case err == nil:
		if flag&os.O_TRUNC != 0 && len(n.data) > 0 {
			f.edit(n, edit{off: 0})
		}
		return n, nil
	case err != syscall.ENOENT || flag&os.O_CREATE == 0:
		return nil, err
	}
	dir, base, err := f.parent(name)
	if err != nil {
		return nil, err
	}
	n = newFile(path.Clean("/"+name), perm)
	apply(change{dir, base, n})
	return n, nil
}

// MkdirAll creates a directory and its missing parents.
func (f *FS) MkdirAll(name string, perm fs.FileMode) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, at := f.mu.root, "/"
	for _, part := range split(name) {
		at = path.Join(at, part)
		child := dir.entries[part]
		if child == nil {
			child = newDir(at)
			child.mode = fs.ModeDir | perm.Perm()
			apply(change{dir, part, child})
		}
		if !child.isDir() {
			return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.ENOTDIR}
		}
		dir = child
	}
	return nil
}

// Remove removes a file or an empty directory.
func (f *FS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, base, err := f.parent(name)
	if err == nil {
		n := dir.entries[base]
		switch {
		case n == nil:
			err = syscall.ENOENT
		case n.isDir() && len(n.entries) > 0:
			err = syscall.ENOTEMPTY
		default:
			apply(change{dir, base, nil})
			f.reclaim(n)
		}
	}
	if err != nil {
		return &fs.PathError{Op: "remove", Path: name, Err: err}
	}
	return nil
}

// RemoveAll removes name and everything below it.
func (f *FS) RemoveAll(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, base, err := f.parent(name)
	if err == syscall.ENOENT || (err == nil && dir.entries[base] == nil) {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "unlinkat", Path: name, Err: err}
	}
	f.removeTree(dir, base)
	return nil
}

// removeTree empties a directory before it removes it, entry by entry, as a real removal
// does: a crash in the middle leaves any part of it.
func (f *FS) removeTree(dir *node, base string) {
	n := dir.entries[base]
	for _, child := range sortedNames(n.entries) {
		f.removeTree(n, child)
	}
	apply(change{dir, base, nil})
	f.reclaim(n)
}

// Rename replaces newName. After a crash without SyncDir either all of it happened or nothing.
func (f *FS) Rename(oldName, newName string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.rename(oldName, newName); err != nil {
		return &os.LinkError{Op: "rename", Old: oldName, New: newName, Err: err}
	}
	return nil
}

func (f *FS) rename(oldName, newName string) error {
	fromDir, from, err := f.parent(oldName)
	if err != nil {
		return err
	}
	n := fromDir.entries[from]
	if n == nil {
		return syscall.ENOENT
	}
	toDir, to, err := f.parent(newName)
	if err != nil {
		return err
	}
	old := toDir.entries[to]
	switch {
	case old == n:
		return nil
	case old != nil && old.isDir():
		return syscall.EEXIST
	case old != nil && n.isDir():
		return syscall.ENOTDIR
	case n.isDir() && strings.HasPrefix(path.Clean("/"+newName)+"/", path.Clean("/"+oldName)+"/"):
		return syscall.EINVAL
	}
	apply(change{toDir, to, n}, change{fromDir, from, nil})
	if old != nil {
		f.reclaim(old)
	}
	return nil
}

// Link makes newName a second name of a file.
func (f *FS) Link(oldName, newName string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.link(oldName, newName); err != nil {
		return &os.LinkError{Op: "link", Old: oldName, New: newName, Err: err}
	}
	return nil
}

func (f *FS) link(oldName, newName string) error {
	n, err := f.lookup(oldName)
	if err != nil {
		return err
	}
	if n.isDir() {
		return syscall.EPERM
	}
	dir, base, err := f.parent(newName)
	if err != nil {
		return err
	}
	if dir.entries[base] != nil {
		return syscall.EEXIST
	}
	apply(change{dir, base, n})
	return nil
}

// ReadDir lists a directory sorted by name.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.lookup(name)
	if err == nil && !n.isDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	list := make([]fs.DirEntry, 0, len(n.entries))
	for _, base := range sortedNames(n.entries) {
		list = append(list, fs.FileInfoToDirEntry(n.entries[base].info(base)))
	}
	return list, nil
}

// Stat describes a file or directory.
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.lookup(name)
	if err != nil {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	return n.info(path.Base(path.Clean("/" + name))), nil
}

// SyncDir makes the entries of a directory durable.
func (f *FS) SyncDir(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.lookup(name)
	if err == nil && !n.isDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return &fs.PathError{Op: "sync", Path: name, Err: err}
	}
	n.syncEntries()
	return nil
}

// Lock takes the lock of name, which CrashClone does not carry over.
func (f *FS) Lock(name string) (io.Closer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.open(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err == nil && n.locked {
		err = vfs.ErrLocked
	}
	if err != nil {
		return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
	}
	n.locked = true
	n.handles++
	return &heldLock{fs: f, node: n}, nil
}

type heldLock struct {
	fs   *FS
	node *node // nil after Close; guarded by fs.mu
}

func (l *heldLock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	if l.node == nil {
		return fs.ErrClosed
	}
	l.node.locked = false
	l.node.handles--
	l.fs.reclaim(l.node)
	l.node = nil
	return nil
}

// Usage reports the limit and what is left of it.
func (f *FS) Usage(name string) (vfs.Usage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.lookup(name); err != nil {
		return vfs.Usage{}, &fs.PathError{Op: "statfs", Path: name, Err: err}
	}
	return vfs.Usage{Total: f.mu.limit, Free: max(0, f.mu.limit-f.mu.used)}, nil
}

func sortedNames(entries map[string]*node) []string {
	names := make([]string, 0, len(entries))
	for name := range entries {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

type info struct {
	name    string
	size    int64
	mode    fs.FileMode
	modTime time.Time
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return i.modTime }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }
