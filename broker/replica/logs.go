package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/commitlog/logdir"
	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/vfs"
)

// logDirs is what the manager needs of the log directories: *logdir.Manager.
type logDirs interface {
	Log(tp kafka.TopicPartition, topicID kafka.UUID) (*commitlog.Log, bool)
	Logs() []*commitlog.Log
	Create(tp kafka.TopicPartition, topicID kafka.UUID, c commitlog.Config, where logdir.Placement) (*commitlog.Log, error)
	Delete(tp kafka.TopicPartition, topicID kafka.UUID) error
	DirectoryIDs() []kafka.UUID
	Dirs() []logdir.DirInfo
	Usage(dir string) (vfs.Usage, error)
	CheckpointDir(dir string) error
	Pressure() []logdir.DirPressure
	Reclaim(dir string, logs []*commitlog.Log) error
	Room(dir string) *commitlog.Room
	OnOffline(func(logdir.DirInfo))
	DirOf(tp kafka.TopicPartition) kafka.UUID
	StartMove(tp kafka.TopicPartition, topicID kafka.UUID, path string, pace func(context.Context, int64) error) (*logdir.Move, error)
	Moving() []logdir.MoveInfo
	MovedFrom(tp kafka.TopicPartition) []kafka.UUID
	Settle(tp kafka.TopicPartition, topicID kafka.UUID) error
	Futures() []logdir.Future
	DropFuture(logdir.Future) error
}

// openLog finds the log of a partition, or has one made in one of the log directories.
//
// A partition that the image places in a directory which is not here any more is offline:
// an empty or replaced disk must never pass for a partition without data. A log of the
// same name and another topic id is what a crash left of a topic that was deleted since.
func (m *Manager) openLog(tp kafka.TopicPartition, topicID kafka.UUID, part *metadata.Partition, cfg *config.Topic) (*commitlog.Log, error) {
	// Before its first change of leader a partition was on no broker but this one, and on
	// this one in this process only: an empty log is the whole truth then.
	where := logdir.Placement{Fresh: part.LeaderEpoch == 0}
	if i := slices.Index(part.Replicas, m.nodeID); i >= 0 && i < len(part.Dirs) {
		where.Dir = part.Dirs[i]
	}
	if !where.Dir.IsZero() && !slices.Contains(m.dirs.DirectoryIDs(), where.Dir) && !m.movedFrom(tp, where.Dir) {
		return nil, fmt.Errorf("log directory %s, which holds %s, is not online on this broker", where.Dir, tp)
	}
	if log, ok := m.dirs.Log(tp, topicID); ok {
		return log, log.SetConfig(LogConfig(cfg))
	}
	if err := m.elsewhere(tp); err != nil && !where.Fresh {
		return nil, err
	}
	log, err := m.dirs.Create(tp, topicID, LogConfig(cfg), where)
	if errors.Is(err, kafka.InconsistentTopicID) {
		if err := m.removeOldTopic(tp, topicID); err != nil {
			return nil, err
		}
		log, err = m.dirs.Create(tp, topicID, LogConfig(cfg), where)
	}
	return log, err
}

// elsewhere is why a log that is not here may be in a directory that is offline: there is the
// copy of a move, which the metadata knows of before the log is there.
func (m *Manager) elsewhere(tp kafka.TopicPartition) error {
	for _, f := range m.dirs.Futures() {
		if f.TP != tp {
			continue
		}
		for _, d := range m.dirs.Dirs() {
			if d.Offline != nil {
				return fmt.Errorf("%s was on its way to log directory %s, and %s, which may hold it, is not online on this broker", tp, f.Dir, d.Path)
			}
		}
	}
	return nil
}

// removeOldTopic deletes the log of tp that belongs to another topic of its name.
func (m *Manager) removeOldTopic(tp kafka.TopicPartition, topicID kafka.UUID) error {
	for _, log := range m.dirs.Logs() {
		if old := log.TopicID(); log.TopicPartition() == tp && old != topicID {
			m.logger.Info("delete the log of a topic that was deleted", "partition", tp.String(), "topicID", old.String())
			if err := m.dirs.Delete(tp, old); err != nil {
				return fmt.Errorf("delete the log of the deleted topic %s: %w", old, err)
			}
		}
	}
	return nil
}

// settleStrays looks at the logs whose topic the image does not have: a crash may have come
// between the record of a deletion and the deletion. The log of a topic that the image
// names as deleted goes. Others are kept and named: a topic that is absent is no proof that
// it was deleted.
func (m *Manager) settleStrays(img *metadata.Image) {
	deleted := map[kafka.UUID]bool{}
	for t := range img.Purging() {
		deleted[t.ID] = true
	}
	strays := 0
	for _, log := range m.dirs.Logs() {
		tp, id := log.TopicPartition(), log.TopicID()
		if img.TopicByID(id) != nil {
			continue
		}
		if deleted[id] {
			m.logger.Info("delete the log of a topic that was deleted", "partition", tp.String(), "topicID", id.String())
			if err := m.dirs.Delete(tp, id); err != nil {
				m.logger.Error("could not delete the log of a topic that was deleted", "partition", tp.String(), "error", err)
			}
			continue
		}
		strays++
		m.logger.Warn("a log belongs to no topic of this cluster; it is left alone. If the topic was deleted, stop the broker and run 'varve log drop'",
			"partition", tp.String(), "topicID", id.String(), "dir", log.Dir())
	}
	m.strays.Store(int64(strays))
}

// dirFailed answers the produces that wait for partitions in a failed directory, and has the
// fetches look again: they are to hear of it. It is called with a log locked.
func (m *Manager) dirFailed(d logdir.DirInfo) {
	m.wakers.submit(func() {
		for _, p := range m.all() {
			if log := p.Log(); log != nil && log.Dir() == d.Path {
				p.failPending(kafka.KafkaStorageError) // what is not durable now will not be
				p.wakeAll()
			}
		}
	})
}

// LogConfig is the part of a topic's settings that its logs need. The active segment is not
// compacted, so that max.compaction.lag.ms bounds its age as well, as in Kafka.
func LogConfig(t *config.Topic) commitlog.Config {
	segmentMs := t.SegmentMs
	if t.CleanupCompact && t.MaxCompactionLagMs > 0 {
		segmentMs = min(segmentMs, t.MaxCompactionLagMs)
	}
	return commitlog.Config{
		SegmentBytes: t.SegmentBytes, SegmentMs: segmentMs, SegmentJitterMs: t.SegmentJitterMs,
		// Kafka takes 4 bytes; what no entry fits into counts as room for one.
		SegmentIndexBytes: max(t.SegmentIndexBytes, commitlog.MinSegmentIndexBytes), IndexIntervalBytes: t.IndexIntervalBytes,
		FileDeleteDelayMs: t.FileDeleteDelayMs, FlushMessages: t.FlushMessages, FlushMs: t.FlushMs,
		Compact: t.CleanupCompact, Group: t.Durability == "group",
	}
}
