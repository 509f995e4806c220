package commitlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// A swap puts one segment into the place of several: compaction's last step. Its record
// (`<base>.swap`) is what makes it happen: before it is durable a start removes what was
// written, from then on a start completes it. Every step after it may be done twice.
//
// The record: 4 bytes magic, uint16 version, uint16 flags, int64 base of the new segment,
// int64 offset behind the last segment that goes, uint32 CRC32C of all that.
const (
	swapMagic   = "VSWP"
	swapVersion = 1
	swapTxns    = 1 << 0 // the new segment has a transaction index
	swapSize    = 28
)

// swapRecord is the content of the record.
type swapRecord struct {
	base, next int64
	txns       bool
}

func (r swapRecord) append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, swapMagic...)
	dst = binary.BigEndian.AppendUint16(dst, swapVersion)
	var flags uint16
	if r.txns {
		flags = swapTxns
	}
	dst = binary.BigEndian.AppendUint16(dst, flags)
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.base))
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.next))
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// parseSwap decodes a record. Errors wrap kafka.ErrCorrupt, but for one of a later version.
func parseSwap(b []byte) (swapRecord, error) {
	if len(b) != swapSize || string(b[:4]) != swapMagic {
		return swapRecord{}, fmt.Errorf("no swap record in %d bytes: %w", len(b), kafka.ErrCorrupt)
	}
	if crc32.Checksum(b[:swapSize-4], castagnoli) != binary.BigEndian.Uint32(b[swapSize-4:]) {
		return swapRecord{}, fmt.Errorf("swap record fails its CRC: %w", kafka.ErrCorrupt)
	}
	version, flags := binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:])
	if version != swapVersion || flags&^swapTxns != 0 {
		return swapRecord{}, fmt.Errorf("swap record has version %d and flags %#x, this program knows version %d: it was written by a newer one", version, flags, swapVersion)
	}
	r := swapRecord{base: int64(binary.BigEndian.Uint64(b[8:])), next: int64(binary.BigEndian.Uint64(b[16:])), txns: flags&swapTxns != 0}
	if r.base < 0 || r.next <= r.base {
		return swapRecord{}, fmt.Errorf("swap record of offsets [%d, %d): %w", r.base, r.next, kafka.ErrCorrupt)
	}
	return r, nil
}

// place gives the new segment's files their names, those that do not have them yet.
func (r swapRecord) place(fs vfs.FS, dir string) error {
	for _, suffix := range []string{logSuffix, indexSuffix, timeIndexSuffix, txnIndexSuffix} {
		path := segmentPath(dir, r.base, suffix)
		var err error
		if suffix == txnIndexSuffix && !r.txns {
			err = fs.Remove(path)
		} else {
			err = fs.Rename(path+cleanedSuffix, path)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("put %s in place: %w", path, err)
		}
	}
	return nil
}

// finish removes the files of the segments that were replaced, and then the record. The
// snapshots go too: a transaction that is open in one may have lost its marker since, which
// nothing would tell a replay that starts there. The rewritten batches themselves agree.
func (r swapRecord) finish(fs vfs.FS, dir string) error {
	entries, err := fs.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list %s: %w", dir, err)
	}
	for _, e := range entries {
		base, suffix, ok := ParseSegmentName(e.Name())
		if !ok || e.IsDir() || base < r.base || base >= r.next {
			continue
		}
		switch suffix {
		case logSuffix, indexSuffix, timeIndexSuffix, txnIndexSuffix:
			if base == r.base {
				continue
			}
			fallthrough
		case snapshotSuffix:
			if err := fs.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("remove %s: %w", filepath.Join(dir, e.Name()), err)
			}
		}
	}
	if err := fs.SyncDir(dir); err != nil { // before the record goes
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	record := segmentPath(dir, r.base, swapSuffix)
	if err := fs.Remove(record); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", record, err)
	}
	if err := fs.SyncDir(dir); err != nil { // a later eviction must not be followed by an old record
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}

// finishSwaps completes the swaps that a crash interrupted, and lists the files anew.
func (ld *loader) finishSwaps() error {
	for _, base := range ld.swaps {
		path := segmentPath(ld.l.dir, base, swapSuffix)
		b, err := vfs.ReadFile(ld.l.opts.FS, path)
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		r, err := parseSwap(b)
		if err == nil && r.base != base {
			err = fmt.Errorf("swap record of base %d: %w", r.base, kafka.ErrCorrupt)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := errors.Join(r.place(ld.l.opts.FS, ld.l.dir), r.finish(ld.l.opts.FS, ld.l.dir)); err != nil {
			return err
		}
		ld.l.opts.Logger.Info("completed a compaction that was interrupted", "partition", ld.l.opts.TP.String(), "from", r.base, "to", r.next)
	}
	*ld = loader{l: ld.l, c: ld.c, state: ld.state, known: ld.known, evicted: -1, snapshot: -1}
	return ld.list()
}
