package commitlog

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/varve-io/varve/broker/commitlog/wal"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// Config is what a log needs of its topic's settings. Kafka's names and meanings;
// bytes and milliseconds.
type Config struct {
	SegmentBytes       int64 // segment.bytes
	SegmentMs          int64 // segment.ms
	SegmentJitterMs    int64 // segment.jitter.ms
	SegmentIndexBytes  int64 // segment.index.bytes
	IndexIntervalBytes int64 // index.interval.bytes
	FileDeleteDelayMs  int64 // file.delete.delay.ms
	FlushMessages      int64 // flush.messages; math.MaxInt64 = never
	FlushMs            int64 // flush.ms; math.MaxInt64 = never
	Compact            bool  // cleanup.policy has compact: offsets may be missing
	// Group is varve.durability=group: what was appended is durable, and may be acknowledged
	// and shown, when Durable has reached it. Without it that is at once (Kafka's model).
	Group bool
}

// DefaultConfig is Kafka's defaults.
func DefaultConfig() Config {
	return Config{
		SegmentBytes:       1 << 30,
		SegmentMs:          7 * 24 * 3600 * 1000,
		SegmentIndexBytes:  10 << 20,
		IndexIntervalBytes: 4096,
		FileDeleteDelayMs:  60_000,
		FlushMessages:      math.MaxInt64,
		FlushMs:            math.MaxInt64,
	}
}

// MinSegmentIndexBytes is the least that Config.SegmentIndexBytes may be: room for one entry
// of each index, and for the last time of a closed segment.
const MinSegmentIndexBytes = 2 * timeEntrySize

// validate refuses what would not work; ranges of settings are broker/config's.
func (c *Config) validate() error {
	if c.SegmentBytes <= 0 || c.SegmentBytes > math.MaxInt32 || c.SegmentIndexBytes < MinSegmentIndexBytes ||
		c.IndexIntervalBytes < 0 || c.SegmentMs <= 0 {
		return fmt.Errorf("log config %+v is out of range: %w", *c, kafka.InvalidConfig)
	}
	return nil
}

// Options says which log Open opens and what it is given.
type Options struct {
	FS      vfs.FS
	Dir     string // the log dir; the partition's own directory is Dir/<topic>-<partition>
	TP      kafka.TopicPartition
	TopicID kafka.UUID
	Config  Config
	Files   *FileCache // shared by all logs on FS
	Room    *Room      // shared by all logs on one disk; nil for none
	Own     bool       // an internal topic: its appends may use room that is kept from clients
	Stats   *Stats     // shared by all logs of a node; nil for none
	Now     func() time.Time
	Logger  *slog.Logger

	// State is what the log dir's checkpoint says of this partition, nil when it says nothing.
	State *State
	// Clean says that the log was closed in order after State was written: it opens
	// without reading anything, and its files are looked at on first use.
	Clean bool
	// Younger says that the log dir's checkpoint was read and does not name this partition:
	// the log is younger than it, and nothing of it is known to be synced. Without it, and
	// without State, damage is reported and never cut.
	Younger bool
	// Fresh says that the partition was never on this node, so that an empty log is the
	// whole truth. See Log.Suspect.
	Fresh bool
	// PowerLost says that the machine may have lost power since the log was last open.
	// Above the recovery point any subset of the writes may then be missing: the log is
	// cut at the first damage. Otherwise only the last write can be torn, and damage
	// in front of whole batches is reported.
	PowerLost bool

	// WAL answers the write-ahead file of the log dir, which appears with the first call. nil:
	// in group mode each append syncs the log's own files.
	WAL func() (*wal.WAL, error)
	// Redo is what the write-ahead file holds of this log after a crash; nil for nothing.
	Redo *wal.Redo

	// ProducerIDExpirationMs is producer.id.expiration.ms.
	ProducerIDExpirationMs int64
	// Checkpoint makes State durable at once. The log calls it before it cuts anything
	// below what an earlier checkpoint promised. May be nil.
	Checkpoint func() error
	// Failed is told of the first storage error, after which the log refuses all work.
	// It must not call into the log. May be nil.
	Failed func(error)
}

func (o *Options) validate() error {
	if o.FS == nil || o.Files == nil || o.Now == nil || o.Logger == nil || o.Dir == "" || o.TP.Topic == "" {
		return errors.New("BUG: commitlog.Options without FS, Files, Now, Logger, Dir or TP")
	}
	return o.Config.validate()
}

// nowMs is the wall clock.
func (o *Options) nowMs() int64 { return o.Now().UnixMilli() }

// State is what a log dir's checkpoint keeps of a log, so that the log opens without
// reading its files. Offsets; -1 = none.
type State struct {
	TP      kafka.TopicPartition
	TopicID kafka.UUID
	// RecoveryPoint: the batches below it are synced, the epochs that they began, and the
	// directory entries. So are the other files of closed segments: see closedPoint.
	RecoveryPoint int64
	LogStart      int64 // global start, remote part included
	LocalStart    int64
	HighestRemote int64 // highest offset that a remote manifest holds
	End           int64
	LatestEpoch   int32 // of the last batch, kafka.NoEpoch = none
	SizeBytes     int64 // of the local segments, -1 = not known
	ActiveBase    int64 // base offset of the active segment
	ActiveBytes   int64 // its size, -1 = not known
	Sealed        bool  // indexes and producer state are in files, synced or not: see Untouched
	Suspect       bool  // see Log.Suspect: nobody has settled it yet
	Gaps          bool  // the log is or was compacted: offsets may be missing
	Cleaned       bool  // the cleaner's checkpoint, which knows no topic ids, speaks of this log: see KeepCleaned
	// Damaged says that damage was reported and not settled, or that the log could not be
	// read: whatever a later start finds, it cuts nothing.
	Damaged bool
}

// closedPoint is how far a recovery may trust the log's segments without reading them: those
// below were closed when the checkpoint was taken, and all their files are durable, the
// producer snapshot behind the last of them too. A segment that was active then may have been
// closed since with all its batches below the recovery point; what a roll writes is not synced.
func (s *State) closedPoint() int64 {
	if s.ActiveBytes < 0 { // a checkpoint of version 1, which does not say
		return s.RecoveryPoint
	}
	return min(s.RecoveryPoint, s.ActiveBase)
}

// Appended is where a batch went.
type Appended struct {
	BaseOffset int64
	LastOffset int64
	LogStart   int64
	// AppendTimeMs is the broker's time in the batch on a LogAppendTime topic, and the largest
	// timestamp of the first try for a duplicate; else -1.
	AppendTimeMs int64
	// Duplicate says that nothing was written: the offsets are those of the first try.
	Duplicate bool
	// Rolled says that the batch is the first of its segment: the one before, if there is
	// one, is closed.
	Rolled bool
}

// SegmentInfo describes a segment.
type SegmentInfo struct {
	Base           int64
	Next           int64 // the first offset behind the segment
	SizeBytes      int64
	MaxTimestampMs int64 // newest record, -1 = empty
	CreatedMs      int64
	Active         bool
}
