package replica

import (
	"fmt"
	"slices"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

// logDirs is what the manager needs of the log directories: *logdir.Manager.
type logDirs interface {
	Log(tp kafka.TopicPartition, topicID kafka.UUID) (*commitlog.Log, bool)
	Create(tp kafka.TopicPartition, topicID kafka.UUID, cfg *config.Topic) (*commitlog.Log, error)
	Delete(tp kafka.TopicPartition) error
	DirectoryIDs() []kafka.UUID
}

// openLog finds the log of a partition, or has one made in one of the log directories.
//
// A partition that the image places in a directory which is not here any more is offline:
// an empty or replaced disk must never pass for a partition without data.
func (m *Manager) openLog(tp kafka.TopicPartition, topicID kafka.UUID, part *metadata.Partition, cfg *config.Topic) (*commitlog.Log, error) {
	if i := slices.Index(part.Replicas, m.nodeID); i >= 0 && i < len(part.Dirs) {
		if dir := part.Dirs[i]; !dir.IsZero() && !slices.Contains(m.dirs.DirectoryIDs(), dir) {
			return nil, fmt.Errorf("log directory %s, which holds it, is not among this broker's", dir)
		}
	}
	if log, ok := m.dirs.Log(tp, topicID); ok {
		return log, nil
	}
	return m.dirs.Create(tp, topicID, cfg)
}

// logConfig is the part of a topic's settings that its logs need.
func logConfig(t *config.Topic) commitlog.Config {
	return commitlog.Config{
		SegmentBytes: t.SegmentBytes, SegmentMs: t.SegmentMs, SegmentJitterMs: t.SegmentJitterMs,
		SegmentIndexBytes: t.SegmentIndexBytes, IndexIntervalBytes: t.IndexIntervalBytes,
		FileDeleteDelayMs: t.FileDeleteDelayMs, FlushMessages: t.FlushMessages, FlushMs: t.FlushMs,
		Compact: t.CleanupCompact, Group: t.Durability == "group",
	}
}

// removeStrays deletes the replicas on disk whose topic the image does not have: it was
// deleted, and the broker ended before it had done so.
func (m *Manager) removeStrays(img *metadata.Image) error {
	return nil
}
