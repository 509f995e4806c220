package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/varve-io/varve/objstore"
)

// temp is a write under way. While its writer lives it holds a flock on the file, so that a
// sweep of another process takes away only what a dead writer has left.
type temp struct {
	f    *os.File
	name string // "" once it has become the object
}

// newTemp creates a temporary file. It fails with fs.ErrNotExist when the store is gone.
func (b *Bucket) newTemp() (*temp, error) {
	for {
		name := filepath.Join(b.root, tempDir, objstore.NewToken())
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, filePerm)
		if err != nil {
			return nil, err
		}
		// Between create and lock a sweep may have taken the file for a dead writer's.
		held, err := tryLock(f)
		if err == nil && held {
			var st syscall.Stat_t
			if err = syscall.Fstat(int(f.Fd()), &st); err == nil && st.Nlink > 0 {
				return &temp{f: f, name: name}, nil
			}
		}
		f.Close()
		if err != nil {
			os.Remove(name)
			return nil, err
		}
	}
}

// link makes the file the object of a key that has none, or fails with fs.ErrExist. The
// count of names tells a link whose reply was lost (a network file system repeats it, and
// then finds its own) from one that lost the race.
func (t *temp) link(name string) error {
	if err := os.Link(t.name, name); err != nil {
		var st syscall.Stat_t
		if serr := syscall.Fstat(int(t.f.Fd()), &st); serr != nil || st.Nlink < 2 {
			return err
		}
	}
	os.Remove(t.name) // if that fails, a sweep will: the object has a name of its own
	t.name = ""
	return nil
}

// rename makes the file the object of a key, in the place of the one there is.
func (t *temp) rename(name string) error {
	if err := os.Rename(t.name, name); err != nil {
		return err
	}
	t.name = ""
	return nil
}

// discard closes the file, and removes it unless it has become the object.
func (t *temp) discard() {
	if t.name != "" {
		os.Remove(t.name)
	}
	t.f.Close()
}

// SweepUploads implements objstore.Sweeper: it removes temporary files that no living writer
// holds. They belong to no key, so that prefix does not matter; a file that was linked before
// its writer died loses its second name only.
func (b *Bucket) SweepUploads(ctx context.Context, _ string, age time.Duration) (int, error) {
	dir := filepath.Join(b.root, tempDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, b.fail("sweep", "", err)
	}
	swept := 0
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return swept, objstore.Wrap("sweep", "", err)
		}
		gone, err := sweep(filepath.Join(dir, e.Name()), time.Now().Add(-age))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return swept, b.fail("sweep", "", err)
		}
		if gone {
			swept++
		}
	}
	return swept, nil
}

// sweep removes one temporary file if it is dead and was last written before the time.
func sweep(name string, before time.Time) (bool, error) {
	f, err := os.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || st.ModTime().After(before) {
		return false, err
	}
	held, err := tryLock(f)
	if err != nil || !held {
		return false, err
	}
	return true, os.Remove(name)
}

// Load reads a small file that is no object, as one of certificates, and refuses one of more than
// max bytes.
func Load(name string, max int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, max+1))
	if err == nil && int64(len(b)) > max {
		err = fmt.Errorf("%s has more than %d bytes", name, max)
	}
	return b, err
}
