package vfs_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/errorfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

// everywhere runs one behaviour test on each file system, in an empty directory.
func everywhere(t *testing.T, test func(t *testing.T, fsys vfs.FS, dir string)) {
	t.Run("os", func(t *testing.T) { test(t, vfs.OS(), t.TempDir()) })
	inMemory := func() vfs.FS {
		fsys := memfs.New()
		must(t, fsys.MkdirAll("/data", 0o755))
		return fsys
	}
	t.Run("memfs", func(t *testing.T) { test(t, inMemory(), "/data") })
	t.Run("errorfs", func(t *testing.T) {
		test(t, errorfs.Wrap(inMemory(), func(errorfs.Op, string) error { return nil }), "/data")
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func create(t *testing.T, fsys vfs.FS, name, content string) {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	must(t, err)
	_, err = f.WriteAt([]byte(content), 0)
	must(t, err)
	must(t, f.Close())
}

func content(t *testing.T, fsys vfs.FS, name string) string {
	t.Helper()
	b, err := vfs.ReadFile(fsys, name)
	must(t, err)
	return string(b)
}

func TestOpenFlags(t *testing.T) {
	everywhere(t, func(t *testing.T, fsys vfs.FS, dir string) {
		name := filepath.Join(dir, "f")
		_, err := fsys.OpenFile(name, os.O_RDWR, 0)
		wantErr(t, "open of a missing file", err, fs.ErrNotExist)
		wantErr(t, "open of a missing file", err, syscall.ENOENT)
		create(t, fsys, name, "hello")
		_, err = fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
		wantErr(t, "exclusive creation of an existing file", err, fs.ErrExist)
		_, err = fsys.OpenFile(dir, os.O_RDONLY, 0)
		wantErr(t, "open of a directory", err, syscall.EISDIR)
		_, err = fsys.OpenFile(filepath.Join(name, "below"), os.O_RDONLY, 0)
		wantErr(t, "open below a file", err, syscall.ENOTDIR)

		f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
		must(t, err)
		if f.Name() != name {
			t.Errorf("name %q, want %q", f.Name(), name)
		}
		_, err = f.WriteAt([]byte("x"), 0)
		wantErr(t, "write to a file opened for reading", err, syscall.EBADF)
		must(t, f.Close())
		wantErr(t, "second close", f.Close(), fs.ErrClosed)
		_, err = f.ReadAt(make([]byte, 1), 0)
		wantErr(t, "read after close", err, fs.ErrClosed)
		wantErr(t, "sync after close", f.Sync(), fs.ErrClosed)
		wantErr(t, "datasync after close", f.Datasync(), fs.ErrClosed)
		if got := content(t, fsys, name); got != "hello" {
			t.Errorf("content %q", got)
		}
	})
}

func TestReadWriteTruncate(t *testing.T) {
	everywhere(t, func(t *testing.T, fsys vfs.FS, dir string) {
		name := filepath.Join(dir, "f")
		f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
		must(t, err)
		defer f.Close()
		_, err = f.WriteAt([]byte("abc"), 5) // leaves a hole
		must(t, err)
		_, err = f.WriteAt([]byte("XY"), 6)
		must(t, err)
		if got := content(t, fsys, name); got != "\x00\x00\x00\x00\x00aXY" {
			t.Errorf("content %q", got)
		}
		must(t, f.Truncate(7))
		must(t, f.Truncate(9)) // the cut byte must not come back
		if got := content(t, fsys, name); got != "\x00\x00\x00\x00\x00aX\x00\x00" {
			t.Errorf("content after truncate %q", got)
		}
		info, err := f.Stat()
		must(t, err)
		if info.Size() != 9 || info.Name() != "f" || info.IsDir() || info.Mode().Perm()&0o600 != 0o600 {
			t.Errorf("stat: %d bytes, %q, %v", info.Size(), info.Name(), info.Mode())
		}
		b := make([]byte, 4)
		if n, err := f.ReadAt(b, 7); n != 2 || err != io.EOF {
			t.Errorf("read over the end: %d, %v", n, err)
		}
		if n, err := f.ReadAt(b, 100); n != 0 || err != io.EOF {
			t.Errorf("read beyond the end: %d, %v", n, err)
		}
		if n, err := f.ReadAt(b[:2], 7); n != 2 || err != nil {
			t.Errorf("read up to the end: %d, %v", n, err)
		}
		wantErr(t, "truncate to a negative size", f.Truncate(-1), syscall.EINVAL)
		if _, err := f.WriteAt([]byte("x"), -1); err == nil {
			t.Error("a write before the start was accepted")
		}
		if _, err := f.ReadAt(b, -1); err == nil || err == io.EOF {
			t.Errorf("read before the start: %v", err)
		}
		must(t, f.Sync())
		must(t, f.Datasync())
	})
}

func TestNames(t *testing.T) {
	everywhere(t, func(t *testing.T, fsys vfs.FS, dir string) {
		in := func(name string) string { return filepath.Join(dir, name) }
		must(t, fsys.MkdirAll(in("sub/deep"), 0o755))
		must(t, fsys.MkdirAll(in("sub/deep"), 0o755))
		create(t, fsys, in("a"), "A")
		wantErr(t, "directory over a file", fsys.MkdirAll(in("a/b"), 0o755), syscall.ENOTDIR)

		must(t, fsys.Link(in("a"), in("sub/b")))
		wantErr(t, "link over a name", fsys.Link(in("a"), in("sub/b")), fs.ErrExist)
		wantErr(t, "link of a missing file", fsys.Link(in("none"), in("x")), fs.ErrNotExist)
		create(t, fsys, in("a"), "AA")
		if got := content(t, fsys, in("sub/b")); got != "AA" {
			t.Errorf("through the other name: %q", got)
		}

		create(t, fsys, in("c"), "C")
		must(t, fsys.Rename(in("c"), in("a")))
		if got := content(t, fsys, in("a")) + content(t, fsys, in("sub/b")); got != "CAA" {
			t.Errorf("after a rename over a name: %q", got)
		}
		wantErr(t, "rename of a missing file", fsys.Rename(in("c"), in("d")), fs.ErrNotExist)
		wantErr(t, "rename over a directory", fsys.Rename(in("a"), in("sub")), fs.ErrExist)
		must(t, fsys.Rename(in("sub"), in("moved")))
		if got := content(t, fsys, in("moved/b")); got != "AA" {
			t.Errorf("in a renamed directory: %q", got)
		}

		list, err := fsys.ReadDir(dir)
		must(t, err)
		var names []string
		for _, e := range list {
			names = append(names, e.Name())
		}
		if got := strings.Join(names, " "); got != "a moved" || list[0].IsDir() || !list[1].IsDir() {
			t.Errorf("directory holds %q", got)
		}
		_, err = fsys.ReadDir(in("none"))
		wantErr(t, "listing of a missing directory", err, fs.ErrNotExist)
		_, err = fsys.Stat(in("none"))
		wantErr(t, "stat of a missing file", err, fs.ErrNotExist)
		must(t, fsys.SyncDir(dir))
		wantErr(t, "sync of a missing directory", fsys.SyncDir(in("none")), fs.ErrNotExist)
	})
}

func TestRemove(t *testing.T) {
	everywhere(t, func(t *testing.T, fsys vfs.FS, dir string) {
		in := func(name string) string { return filepath.Join(dir, name) }
		must(t, fsys.MkdirAll(in("sub"), 0o755))
		create(t, fsys, in("sub/a"), "A")
		wantErr(t, "removal of a full directory", fsys.Remove(in("sub")), syscall.ENOTEMPTY)

		f, err := fsys.OpenFile(in("sub/a"), os.O_RDWR, 0)
		must(t, err)
		must(t, fsys.Remove(in("sub/a")))
		wantErr(t, "second removal", fsys.Remove(in("sub/a")), fs.ErrNotExist)
		_, err = f.WriteAt([]byte("Z"), 1)
		must(t, err)
		b := make([]byte, 2)
		if _, err := f.ReadAt(b, 0); err != nil || string(b) != "AZ" {
			t.Errorf("removed file through its handle: %q, %v", b, err)
		}
		must(t, f.Close())
		must(t, fsys.Remove(in("sub")))

		must(t, fsys.MkdirAll(in("tree/x/y"), 0o755))
		create(t, fsys, in("tree/x/f"), "F")
		must(t, fsys.RemoveAll(in("tree")))
		must(t, fsys.RemoveAll(in("tree")))
		_, err = fsys.Stat(in("tree"))
		wantErr(t, "stat of a removed tree", err, fs.ErrNotExist)
	})
}

func TestLock(t *testing.T) {
	everywhere(t, func(t *testing.T, fsys vfs.FS, dir string) {
		name := filepath.Join(dir, ".lock")
		l, err := fsys.Lock(name)
		must(t, err)
		_, err = fsys.Lock(name)
		wantErr(t, "second lock", err, vfs.ErrLocked)
		must(t, l.Close())
		l, err = fsys.Lock(name)
		must(t, err)
		must(t, l.Close())
	})
}

func TestUsage(t *testing.T) {
	everywhere(t, func(t *testing.T, fsys vfs.FS, dir string) {
		u, err := fsys.Usage(dir)
		must(t, err)
		if u.Total <= 0 || u.Free <= 0 || u.Free > u.Total {
			t.Errorf("usage %+v", u)
		}
		_, err = fsys.Usage(filepath.Join(dir, "none"))
		wantErr(t, "usage at a missing name", err, fs.ErrNotExist)
	})
}

func TestHelpers(t *testing.T) {
	everywhere(t, func(t *testing.T, fsys vfs.FS, dir string) {
		must(t, vfs.MkdirAllSync(fsys, filepath.Join(dir, "p/q/r"), 0o755))
		name := filepath.Join(dir, "p/q/r/checkpoint")
		must(t, vfs.WriteFileAtomic(fsys, name, []byte("one")))
		must(t, vfs.WriteFileAtomic(fsys, name, []byte("second")))
		if got := content(t, fsys, name); got != "second" {
			t.Errorf("content %q", got)
		}
		if list, err := fsys.ReadDir(filepath.Dir(name)); err != nil || len(list) != 1 {
			t.Errorf("left over: %v, %v", list, err)
		}
	})
}

func TestDescriptor(t *testing.T) {
	everywhere(t, func(t *testing.T, fsys vfs.FS, dir string) {
		name := filepath.Join(dir, "f")
		create(t, fsys, name, "x")
		f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
		must(t, err)
		defer f.Close()
		fd, ok := vfs.Fd(f)
		if onDisk := fsys == vfs.OS(); ok != onDisk {
			t.Fatalf("descriptor: %v, want %v", ok, onDisk)
		}
		if !ok {
			return
		}
		b := make([]byte, 2)
		if n, err := syscall.Pread(int(fd), b, 0); n != 1 || err != nil || b[0] != 'x' {
			t.Errorf("through the descriptor: %d, %v", n, err)
		}
	})
}

func TestRangeHoldsItsFile(t *testing.T) {
	fsys := memfs.New()
	create(t, fsys, "f", "0123456789")
	f, err := fsys.OpenFile("f", os.O_RDONLY, 0)
	must(t, err)
	closed := false
	ref := vfs.NewRef(func() { closed = true; _ = f.Close() })
	if !ref.TryAcquire() {
		t.Fatal("a live ref refuses a holder")
	}
	r := vfs.NewRange(f, 3, 4, ref)
	ref.Release()
	if closed {
		t.Fatal("closed under a reader")
	}
	b, err := r.ReadAll()
	if err != nil || !bytes.Equal(b, []byte("3456")) {
		t.Errorf("range %q, %v", b, err)
	}
	r.Release()
	if !closed || ref.TryAcquire() {
		t.Error("the last release did not close")
	}
	vfs.Range{}.Release()
}
