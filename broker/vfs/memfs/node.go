package memfs

import (
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"time"
)

// node is a file or a directory. Its fields are guarded by FS.mu.
type node struct {
	born    string // the name it was created under: names its share of a crash's dice
	mode    fs.FileMode
	modTime time.Time

	// A file.
	data    []byte // as every reader sees it
	disk    []byte // as of the last sync
	pending []edit // since the last sync, oldest first: data = disk + pending
	names   int    // directory entries that name it
	handles int    // open files and locks
	locked  bool

	// A directory; entries is nil for a file.
	entries map[string]*node // as every reader sees them
	durable map[string]*node // as of the last SyncDir
	changes []*group         // since the last SyncDir, oldest first: entries = durable + changes
}

// edit is a write of b at off or, with b nil, a change of the size to off.
type edit struct {
	off int64
	b   []byte
}

// change gives the entry base of dir to node, or removes it when node is nil.
type change struct {
	dir  *node
	base string
	node *node
}

// group is what one operation changed; a crash keeps all of it or nothing. It is listed
// in each directory it touches and is durable as soon as one of them is synced, because
// journals write an operation as one unit.
type group struct {
	changes []change
	durable bool
}

func newFile(name string, perm fs.FileMode) *node {
	return &node{born: name, mode: perm.Perm(), modTime: time.Now()}
}

func newDir(name string) *node {
	return &node{
		born: name, mode: fs.ModeDir | 0o755, modTime: time.Now(),
		entries: map[string]*node{}, durable: map[string]*node{},
	}
}

func (n *node) isDir() bool { return n.entries != nil }

func (n *node) info(base string) fs.FileInfo {
	return info{base, int64(len(n.data)), n.mode, n.modTime}
}

// apply performs the changes of one operation and notes that they are not durable yet.
func apply(changes ...change) {
	g := &group{changes: changes}
	for _, c := range changes {
		if old := c.dir.entries[c.base]; old != nil {
			old.names--
		}
		if c.node == nil {
			delete(c.dir.entries, c.base)
		} else {
			c.node.names++
			c.dir.entries[c.base] = c.node
		}
		c.dir.modTime = time.Now()
		if last := len(c.dir.changes) - 1; last < 0 || c.dir.changes[last] != g {
			c.dir.changes = append(c.dir.changes, g)
		}
	}
}

// syncEntries makes the pending changes of a directory durable, in order.
func (n *node) syncEntries() {
	for _, g := range n.changes {
		g.commit()
	}
	n.changes = nil
}

// commit makes the group durable in each directory it touches. A directory that is not
// the one being synced may still list earlier changes of the same entry as pending; those
// are settled too, because a journal is written in order.
func (g *group) commit() {
	if g.durable {
		return
	}
	g.durable = true
	for _, c := range g.changes {
		for _, earlier := range c.dir.changes {
			if earlier == g {
				break
			}
			if earlier.touches(c.dir, c.base) {
				earlier.commit()
			}
		}
		set(c.dir.durable, c.base, c.node)
	}
}

func (g *group) touches(dir *node, base string) bool {
	return slices.ContainsFunc(g.changes, func(c change) bool { return c.dir == dir && c.base == base })
}

func set(entries map[string]*node, base string, n *node) {
	if n == nil {
		delete(entries, base)
		return
	}
	entries[base] = n
}

// sync makes the content of a file durable.
func (n *node) sync() {
	for _, e := range n.pending {
		n.disk = e.applyTo(n.disk)
	}
	n.pending = nil
}

// applyTo performs the edit on b and returns the result, which may share b's memory.
func (e edit) applyTo(b []byte) []byte {
	if e.b == nil {
		return sized(b, e.off)
	}
	if end := e.off + int64(len(e.b)); end > int64(len(b)) {
		b = sized(b, end)
	}
	copy(b[e.off:], e.b)
	return b
}

// sized cuts b, or extends it with zeros, to size bytes.
func sized(b []byte, size int64) []byte {
	if have := int64(len(b)); size > have {
		b = slices.Grow(b, int(size-have))[:size]
		clear(b[have:])
	}
	return b[:size]
}

// grow charges n's growth to the limit; it answers the size that fits. Callers hold f.mu.
func (f *FS) grow(n *node, size int64) (int64, error) {
	room := max(0, f.mu.limit-f.mu.used)
	if add := size - int64(len(n.data)); add > room {
		return int64(len(n.data)) + room, syscall.ENOSPC
	}
	return size, nil
}

// resize changes the size of a file. Callers hold f.mu.
func (f *FS) resize(n *node, size int64) error {
	if _, err := f.grow(n, size); err != nil {
		return err // a refused truncate changes nothing
	}
	f.edit(n, edit{off: size})
	return nil
}

func (f *FS) edit(n *node, e edit) {
	before := len(n.data)
	n.data = e.applyTo(n.data)
	n.pending = append(n.pending, e)
	n.modTime = time.Now()
	f.mu.used += int64(len(n.data) - before)
}

// reclaim gives back the space of a file without name and handle. Callers hold f.mu. The
// bytes stay in memory where a directory's durable entries may bring them back.
func (f *FS) reclaim(n *node) {
	if n.isDir() || n.names > 0 || n.handles > 0 {
		return
	}
	f.mu.used -= int64(len(n.data))
}

// file is an open file.
type file struct {
	fs     *FS
	node   *node // nil after Close; guarded by fs.mu
	name   string
	access int
}

func (f *file) Name() string { return f.name }

// check holds the conditions of every operation. Callers hold f.fs.mu.
func (f *file) check(op string, write bool) error {
	var err error
	switch {
	case f.node == nil:
		err = fs.ErrClosed
	case write && f.access == os.O_RDONLY, !write && f.access == os.O_WRONLY:
		err = syscall.EBADF
	default:
		return nil
	}
	return f.fail(op, err)
}

func (f *file) fail(op string, err error) error {
	return &fs.PathError{Op: op, Path: f.name, Err: err}
}

func (f *file) ReadAt(b []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check("read", false); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, f.fail("read", syscall.EINVAL)
	}
	n := 0
	if off < int64(len(f.node.data)) {
		n = copy(b, f.node.data[off:])
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(b []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check("write", true); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, f.fail("write", syscall.EINVAL)
	}
	if len(b) == 0 {
		return 0, nil
	}
	end, err := f.fs.grow(f.node, max(off+int64(len(b)), int64(len(f.node.data))))
	n := int(min(int64(len(b)), max(0, end-off)))
	if n > 0 {
		f.fs.edit(f.node, edit{off, slices.Clone(b[:n])})
	}
	if err != nil {
		return n, f.fail("write", err)
	}
	return n, nil
}

func (f *file) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	err := f.check("truncate", true)
	if err == nil && size < 0 {
		err = f.fail("truncate", syscall.EINVAL)
	}
	if err != nil {
		return err
	}
	if err := f.fs.resize(f.node, size); err != nil {
		return f.fail("truncate", err)
	}
	return nil
}

func (f *file) Stat() (fs.FileInfo, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.node == nil {
		return nil, f.fail("stat", fs.ErrClosed)
	}
	base := split(f.name)
	return f.node.info(base[len(base)-1]), nil
}

func (f *file) Sync() error { return f.sync("sync") }

// Datasync is as strong as Sync: modification times are all it could leave out.
func (f *file) Datasync() error { return f.sync("fdatasync") }

func (f *file) sync(op string) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.node == nil {
		return f.fail(op, fs.ErrClosed)
	}
	f.node.sync()
	return nil
}

// Close releases the handle; it makes nothing durable.
func (f *file) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.node == nil {
		return f.fail("close", fs.ErrClosed)
	}
	f.node.handles--
	f.fs.reclaim(f.node)
	f.node = nil
	return nil
}
