package commitlog

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/varve-io/varve/broker/kafka"
)

// EpochEntry says that the leader of Epoch wrote its first batch at offset Start.
type EpochEntry struct {
	Epoch int32
	Start int64
}

// epochCache is the leader-epoch history of one log, ascending in epoch and start
// (KIP-101, KIP-279). Guarded by Log.mu.
type epochCache struct {
	entries []EpochEntry
	dirty   bool // memory is ahead of leader-epoch-checkpoint
}

func (c *epochCache) latest() int32 {
	if len(c.entries) == 0 {
		return kafka.NoEpoch
	}
	return c.entries[len(c.entries)-1].Epoch
}

// assign records the first append of an epoch; older epochs are left as they are.
func (c *epochCache) assign(epoch int32, start int64) {
	if epoch <= c.latest() {
		return
	}
	c.truncateEnd(start) // an epoch that wrote nothing below start leaves no trace
	c.entries = append(c.entries, EpochEntry{Epoch: epoch, Start: start})
	c.dirty = true
}

// truncateEnd forgets epochs that start at end or later.
func (c *epochCache) truncateEnd(end int64) {
	n := sort.Search(len(c.entries), func(i int) bool { return c.entries[i].Start >= end })
	if n < len(c.entries) {
		c.entries = c.entries[:n:n]
		c.dirty = true
	}
}

// truncateStart forgets what lies below start and keeps the epoch of start itself.
func (c *epochCache) truncateStart(start int64) {
	n := sort.Search(len(c.entries), func(i int) bool { return c.entries[i].Start > start })
	if n == 0 || n == 1 && c.entries[0].Start == start {
		return
	}
	kept := slices.Clone(c.entries[n-1:])
	kept[0].Start = start
	c.entries = kept
	c.dirty = true
}

// below answers the entries that start below an offset.
func (c *epochCache) below(offset int64) []EpochEntry {
	n := sort.Search(len(c.entries), func(i int) bool { return c.entries[i].Start >= offset })
	return slices.Clone(c.entries[:n])
}

// at is the epoch that wrote offset, kafka.NoEpoch below the first entry.
func (c *epochCache) at(offset int64) int32 {
	n := sort.Search(len(c.entries), func(i int) bool { return c.entries[i].Start > offset })
	if n == 0 {
		return kafka.NoEpoch
	}
	return c.entries[n-1].Epoch
}

// endFor answers OffsetsForLeaderEpoch: the largest epoch at most epoch, and where it
// ends; (NoEpoch, NoOffset) when epoch is unknown here.
func (c *epochCache) endFor(epoch int32, logEnd int64) (int32, int64) {
	if epoch == kafka.NoEpoch || len(c.entries) == 0 {
		return kafka.NoEpoch, kafka.NoOffset
	}
	if epoch == c.latest() {
		return epoch, logEnd
	}
	higher := sort.Search(len(c.entries), func(i int) bool { return c.entries[i].Epoch > epoch })
	switch {
	case higher == len(c.entries):
		return kafka.NoEpoch, kafka.NoOffset
	case higher == 0:
		return epoch, c.entries[0].Start
	default:
		return c.entries[higher-1].Epoch, c.entries[higher].Start
	}
}

// AppendEpochCheckpoint writes Kafka's leader-epoch-checkpoint text, version 0: a line
// with the version, one with the count, then "epoch start" a line.
func AppendEpochCheckpoint(dst []byte, entries []EpochEntry) []byte {
	dst = fmt.Appendf(dst, "0\n%d\n", len(entries))
	for _, e := range entries {
		dst = fmt.Appendf(dst, "%d %d\n", e.Epoch, e.Start)
	}
	return dst
}

// ParseEpochCheckpoint reads that text. Errors wrap kafka.ErrCorrupt.
func ParseEpochCheckpoint(b []byte) ([]EpochEntry, error) {
	corrupt := func(what string) ([]EpochEntry, error) {
		return nil, fmt.Errorf("leader-epoch-checkpoint: %s: %w", what, kafka.ErrCorrupt)
	}
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if len(lines) < 2 || lines[0] != "0" {
		return corrupt("no version 0 header")
	}
	n, err := strconv.ParseUint(lines[1], 10, 31)
	if err != nil || int(n) != len(lines)-2 {
		return corrupt("the count does not fit the lines")
	}
	out := make([]EpochEntry, 0, n)
	for _, line := range lines[2:] {
		f := strings.Fields(line)
		if len(f) != 2 {
			return corrupt(fmt.Sprintf("line %q", line))
		}
		epoch, err1 := strconv.ParseInt(f[0], 10, 32)
		start, err2 := strconv.ParseInt(f[1], 10, 64)
		if err1 != nil || err2 != nil || epoch < 0 || start < 0 {
			return corrupt(fmt.Sprintf("line %q", line))
		}
		e := EpochEntry{Epoch: int32(epoch), Start: start}
		if len(out) > 0 && (e.Epoch <= out[len(out)-1].Epoch || e.Start < out[len(out)-1].Start) {
			return corrupt(fmt.Sprintf("line %q does not ascend", line))
		}
		out = append(out, e)
	}
	return out, nil
}

// PartitionMetadataName is the file in a partition's directory that holds the topic's id.
const PartitionMetadataName = "partition.metadata"

// AppendPartitionMetadata writes Kafka's partition.metadata text, version 0.
func AppendPartitionMetadata(dst []byte, topicID kafka.UUID) []byte {
	return fmt.Appendf(dst, "version: 0\ntopic_id: %s", topicID)
}

// ParsePartitionMetadata reads that text. Errors wrap kafka.ErrCorrupt.
func ParsePartitionMetadata(b []byte) (kafka.UUID, error) {
	version, rest, _ := strings.Cut(string(b), "\n")
	id, ok := strings.CutPrefix(strings.TrimSuffix(rest, "\n"), "topic_id: ")
	if version != "version: 0" || !ok {
		return kafka.UUID{}, fmt.Errorf("partition.metadata: want version 0 with a topic_id: %w", kafka.ErrCorrupt)
	}
	u, err := kafka.ParseUUID(id)
	if err != nil {
		return kafka.UUID{}, fmt.Errorf("partition.metadata: %v: %w", err, kafka.ErrCorrupt)
	}
	return u, nil
}
