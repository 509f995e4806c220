// Package file is the object store in a directory: one file per object at the path of its
// key, safe to share between processes and across crashes.
//
// It owns the directory it is given, with two sub-directories whose names are no keys:
// "~tmp" (writes under way) and "~lock" (lock files). It does not own what the bytes mean.
// An object appears whole or not at all: its bytes and a checksummed trailer (see
// docs/formats/object-file.md) are written to a temporary file and synced, and then linked
// (create-only) or renamed (overwrite) into place, after which every directory up to the root
// is synced. The link decides create-only races. Overwrites and deletions of a key hold its
// lock file, so that compare-and-swap holds between processes. The file system must have hard
// links, atomic rename and flock; a network file system has them if it says so.
// All methods may be called from any goroutine and any number of processes.
package file

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/varve-io/varve/objstore"
)

const (
	tempDir  = "~tmp"
	lockDir  = "~lock"
	dirPerm  = 0o750
	filePerm = 0o640

	// copyBuffer bounds the memory of one Put.
	copyBuffer = 256 << 10
	// placeTries bounds the retries of a Put whose directory is removed, as empty, under it.
	placeTries = 64
)

// Bucket is a store in a directory.
type Bucket struct {
	root  string
	locks locks
}

// Open is the store in the directory dir, which it creates if need be. It removes what
// writers that died have left in "~tmp".
func Open(dir string) (*Bucket, error) {
	root, err := filepath.Abs(dir)
	if err != nil {
		return nil, objstore.NewError(objstore.ErrInvalid, "open", "", err)
	}
	b := &Bucket{root: root}
	b.locks.init(filepath.Join(root, lockDir))
	for _, d := range []string{filepath.Join(root, tempDir), filepath.Join(root, lockDir)} {
		if err := makeDirs(d); err != nil {
			return nil, b.fail("open", "", err)
		}
	}
	if _, err := b.SweepUploads(context.Background(), "", 0); err != nil {
		return nil, err
	}
	return b, nil
}

// Capabilities implements objstore.Bucket.
func (b *Bucket) Capabilities() objstore.Capabilities {
	return objstore.Capabilities{
		IfAbsent: true, IfVersion: true, DeleteIf: true, Checksum: true, Shared: true, Durable: true,
	}
}

// path is where the object of a key lies.
func (b *Bucket) path(key string) string { return filepath.Join(b.root, filepath.FromSlash(key)) }

// Put implements objstore.Bucket.
func (b *Bucket) Put(ctx context.Context, key string, src objstore.Source, o objstore.PutOpts) (objstore.Attrs, error) {
	if err := objstore.CheckPut(key, src, o, b.Capabilities()); err != nil {
		return objstore.Attrs{}, err
	}
	return objstore.PutSettled(ctx, key, src, o, b.headDurable, func(ctx context.Context, o objstore.PutOpts) (objstore.Attrs, error) {
		return b.put(ctx, key, src, o)
	})
}

// headDurable describes an object that a crash can not take away any more.
func (b *Bucket) headDurable(ctx context.Context, key string) (objstore.Attrs, error) {
	a, err := b.Head(ctx, key)
	if err == nil {
		err = b.syncUp(path.Dir(key))
	}
	return a, err
}

func (b *Bucket) put(ctx context.Context, key string, src objstore.Source, o objstore.PutOpts) (objstore.Attrs, error) {
	if o.Conditional() {
		// Most lost races end here, before a byte is written; the truth is told in place.
		if err := b.check(key, o); err != nil {
			return objstore.Attrs{}, err
		}
	}
	tmp, err := b.newTemp()
	if err != nil {
		return objstore.Attrs{}, b.fail("put", key, err)
	}
	defer tmp.discard()
	t, err := b.fill(ctx, tmp.f, key, src, o)
	if err != nil {
		return objstore.Attrs{}, err
	}
	if err := b.place(ctx, tmp, key, o); err != nil {
		return objstore.Attrs{}, err
	}
	if err := b.syncUp(path.Dir(key)); err != nil {
		// It is in place, but a crash may take it away again.
		return objstore.Attrs{}, objstore.NewError(objstore.ErrAmbiguous, "put", key, err)
	}
	return t.attrs(key), nil
}

// check tells early that the condition of a put does not hold.
func (b *Bucket) check(key string, o objstore.PutOpts) error {
	f, t, err := b.open("put", key, "")
	if err == nil {
		f.Close()
	}
	switch {
	case errors.Is(err, objstore.ErrNotFound) && o.IfAbsent:
		return nil
	case errors.Is(err, objstore.ErrNotFound), o.IfAbsent && (err == nil || errors.Is(err, objstore.ErrCorrupt)),
		err == nil && t.version() != o.IfVersion:
		return objstore.NewError(objstore.ErrPrecondition, "put", key, nil)
	}
	return err
}

// fill writes the bytes and the trailer and syncs them.
func (b *Bucket) fill(ctx context.Context, f *os.File, key string, src objstore.Source, o objstore.PutOpts) (trailer, error) {
	buf := make([]byte, min(src.Size, copyBuffer))
	var sum uint32
	for off := int64(0); off < src.Size; {
		if err := ctx.Err(); err != nil {
			return trailer{}, objstore.Wrap("put", key, err)
		}
		n := min(src.Size-off, int64(len(buf)))
		if _, err := io.ReadFull(src.Part(off, n).Reader(), buf[:n]); err != nil {
			err = fmt.Errorf("reading the source: %w", err)
			return trailer{}, objstore.NewError(objstore.ErrUnknown, "put", key, err)
		}
		sum = crc32.Update(sum, objstore.Castagnoli, buf[:n])
		if _, err := f.Write(buf[:n]); err != nil {
			return trailer{}, b.fail("put", key, err)
		}
		off += n
	}
	if src.HasCRC && sum != src.CRC32C {
		err := fmt.Errorf("the source has CRC32C %08x, its owner says %08x", sum, src.CRC32C)
		return trailer{}, objstore.NewError(objstore.ErrCorrupt, "put", key, err)
	}
	t := newTrailer(src.Size, sum, time.Now(), o.Meta)
	if _, err := f.Write(t.append(nil)); err != nil {
		return trailer{}, b.fail("put", key, err)
	}
	if err := f.Sync(); err != nil {
		return trailer{}, b.fail("put", key, err)
	}
	return t, nil
}

// place moves a finished temporary file to its key, if the condition holds.
func (b *Bucket) place(ctx context.Context, tmp *temp, key string, o objstore.PutOpts) error {
	move := tmp.link
	if !o.IfAbsent {
		unlock, err := b.locks.lock(ctx, key)
		if err != nil {
			return b.fail("put", key, err)
		}
		defer unlock()
		if o.IfVersion != "" {
			if err := b.check(key, o); err != nil {
				return err
			}
		}
		move = tmp.rename
	}
	name := b.path(key)
	for try := 1; ; try++ {
		if err := ctx.Err(); err != nil {
			return objstore.Wrap("put", key, err)
		}
		err := os.MkdirAll(filepath.Dir(name), dirPerm)
		if err == nil {
			err = move(name)
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, fs.ErrNotExist) && try < placeTries && b.present():
			continue // a deletion took the empty directory away
		case isDir(name), errors.Is(err, syscall.ENOTDIR):
			err = fmt.Errorf("one key is a directory of another: %w", err)
			return objstore.NewError(objstore.ErrUnsupported, "put", key, err)
		case o.IfAbsent && errors.Is(err, fs.ErrExist):
			return objstore.NewError(objstore.ErrPrecondition, "put", key, nil)
		}
		return b.fail("put", key, err)
	}
}

// open opens the object of a key and reads its trailer. The file keeps its bytes whatever
// happens to the key afterwards.
func (b *Bucket) open(op, key string, ifv objstore.Version) (*os.File, trailer, error) {
	if err := objstore.CheckKey(key); err != nil {
		return nil, trailer{}, err
	}
	name := b.path(key)
	f, err := os.Open(name)
	if err != nil {
		return nil, trailer{}, b.fail(op, key, err)
	}
	t, err := readTrailer(f)
	switch {
	case errors.Is(err, errIsDir):
		err = objstore.NewError(objstore.ErrNotFound, op, key, err)
	case errors.Is(err, errDamaged):
		err = objstore.NewError(objstore.ErrCorrupt, op, key, fmt.Errorf("%s: %w", name, err))
	case err != nil:
		err = b.fail(op, key, err)
	case ifv != "" && t.version() != ifv:
		err = objstore.NewError(objstore.ErrPrecondition, op, key, nil)
	}
	if err != nil {
		f.Close()
		return nil, trailer{}, err
	}
	return f, t, nil
}

// GetRange implements objstore.Bucket.
func (b *Bucket) GetRange(ctx context.Context, key string, off int64, p []byte, ifv objstore.Version) (objstore.Attrs, error) {
	if err := ctx.Err(); err != nil {
		return objstore.Attrs{}, objstore.Wrap("get", key, err)
	}
	f, t, err := b.open("get", key, ifv)
	if err != nil {
		return objstore.Attrs{}, err
	}
	defer f.Close()
	if err := objstore.FullRange(key, off, int64(len(p)), t.size); err != nil {
		return objstore.Attrs{}, err
	}
	if _, err := f.ReadAt(p, off); err != nil && len(p) > 0 {
		return objstore.Attrs{}, b.fail("get", key, err)
	}
	return t.attrs(key), nil
}

// Open implements objstore.Bucket.
func (b *Bucket) Open(ctx context.Context, key string, off, n int64, ifv objstore.Version) (io.ReadCloser, objstore.Attrs, error) {
	if err := ctx.Err(); err != nil {
		return nil, objstore.Attrs{}, objstore.Wrap("open", key, err)
	}
	f, t, err := b.open("open", key, ifv)
	if err != nil {
		return nil, objstore.Attrs{}, err
	}
	if n, err = objstore.ClampRange("open", key, off, n, t.size); err != nil {
		f.Close()
		return nil, objstore.Attrs{}, err
	}
	return &reader{b: b, ctx: ctx, key: key, f: f, off: off, end: off + n}, t.attrs(key), nil
}

// reader reads a run of an object and ends with the context.
type reader struct {
	b        *Bucket
	ctx      context.Context
	key      string
	f        *os.File
	off, end int64
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, objstore.Wrap("open", r.key, err)
	}
	if r.off >= r.end {
		return 0, io.EOF
	}
	n, err := r.f.ReadAt(p[:min(int64(len(p)), r.end-r.off)], r.off)
	r.off += int64(n)
	if err != nil {
		return n, r.b.fail("open", r.key, err)
	}
	return n, nil
}

func (r *reader) Close() error { return r.f.Close() }

// Head implements objstore.Bucket.
func (b *Bucket) Head(ctx context.Context, key string) (objstore.Attrs, error) {
	if err := ctx.Err(); err != nil {
		return objstore.Attrs{}, objstore.Wrap("head", key, err)
	}
	f, t, err := b.open("head", key, "")
	if err != nil {
		return objstore.Attrs{}, err
	}
	f.Close()
	return t.attrs(key), nil
}

// Close implements objstore.Bucket; there is nothing to let go of.
func (b *Bucket) Close() error { return nil }

// present reports whether the store is there: without "~tmp" its disk is not mounted, or
// somebody removed it, and then a missing file says nothing about an object.
func (b *Bucket) present() bool { return isDir(filepath.Join(b.root, tempDir)) }

// fail maps an error of the operating system.
func (b *Bucket) fail(op, key string, err error) error {
	kind := objstore.ErrUnknown
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		kind = objstore.ErrCanceled
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		kind = objstore.ErrNotFound
		if !b.present() {
			kind, err = objstore.ErrNoBucket, fmt.Errorf("%s holds no object store any more: %w", b.root, err)
		}
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		kind = objstore.ErrAccessDenied
	case errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.EFBIG):
		kind = objstore.ErrTooLarge
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		kind = objstore.ErrCorrupt // shorter than its trailer says
	default:
		for _, transient := range transients {
			if errors.Is(err, transient) {
				kind = objstore.ErrTransient
			}
		}
	}
	return objstore.NewError(kind, op, key, err)
}

// transients pass when the disk has room, the server is back or files were closed.
var transients = []error{
	syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE, syscall.EIO, syscall.ESTALE,
	syscall.ETIMEDOUT, syscall.EAGAIN, syscall.EINTR, syscall.ENOMEM,
}

func isDir(name string) bool {
	st, err := os.Stat(name)
	return err == nil && st.IsDir()
}

// makeDirs creates dir and its parents, durably.
func makeDirs(dir string) error {
	var fresh []string
	for d := dir; !isDir(d); d = filepath.Dir(d) {
		fresh = append(fresh, d)
		if filepath.Dir(d) == d {
			break
		}
	}
	if err := os.MkdirAll(dir, dirPerm); err != nil {
		return err
	}
	for _, d := range fresh {
		if err := syncDir(filepath.Dir(d)); err != nil {
			return err
		}
	}
	return nil
}

// syncUp syncs the directory of keys dir and all above it, up to the root. A directory that
// is gone has been removed as empty, and whoever did that synced its parent.
func (b *Bucket) syncUp(dir string) error {
	for {
		if err := syncDir(b.path(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if dir == "." {
			return nil
		}
		dir = path.Dir(dir)
	}
}

func syncDir(dir string) error {
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// isKeyName tells the names that can be a segment of a key from the store's own ("~tmp") and
// from strangers.
func isKeyName(name string) bool {
	return !strings.ContainsRune(name, '/') && objstore.CheckKey(name) == nil
}
