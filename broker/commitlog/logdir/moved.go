package logdir

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// Names of what a move between log dirs writes: the future log is Kafka's
// <topic>-<partition>.<unique>-future, the file that says where a log came from is ours.
const (
	futureSuffix = "-future"
	movedSuffix  = "-moved"

	movedMagic   = "VLMV"
	movedVersion = 1
	maxName      = 255 // bytes of a file name
)

// futureName is the name of a partition's directory while it is copied into a log dir.
func futureName(tp kafka.TopicPartition, unique string) string {
	return tp.String() + "." + unique + futureSuffix
}

// parseMoveName reads the name of a future log or of a moved file.
func parseMoveName(name, suffix string) (tp kafka.TopicPartition, unique string, ok bool) {
	rest, ok := strings.CutSuffix(name, suffix)
	i := strings.LastIndexByte(rest, '.')
	if !ok || i < 0 || len(rest)-i-1 != 32 || strings.Trim(rest[i+1:], "0123456789abcdef") != "" {
		return tp, "", false
	}
	tp, ok = commitlog.ParseDirName(rest[:i])
	return tp, rest[i+1:], ok
}

// moved is the file that puts a log into its new directory. It is durable before the future
// directory gets the partition's name, and there until nothing is left in the former ones.
type moved struct {
	unique      string // of the future directory that this was; in the file's name
	directoryID kafka.UUID
	sequence    uint64 // of the directory's checkpoint at that moment
	former      []kafka.UUID
	entry       checkpointEntry
}

func (v *moved) name() string {
	return fmt.Sprintf("%s.%s%s", v.entry.TP, v.unique, movedSuffix)
}

func (v *moved) append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, movedMagic...)
	dst = binary.BigEndian.AppendUint16(dst, movedVersion)
	dst = binary.BigEndian.AppendUint16(dst, 0)
	dst = append(dst, v.directoryID[:]...)
	dst = binary.BigEndian.AppendUint64(dst, v.sequence)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(v.former)))
	for _, id := range v.former {
		dst = append(dst, id[:]...)
	}
	dst = v.entry.append(dst)
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// parseMoved decodes a moved file. Errors wrap kafka.ErrCorrupt, or errNewer.
func parseMoved(b []byte) (*moved, error) {
	r := reader{b: b}
	magic, version := string(r.take(4)), r.u16()
	if r.short || magic != movedMagic || len(b) < 12 || crc32.Checksum(b[:len(b)-4], castagnoli) != binary.BigEndian.Uint32(b[len(b)-4:]) {
		return nil, fmt.Errorf("no magic, or a wrong CRC: %w", kafka.ErrCorrupt)
	}
	if flags := r.u16(); version != movedVersion || flags != 0 {
		return nil, fmt.Errorf("version %d and flags %#x, this program knows %d and none: %w", version, flags, movedVersion, errNewer)
	}
	r.b = r.b[:len(r.b)-4]
	v := &moved{}
	copy(v.directoryID[:], r.take(16))
	v.sequence = r.u64()
	for range int(r.u16()) {
		var id kafka.UUID
		if copy(id[:], r.take(16)); r.short {
			break
		}
		v.former = append(v.former, id)
	}
	r.entry(&v.entry, 2)
	if r.short || len(r.b) > 0 {
		return nil, fmt.Errorf("its fields do not fill it: %w", kafka.ErrCorrupt)
	}
	return v, nil
}

// readMoved reads a moved file; nil for one that a crash cut short, or that is void because
// the future directory never got the partition's name.
func (m opener) readMoved(d *dir, name string, c *contents) error {
	tp, unique, _ := parseMoveName(name, movedSuffix)
	path := filepath.Join(d.path, name)
	b, err := vfs.ReadFile(m.opts.FS, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w: %w", path, kafka.KafkaStorageError, err)
	}
	v, err := parseMoved(b)
	switch {
	case errors.Is(err, errNewer):
		return fmt.Errorf("log dir %s: %s: %w", d.path, name, err)
	case err == nil && (v.directoryID != d.id || v.entry.TP != tp):
		err = fmt.Errorf("of %s in directory %s: %w", v.entry.TP, v.directoryID, kafka.ErrCorrupt)
	}
	if err != nil {
		m.opts.Logger.Warn("file of a move between log dirs is not readable; left alone", "file", path, "error", err)
		return nil
	}
	v.unique = unique
	_, there := c.partitions[tp]
	if c.futures[tp] == unique || !there {
		c.void = append(c.void, path) // the move did not come to its end
		return nil
	}
	if old := c.moved[tp]; old == nil || old.sequence < v.sequence {
		c.moved[tp] = v
	}
	return nil
}

// former is what the checkpoint of a directory goes on saying of a log that has moved away, as
// long as its old copy is there. Until the rename in the new directory is durable a power cut
// takes it back, and while that directory is away nobody sees its moved file: then the copy is
// the log, and a start must not take it for one that is younger than the checkpoint.
type former struct {
	entry  checkpointEntry
	unread bool // nobody has looked at the copy since the checkpoint that this start found
}

// keepFormer has the next checkpoint of a directory say of the old copies in it what this one says.
func (m opener) keepFormer(c *contents) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for tp := range c.stale {
		_, there := c.partitions[tp]
		e := c.known(tp)
		if !there || e == nil {
			continue
		}
		f := former{entry: *e, unread: true}
		f.entry.closed = false // it was opened since
		m.mu.former[futureKey{tp, c.dir}] = f
	}
}

func removeDurably(fsys vfs.FS, dir, path string) error {
	if err := errors.Join(fsys.Remove(path), fsys.SyncDir(dir)); err != nil {
		return fmt.Errorf("remove %s: %w: %w", path, kafka.KafkaStorageError, err)
	}
	return nil
}
