package replica

import (
	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/commitlog/logdir"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// LogDir describes a log directory with the logs in it.
type LogDir struct {
	logdir.DirInfo
	Usage vfs.Usage // of its file system
	Err   error     // why nothing else is known: it is offline
	Logs  []LogInfo // in no order
}

// LogInfo describes a log.
type LogInfo struct {
	TopicPartition kafka.TopicPartition
	SizeBytes      int64 // of its local segments
	// Lag is how far the log's end lies behind the high watermark, -1 for a log that is not
	// that of a partition of this broker. Of a future log: behind the current one's end.
	Lag int64
	// Future says that the log is a copy that will take the current one's place.
	Future bool
}

// LogDirs describes the log directories, with those of their logs that want names, and
// calls done once, on another goroutine.
func (m *Manager) LogDirs(want func(kafka.TopicPartition) bool, done func([]LogDir)) {
	job := func() {
		var out []LogDir
		index := map[string]int{}
		for i, d := range m.dirs.Dirs() {
			index[d.Path] = i
			out = append(out, m.logDir(d))
		}
		for _, log := range m.dirs.Logs() {
			i, ok := index[log.Dir()]
			if tp := log.TopicPartition(); ok && out[i].Err == nil && want(tp) {
				out[i].Logs = append(out[i].Logs, LogInfo{TopicPartition: tp, SizeBytes: log.Size(), Lag: m.lag(log)})
			}
		}
		for _, mv := range m.dirs.Moving() {
			if i, ok := index[mv.Dir]; ok && out[i].Err == nil && want(mv.TP) {
				out[i].Logs = append(out[i].Logs, LogInfo{TopicPartition: mv.TP, SizeBytes: mv.SizeBytes, Lag: mv.Lag, Future: true})
			}
		}
		done(out)
	}
	if !m.disk.submit(job) {
		done(nil) // shutting down
	}
}

func (m *Manager) logDir(d logdir.DirInfo) LogDir {
	out := LogDir{DirInfo: d}
	out.Usage, out.Err = m.dirs.Usage(d.Path)
	return out
}

func (m *Manager) lag(log *commitlog.Log) int64 {
	p, err := m.ByID(log.TopicID(), log.TopicPartition().Partition)
	if err != nil || p.Log() != log {
		return -1
	}
	return max(0, p.HighWatermark()-log.End())
}
