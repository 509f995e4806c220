package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

const filePerm = 0o644

// zeroBytes is how much is written at a time when a file is made.
const zeroBytes = 1 << 20

// readHeader reads the slots of a file and answers the newer one. Errors wrap
// kafka.ErrCorrupt when no slot is whole or the file is another directory's, or ErrNewer.
func readHeader(f vfs.File, dirID kafka.UUID) (header, error) {
	var best header
	var errs []error
	found := false
	for i := range headerSlots {
		b := make([]byte, blockBytes)
		if _, err := f.ReadAt(b, int64(i)*blockBytes); err != nil && !errors.Is(err, io.EOF) {
			return best, fmt.Errorf("read %s: %w", f.Name(), err)
		}
		h, err := parseHeader(b)
		if errors.Is(err, ErrNewer) {
			return best, fmt.Errorf("%s %w", f.Name(), err)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: header %d %w", f.Name(), i, err))
			continue
		}
		if !found || h.sequence > best.sequence {
			best, found = h, true
		}
	}
	if !found {
		return best, errors.Join(errs...)
	}
	if best.dirID != dirID {
		return best, fmt.Errorf("%s belongs to log dir %s, not %s: move it back to where it came from: %w", f.Name(), best.dirID, dirID, kafka.ErrCorrupt)
	}
	return best, nil
}

// writeHeader writes a slot, un-synced; b is aligned room for a block.
func writeHeader(f vfs.File, b []byte, h header) error {
	b = appendHeader(b[:0], h)
	if _, err := f.WriteAt(b, int64(h.sequence%headerSlots)*blockBytes); err != nil {
		return fmt.Errorf("write the header of %s: %w", f.Name(), err)
	}
	return nil
}

// begin starts a generation in both slots, durably: nothing that is in the ring counts from
// then on, whichever slot is read.
func begin(f vfs.File, h header) (header, error) {
	id := kafka.NewUUID()
	h.generation, h.tail, h.prev = binary.BigEndian.Uint64(id[:]), 0, 0
	b := vfs.AlignedBytes(blockBytes)
	for range headerSlots {
		h.sequence++
		if err := writeHeader(f, b, h); err != nil {
			return h, err
		}
		if err := f.Datasync(); err != nil {
			return h, fmt.Errorf("sync %s: %w", f.Name(), err)
		}
	}
	return h, nil
}

// create makes the file under a temporary name, every byte really written, and renames it.
func create(fsys vfs.FS, dir string, h header) error {
	name := filepath.Join(dir, fileName)
	f, err := fsys.OpenFile(name+vfs.TempSuffix, os.O_RDWR|os.O_CREATE|os.O_TRUNC, filePerm)
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	zeros := make([]byte, min(zeroBytes, h.ring))
	for at := int64(0); at < ringStart+h.ring && err == nil; at += int64(len(zeros)) {
		_, err = f.WriteAt(zeros[:min(int64(len(zeros)), ringStart+h.ring-at)], at)
	}
	if err == nil {
		_, err = begin(f, h)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		if err = fsys.Rename(name+vfs.TempSuffix, name); err == nil {
			err = fsys.SyncDir(dir)
		}
	}
	if err != nil {
		_ = fsys.Remove(name + vfs.TempSuffix) // best effort: the next try overwrites it
		return fmt.Errorf("create %s: %w", name, err)
	}
	return nil
}

// openFile opens the file for its writer: past the page cache where the file system takes
// that, which a real write and read of the older header slot find out.
func openFile(fsys vfs.FS, dir string, h header) (f vfs.File, direct bool, err error) {
	name := filepath.Join(dir, fileName)
	if f, err := vfs.OpenDirect(fsys, name, os.O_RDWR); err == nil {
		b := vfs.AlignedBytes(blockBytes)
		slot := int64((h.sequence+1)%headerSlots) * blockBytes
		if _, err = f.ReadAt(b, slot); err == nil {
			_, err = f.WriteAt(b, slot)
		}
		if err == nil {
			return f, true, nil
		}
		_ = f.Close() // the buffered way finds out whether it is more than a refusal
	}
	f, err = fsys.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, false, fmt.Errorf("open %s: %w", name, err)
	}
	return f, false, nil
}

// openHeader opens the file of dir for reading; nil when there is none.
func openHeader(fsys vfs.FS, dir string, dirID kafka.UUID) (vfs.File, header, error) {
	f, err := fsys.OpenFile(filepath.Join(dir, fileName), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, header{}, nil
	}
	if err != nil {
		return nil, header{}, fmt.Errorf("open %s: %w", filepath.Join(dir, fileName), err)
	}
	h, err := readHeader(f, dirID)
	if err != nil {
		return nil, header{}, errors.Join(err, f.Close())
	}
	return f, h, nil
}
