package broker

import (
	"iter"

	"github.com/varve-io/varve/broker/commitlog/cleaner"
	"github.com/varve-io/varve/broker/replica"
)

// cleaner builds the cleaner of the logs that this broker holds.
func (n *Node) cleaner() *cleaner.Cleaner {
	return cleaner.New(cleaner.Options{
		FS: n.o.FS, Now: n.o.Now, Logger: n.logger, Registerer: n.registry,
		Partitions: n.compacted,
		Settings: func() cleaner.Settings {
			c := n.node()
			return cleaner.Settings{
				Threads: c.CleanerThreads, DedupeBytes: c.CleanerDedupeBufferBytes, LoadFactor: c.CleanerLoadFactor,
				IOBufferBytes: c.CleanerIOBufferBytes, MaxBytesPerSecond: c.CleanerMaxBytesPerSecond, Backoff: ms(c.CleanerBackoffMs),
			}
		},
	})
}

// compacted walks over the partitions of compacted topics. Those of tiered ones are not
// among them, as in Kafka, which refuses the combination: what the object store holds is
// never rewritten.
func (n *Node) compacted() iter.Seq[cleaner.Partition] {
	return func(yield func(cleaner.Partition) bool) {
		for p := range n.replicas.Held() {
			t, log := p.Config(), p.Log()
			if !t.CleanupCompact || t.RemoteStorageEnable || log == nil {
				continue
			}
			c := replica.LogConfig(t)
			if !yield(cleaner.Partition{Log: log, StableEnd: p.StableEnd, Policy: cleaner.Policy{
				DeleteRetentionMs: t.DeleteRetentionMs, MinLagMs: t.MinCompactionLagMs, MaxLagMs: t.MaxCompactionLagMs,
				MinDirtyRatio: t.MinCleanableDirtyRatio, MaxGroupBytes: c.SegmentBytes, MaxIndexBytes: c.SegmentIndexBytes,
			}}) {
				return
			}
		}
	}
}
