package controller

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/hashicorp/raft-wal/types"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// walFS is our file system as raft-wal wants it.
type walFS struct{ fs vfs.FS }

// ListDir implements types.VFS.
func (w walFS) ListDir(dir string) ([]string, error) {
	entries, err := w.fs.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Create implements types.VFS. The size is a hint that is not taken: a file that grows with
// its content costs a little with each sync, and idle clusters do not hold megabytes of zeros.
func (w walFS) Create(dir, name string, _ uint64) (types.WritableFile, error) {
	f, err := w.fs.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	return &walFile{File: f, fs: w.fs, dir: dir}, nil
}

// Delete implements types.VFS.
func (w walFS) Delete(dir, name string) error {
	if err := w.fs.Remove(filepath.Join(dir, name)); err != nil {
		return err
	}
	return w.fs.SyncDir(dir)
}

// OpenReader implements types.VFS.
func (w walFS) OpenReader(dir, name string) (types.ReadableFile, error) {
	return w.fs.OpenFile(filepath.Join(dir, name), os.O_RDONLY, 0)
}

// OpenWriter implements types.VFS. It is how the log opens its last file after a restart.
func (w walFS) OpenWriter(dir, name string) (types.WritableFile, error) {
	f, err := w.fs.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if err := cutTornTail(f); err != nil {
		_ = f.Close()
		return nil, err
	}
	return &walFile{File: f, fs: w.fs, dir: dir}, nil
}

// walFile is a segment that is written to. Its first sync also makes its name durable: a
// process may have died between creating it and that.
type walFile struct {
	vfs.File
	fs    vfs.FS
	dir   string
	named atomic.Bool
}

// Sync implements types.WritableFile.
func (f *walFile) Sync() error {
	if err := f.File.Datasync(); err != nil {
		return err
	}
	if f.named.Load() {
		return nil
	}
	if err := f.fs.SyncDir(f.dir); err != nil {
		return err
	}
	f.named.Store(true)
	return nil
}

// What cutTornTail knows of raft-wal's segment format (its README, "Segment Files"): a file
// header, then frames of a type, padding and a length or checksum, padded to eight bytes. A
// commit frame holds the CRC-32C of what was written since the commit before it.
const (
	walHeaderSize  = 32
	walFrameHeader = 8
	walFrameEntry  = 1
	walFrameIndex  = 2
	walFrameCommit = 3
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// cutTornTail cuts a segment behind its last whole batch of entries, and syncs that.
//
// raft-wal recovers by itself from a torn last batch, but leaves the torn bytes in place: if
// the next, shorter batch is torn as well, leftovers of the first behind it pass for frames,
// and then it takes the second for complete. Cutting them off leaves nothing to mistake. A
// broken batch with a whole one behind it is no torn write, because every batch was synced
// before the next: that is reported, never cut.
func cutTornTail(f vfs.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	b := make([]byte, info.Size())
	if n, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		return err
	} else if n < len(b) {
		return fmt.Errorf("read %s: %w", f.Name(), io.ErrUnexpectedEOF)
	}
	good, broken := 0, -1
	start := 0 // of the batch; the first includes the file header
	for at := walHeaderSize; at+walFrameHeader <= len(b); {
		size := walFrameHeader
		value := binary.LittleEndian.Uint32(b[at+4:])
		switch b[at] {
		case walFrameEntry, walFrameIndex:
			size += int(value+7) &^ 7
		case walFrameCommit:
			switch whole := crc32.Checksum(b[start:at], castagnoli) == value; {
			case whole && broken >= 0:
				return fmt.Errorf("%s is damaged at byte %d, before entries that are whole: restore the metadata directory from a copy: %w", f.Name(), broken, kafka.ErrCorrupt)
			case whole:
				good = at + size
			case broken < 0:
				broken = start
			}
			start = at + size
		default:
			size = len(b) // zeros, or what a torn write left
		}
		at += size
	}
	if good == len(b) {
		return nil
	}
	if err := f.Truncate(int64(good)); err != nil {
		return err
	}
	return f.Sync()
}
