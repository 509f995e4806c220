package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// TempSuffix ends the name of a file that WriteFileAtomic is still writing. A file with
// this suffix found at start-up is debris of a crash and may be removed.
const TempSuffix = ".tmp"

// Fd is the descriptor of f, if the operating system has one for it.
func Fd(f File) (uintptr, bool) {
	d, ok := f.(Descriptor)
	if !ok {
		return 0, false
	}
	return d.Fd(), true
}

// ReadFile reads a whole file. It is for small files: checkpoints, settings, markers.
func ReadFile(fsys FS, name string) ([]byte, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, info.Size())
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b[:n], nil // shorter when the file was cut meanwhile
}

// WriteFileAtomic replaces the content of name: it writes name+TempSuffix, syncs it, renames
// it and syncs the directory. After a crash at any moment name holds the old content or the
// new one, never a mixture, and once WriteFileAtomic has returned nil it holds the new one.
// Two writers of one name must not overlap.
func WriteFileAtomic(fsys FS, name string, b []byte) error {
	tmp := name + TempSuffix
	if err := writeSynced(fsys, tmp, b); err != nil {
		_ = fsys.Remove(tmp) // best effort: the next call overwrites it
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := fsys.Rename(tmp, name); err != nil {
		_ = fsys.Remove(tmp)
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := fsys.SyncDir(filepath.Dir(name)); err != nil {
		return fmt.Errorf("write %s: sync directory: %w", name, err)
	}
	return nil
}

func writeSynced(fsys FS, name string, b []byte) error {
	f, err := fsys.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// MkdirAllSync creates the directory name with its missing parents and makes their entries
// durable: when it returns nil the directory survives a crash. A directory that existed
// already gets its own entry synced too, because nobody may have done so.
func MkdirAllSync(fsys FS, name string, perm fs.FileMode) error {
	var parents []string // of each directory to create, deepest first
	for dir := filepath.Clean(name); ; {
		parent := filepath.Dir(dir)
		if parent == dir {
			break
		}
		parents = append(parents, parent)
		if _, err := fsys.Stat(parent); err == nil {
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		dir = parent
	}
	if err := fsys.MkdirAll(name, perm); err != nil {
		return err
	}
	for _, parent := range parents {
		if err := fsys.SyncDir(parent); err != nil {
			return err
		}
	}
	return nil
}
