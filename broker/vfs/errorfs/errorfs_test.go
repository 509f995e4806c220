package errorfs_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/errorfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

func onLog(name string) bool { return strings.HasSuffix(name, ".log") }

// wrap puts one injected failure over a file system that holds a.log with "0123".
func wrap(t *testing.T, inject errorfs.Inject) (vfs.FS, *memfs.FS) {
	t.Helper()
	inner := memfs.New()
	if err := vfs.WriteFileAtomic(inner, "a.log", []byte("0123")); err != nil {
		t.Fatal(err)
	}
	return errorfs.Wrap(inner, inject), inner
}

func read(t *testing.T, fsys vfs.FS, name string) string {
	t.Helper()
	b, err := vfs.ReadFile(fsys, name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestWriteFates(t *testing.T) {
	for _, c := range []struct {
		name  string
		fate  error
		n     int
		after string
	}{
		{"before", syscall.EIO, 0, "0123"},
		{"short", errorfs.Short(2, syscall.EIO), 2, "ab23"},
		{"short by nothing", errorfs.Short(9, syscall.EIO), 4, "abcd"},
		{"after", errorfs.After(syscall.EIO), 4, "abcd"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fsys, inner := wrap(t, errorfs.Nth(2, errorfs.FileWriteAt, onLog, c.fate))
			f, err := fsys.OpenFile("a.log", os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte("0"), 0); err != nil {
				t.Fatalf("the first write failed: %v", err)
			}
			n, err := f.WriteAt([]byte("abcd"), 0)
			var where *fs.PathError
			if n != c.n || !errors.Is(err, syscall.EIO) || !errors.As(err, &where) || where.Path != "a.log" {
				t.Errorf("%d, %v", n, err)
			}
			if got := read(t, inner, "a.log"); got != c.after {
				t.Errorf("file holds %q, want %q", got, c.after)
			}
			if _, err := f.WriteAt([]byte("e"), 0); err != nil {
				t.Errorf("the third write failed: %v", err)
			}
		})
	}
}

func TestEveryOperationCanFail(t *testing.T) {
	var failing errorfs.Op
	fsys, inner := wrap(t, func(op errorfs.Op, name string) error {
		if op == failing && onLog(name) {
			return syscall.EIO
		}
		return nil
	})
	if err := inner.MkdirAll("d.log", 0o755); err != nil {
		t.Fatal(err)
	}
	failing = errorfs.FileClose + 1 // none
	f, err := fsys.OpenFile("a.log", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	calls := map[errorfs.Op]func() error{
		errorfs.OpenFile:     func() error { _, err := fsys.OpenFile("a.log", os.O_RDWR, 0); return err },
		errorfs.MkdirAll:     func() error { return fsys.MkdirAll("x.log", 0o755) },
		errorfs.Remove:       func() error { return fsys.Remove("a.log") },
		errorfs.RemoveAll:    func() error { return fsys.RemoveAll("a.log") },
		errorfs.Rename:       func() error { return fsys.Rename("a.log", "b.log") },
		errorfs.Link:         func() error { return fsys.Link("a.log", "b.log") },
		errorfs.ReadDir:      func() error { _, err := fsys.ReadDir("d.log"); return err },
		errorfs.Stat:         func() error { _, err := fsys.Stat("a.log"); return err },
		errorfs.SyncDir:      func() error { return fsys.SyncDir("d.log") },
		errorfs.Lock:         func() error { _, err := fsys.Lock("a.log"); return err },
		errorfs.Usage:        func() error { _, err := fsys.Usage("a.log"); return err },
		errorfs.FileReadAt:   func() error { _, err := f.ReadAt(make([]byte, 1), 0); return err },
		errorfs.FileWriteAt:  func() error { _, err := f.WriteAt([]byte("x"), 0); return err },
		errorfs.FileStat:     func() error { _, err := f.Stat(); return err },
		errorfs.FileTruncate: func() error { return f.Truncate(0) },
		errorfs.FileSync:     func() error { return f.Sync() },
		errorfs.FileDatasync: func() error { return f.Datasync() },
		errorfs.FileClose:    func() error { return f.Close() },
	}
	for op := errorfs.OpenFile; op <= errorfs.FileClose; op++ {
		failing = op
		if err := calls[op](); !errors.Is(err, syscall.EIO) {
			t.Errorf("%v: %v", op, err)
		}
	}
	if got := read(t, inner, "a.log"); got != "0123" {
		t.Errorf("a failed operation had an effect: %q", got)
	}
}

func TestAfterHappensFirst(t *testing.T) {
	fsys, inner := wrap(t, errorfs.Nth(1, errorfs.Rename, onLog, errorfs.After(syscall.EIO)))
	if err := fsys.Rename("a.log", "b.log"); !errors.Is(err, syscall.EIO) {
		t.Errorf("rename: %v", err)
	}
	if got := read(t, inner, "b.log"); got != "0123" {
		t.Errorf("the rename did not happen: %q", got)
	}
}

func TestWriteFileAtomicLeavesTheOldContent(t *testing.T) {
	ops := []errorfs.Op{errorfs.OpenFile, errorfs.FileWriteAt, errorfs.FileSync, errorfs.FileClose, errorfs.Rename}
	for _, op := range ops {
		fsys, inner := wrap(t, errorfs.Nth(1, op, func(string) bool { return true }, syscall.EIO))
		if err := vfs.WriteFileAtomic(fsys, "a.log", []byte("new")); !errors.Is(err, syscall.EIO) {
			t.Errorf("%v: %v", op, err)
		}
		if got := read(t, inner, "a.log"); got != "0123" {
			t.Errorf("%v: file holds %q", op, got)
		}
		if list, err := inner.ReadDir("/"); err != nil || len(list) != 1 {
			t.Errorf("%v: left over: %v, %v", op, list, err)
		}
	}
}
