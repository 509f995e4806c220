package controller

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
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
	name = filepath.Join(dir, name)
	if err := w.repair(name); err != nil {
		return nil, err
	}
	f, err := w.fs.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
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

// What repair knows of raft-wal's segment format (its README, "Segment Files"): a file
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

// repair brings the last segment into the state in which a log that was never interrupted
// would be. It replaces the file, so a crash meanwhile changes nothing.
//
//   - What a torn last batch left behind the last whole one is cut off.
//   - The index of a segment that is still the tail, because the next one was never made
//     known, is taken off; the next append puts it back.
//   - A broken batch with a whole one behind it is no torn write, because every batch is
//     synced before the next: that is reported, never cut.
func (w walFS) repair(name string) error {
	b, err := vfs.ReadFile(w.fs, name)
	if err != nil {
		return err
	}
	last, err := lastBatch(b)
	if err != nil {
		return fmt.Errorf("%s is %w", name, err)
	}
	switch {
	case last.index > 0:
		sum := crc32.Checksum(b[last.start:last.index], castagnoli)
		b = append(b[:last.index], walFrameCommit, 0, 0, 0)
		b = binary.LittleEndian.AppendUint32(b, sum)
	case last.end < len(b):
		b = b[:last.end]
	default:
		return nil
	}
	return vfs.WriteFileAtomic(w.fs, name, b)
}

// walBatch is where a batch lies in its segment.
type walBatch struct {
	start, end int
	index      int // its index frame, which seals the segment; 0 when there is none
}

// lastBatch finds the last whole batch of a segment; the zero batch when there is none.
func lastBatch(b []byte) (last walBatch, err error) {
	broken := -1
	batch := walBatch{} // the first includes the file header
	for at := walHeaderSize; at+walFrameHeader <= len(b); {
		size := walFrameHeader
		value := binary.LittleEndian.Uint32(b[at+4:])
		switch b[at] {
		case walFrameEntry:
			size += int((uint64(value) + 7) &^ 7)
		case walFrameIndex:
			size += int((uint64(value) + 7) &^ 7)
			batch.index = at
		case walFrameCommit:
			batch.end = at + size
			switch whole := crc32.Checksum(b[batch.start:at], castagnoli) == value; {
			case whole && broken >= 0:
				return last, fmt.Errorf("damaged at byte %d, before entries that are whole: restore the metadata directory from a copy: %w", broken, kafka.ErrCorrupt)
			case whole:
				last = batch
			case broken < 0:
				broken = batch.start
			}
			batch = walBatch{start: at + size}
		default:
			return last, nil // zeros, or what a torn write left
		}
		at += size
	}
	return last, nil
}
