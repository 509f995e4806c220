package logdir

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// Names of our own files in a log dir; format page docs/formats/log-dir-checkpoint.md.
const (
	// CheckpointName is the file in which a log dir keeps what it knows of its partitions.
	CheckpointName = "varve-log-dir-checkpoint"
	cleanName      = "varve-clean-shutdown"
)

const (
	checkpointMagic   = "VLDC"
	checkpointVersion = 2                        // 1 says nothing of sizes
	entryFixedSize    = 2 + 16 + 4 + 1 + 5*8 + 4 // an entry of version 1 without its topic's name
	entrySuspect      = 1 << 0
	entryClosed       = 1 << 1
	entryDamaged      = 1 << 2
	entryGaps         = 1 << 3
	entrySealed       = 1 << 4
	entryCleaned      = 1 << 5
)

// errNewer says that a file was written by a later version of this program.
var errNewer = errors.New("written by a newer version")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checkpoint is what one log dir knows of its partitions without reading their files.
type checkpoint struct {
	directoryID kafka.UUID
	bootID      string // of the machine's run in which it was written, "" = unknown
	sequence    uint64 // grows by one with each checkpoint
	entries     []checkpointEntry
}

type checkpointEntry struct {
	commitlog.State
	closed bool // closed in order, with this state
}

// Entry is what a checkpoint says of a partition, for people to read.
type Entry struct {
	commitlog.State
	Closed bool // closed in order, with this state
}

// String is the entry as a line of text.
func (e Entry) String() string {
	return fmt.Sprintf("%s topicID %s recoveryPoint %d logStart %d localStart %d highestRemote %d end %d epoch %d suspect %v damaged %v closed %v",
		e.TP, e.TopicID, e.RecoveryPoint, e.LogStart, e.LocalStart, e.HighestRemote, e.End, e.LatestEpoch, e.Suspect, e.Damaged, e.Closed)
}

// ReadCheckpoint reads a checkpoint file, a broker's that is running too. Errors wrap
// kafka.ErrCorrupt.
func ReadCheckpoint(fsys vfs.FS, path string) ([]Entry, error) {
	b, err := vfs.ReadFile(fsys, path)
	if err != nil {
		return nil, err
	}
	c, err := parseCheckpoint(b)
	if err != nil {
		return nil, err
	}
	var out []Entry
	for _, e := range c.entries {
		out = append(out, Entry{e.State, e.closed})
	}
	return out, nil
}

// append encodes the checkpoint; integers are big-endian.
func (c *checkpoint) append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, checkpointMagic...)
	dst = binary.BigEndian.AppendUint16(dst, checkpointVersion)
	dst = binary.BigEndian.AppendUint16(dst, 0)
	dst = append(dst, c.directoryID[:]...)
	dst = binary.BigEndian.AppendUint64(dst, c.sequence)
	dst = appendString(dst, c.bootID)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(c.entries)))
	for i := range c.entries {
		dst = c.entries[i].append(dst)
	}
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

func (e *checkpointEntry) append(dst []byte) []byte {
	dst = appendString(dst, e.TP.Topic)
	dst = append(dst, e.TopicID[:]...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(e.TP.Partition))
	var flags byte
	if e.Suspect {
		flags |= entrySuspect
	}
	if e.closed {
		flags |= entryClosed
	}
	if e.Damaged {
		flags |= entryDamaged
	}
	if e.Gaps {
		flags |= entryGaps
	}
	if e.Sealed {
		flags |= entrySealed
	}
	if e.Cleaned {
		flags |= entryCleaned
	}
	dst = append(dst, flags)
	for _, v := range []int64{e.RecoveryPoint, e.LogStart, e.LocalStart, e.HighestRemote, e.End} {
		dst = binary.BigEndian.AppendUint64(dst, uint64(v))
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(e.LatestEpoch))
	for _, v := range []int64{e.SizeBytes, e.ActiveBase, e.ActiveBytes} {
		dst = binary.BigEndian.AppendUint64(dst, uint64(v))
	}
	return dst
}

func appendString(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

// parseCheckpoint decodes a checkpoint. Errors wrap kafka.ErrCorrupt, or errNewer.
func parseCheckpoint(b []byte) (*checkpoint, error) {
	r := reader{b: b}
	magic, version := string(r.take(4)), r.u16()
	if r.short || magic != checkpointMagic {
		return nil, fmt.Errorf("%s: no magic: %w", CheckpointName, kafka.ErrCorrupt)
	}
	if len(b) < 12 || crc32.Checksum(b[:len(b)-4], castagnoli) != binary.BigEndian.Uint32(b[len(b)-4:]) {
		return nil, fmt.Errorf("%s fails its CRC: %w", CheckpointName, kafka.ErrCorrupt)
	}
	if flags := r.u16(); version < 1 || version > checkpointVersion || flags != 0 {
		return nil, fmt.Errorf("%s has version %d and flags %#x, this program knows versions up to %d and no flags: %w", CheckpointName, version, flags, checkpointVersion, errNewer)
	}
	r.b = r.b[:len(r.b)-4]
	c := &checkpoint{}
	copy(c.directoryID[:], r.take(16))
	c.sequence, c.bootID = r.u64(), string(r.take(int(r.u16())))
	n := int64(r.u32())
	if r.short || n*entryFixedSize > int64(len(r.b)) {
		return nil, fmt.Errorf("%s: %d entries in %d bytes: %w", CheckpointName, n, len(r.b), kafka.ErrCorrupt)
	}
	c.entries = make([]checkpointEntry, n)
	for i := range c.entries {
		r.entry(&c.entries[i], version)
	}
	if r.short || len(r.b) > 0 {
		return nil, fmt.Errorf("%s: its entries do not fill it: %w", CheckpointName, kafka.ErrCorrupt)
	}
	return c, nil
}

// reader takes fields from the front of b; after it ran short it answers zeros.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if r.short || n > len(r.b) {
		r.short = true
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) entry(e *checkpointEntry, version uint16) {
	e.TP.Topic = string(r.take(int(r.u16())))
	copy(e.TopicID[:], r.take(16))
	e.TP.Partition = int32(r.u32())
	if b := r.take(1); b != nil {
		e.Suspect, e.closed, e.Damaged = b[0]&entrySuspect != 0, b[0]&entryClosed != 0, b[0]&entryDamaged != 0
		e.Sealed = b[0]&entrySealed != 0
		e.Gaps, e.Cleaned = b[0]&entryGaps != 0, b[0]&entryCleaned != 0
	}
	for _, v := range []*int64{&e.RecoveryPoint, &e.LogStart, &e.LocalStart, &e.HighestRemote, &e.End} {
		*v = int64(r.u64())
	}
	e.LatestEpoch = int32(r.u32())
	if e.SizeBytes, e.ActiveBytes = -1, -1; version >= 2 {
		e.SizeBytes, e.ActiveBase, e.ActiveBytes = int64(r.u64()), int64(r.u64()), int64(r.u64())
	}
}
