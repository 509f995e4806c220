package config

// topicSettings are the settings of a topic. Types, defaults and ranges are those of
// Kafka 4.3 unless Since says otherwise.
var topicSettings = []Setting{
	{
		Name: "segment.bytes", Type: Int, Unit: Bytes, Default: "1073741824", Valid: atLeast(1 << 20), Scope: TopicScope,
		Importance: Medium, Synonyms: []string{"log.segment.bytes"}, Since: "Kafka 0.8; at least 1 MiB since 4.0 (KIP-1030)",
		Doc: "The size at which a segment is closed. Retention and tiering work on closed segments.",
	}, {
		Name: "segment.ms", Type: Long, Unit: Milliseconds, Default: "604800000", Valid: atLeast(1), Scope: TopicScope,
		Importance: Medium, Synonyms: []string{"log.roll.ms", "log.roll.hours"}, Since: "Kafka 0.8",
		Doc: "The age at which a segment is closed even if it is not full.",
	}, {
		Name: "segment.jitter.ms", Type: Long, Unit: Milliseconds, Default: "0", Valid: atLeast(0), Scope: TopicScope,
		Importance: Medium, Synonyms: []string{"log.roll.jitter.ms", "log.roll.jitter.hours"}, Since: "Kafka 0.8.2",
		Doc: "The most random time taken off `segment.ms`, so that segments do not all close at once.",
	}, {
		Name: "segment.index.bytes", Type: Int, Unit: Bytes, Default: "10485760", Valid: atLeast(4), Scope: TopicScope,
		Importance: Medium, Synonyms: []string{"log.index.size.max.bytes"}, Since: "Kafka 0.8",
		Doc: "The size of an index at which its segment is closed.",
	}, {
		Name: "index.interval.bytes", Type: Int, Unit: Bytes, Default: "4096", Valid: atLeast(0), Scope: TopicScope,
		Importance: Medium, Synonyms: []string{"log.index.interval.bytes"}, Since: "Kafka 0.8",
		Doc: "How many record bytes lie between two entries of the offset index.",
	}, {
		Name: "retention.ms", Type: Long, Unit: Milliseconds, Default: "604800000", Valid: atLeast(-1), Scope: TopicScope,
		Importance: Medium, Synonyms: []string{"log.retention.ms", "log.retention.minutes", "log.retention.hours"}, Since: "Kafka 0.8",
		Doc: "How long records are kept, on disk and in the object store together. -1: for ever.",
	}, {
		Name: "retention.bytes", Type: Long, Unit: Bytes, Default: "-1", Scope: TopicScope, Importance: Medium,
		Synonyms: []string{"log.retention.bytes"}, Since: "Kafka 0.8",
		Doc: "How many bytes of a partition are kept, on disk and in the object store together. A negative value: no limit.",
	}, {
		Name: "local.retention.ms", Type: Long, Unit: Milliseconds, Default: "-2", Valid: atLeast(-2), Scope: TopicScope,
		Importance: Medium, Synonyms: []string{"log.local.retention.ms"}, Since: "Kafka 3.6 (KIP-405)",
		Doc: "How long a tiered topic keeps a segment on disk once it is in the object store. -2: as long as `retention.ms`; -1: for ever; else at most `retention.ms`.",
	}, {
		Name: "local.retention.bytes", Type: Long, Unit: Bytes, Default: "-2", Valid: atLeast(-2), Scope: TopicScope,
		Importance: Medium, Synonyms: []string{"log.local.retention.bytes"}, Since: "Kafka 3.6 (KIP-405)",
		Doc: "How many bytes of a tiered partition stay on disk once they are in the object store. -2: as `retention.bytes`; -1: no limit; else at most `retention.bytes`.",
	}, {
		Name: "remote.storage.enable", Type: Bool, Default: "false", Scope: TopicScope, Importance: Medium, Since: "Kafka 3.6 (KIP-405)",
		Doc: "Whether closed segments go to the object store. The broker needs `varve.tier.url`; compacted topics are refused.",
	}, {
		Name: "remote.log.copy.disable", Type: Bool, Default: "false", Scope: TopicScope, Importance: Medium, Since: "Kafka 3.9 (KIP-950)",
		Doc: "Stops the copying while what is in the object store stays readable.",
	}, {
		Name: "remote.log.delete.on.disable", Type: Bool, Default: "false", Scope: TopicScope, Importance: Medium,
		Since: "Kafka 3.9 (KIP-950)",
		Doc:   "Whether turning `remote.storage.enable` off deletes the topic's data from the object store.",
	}, {
		Name: "remote.copy.lag.ms", Type: Long, Unit: Milliseconds, Default: "0", Valid: atLeast(-1), Scope: TopicScope,
		Importance: Medium, Synonyms: []string{"log.remote.copy.lag.ms"}, Since: "Kafka 4.4 (KIP-1241)",
		Doc: "How old a closed segment must be before it is copied. 0: at once; -1: as old as the local retention; else at most the local retention.",
	}, {
		Name: "remote.copy.lag.bytes", Type: Long, Unit: Bytes, Default: "-1", Valid: atLeast(-1), Scope: TopicScope,
		Importance: Medium, Synonyms: []string{"log.remote.copy.lag.bytes"}, Since: "Kafka 4.4 (KIP-1241)",
		Doc: "How many bytes must follow a closed segment before it is copied, if `remote.copy.lag.ms` is not reached earlier. 0: none; -1: the local retention; else at most the local retention.",
	}, {
		Name: "file.delete.delay.ms", Type: Long, Unit: Milliseconds, Default: "60000", Valid: atLeast(0), Scope: TopicScope,
		Importance: Medium, Synonyms: []string{"log.segment.delete.delay.ms"}, Since: "Kafka 0.8",
		Doc: "How long a file that is no longer part of the log stays on disk, renamed, for readers that still use it.",
	}, {
		Name: "cleanup.policy", Type: List, Default: "delete", Valid: listOf("compact", "delete"), Scope: TopicScope,
		Importance: Medium, Synonyms: []string{"log.cleanup.policy"}, Since: "Kafka 0.8",
		Doc: "What happens to old segments: `delete` drops them by retention, `compact` keeps the newest record of each key; both may be given. Empty: everything is kept.",
	}, {
		Name: "delete.retention.ms", Type: Long, Unit: Milliseconds, Default: "86400000", Valid: atLeast(0), Scope: TopicScope,
		Importance: Medium, Synonyms: []string{"log.cleaner.delete.retention.ms"}, Since: "Kafka 0.8",
		Doc: "How long compaction keeps the record that deletes a key.",
	}, {
		Name: "min.compaction.lag.ms", Type: Long, Unit: Milliseconds, Default: "0", Valid: atLeast(0), Scope: TopicScope,
		Importance: Medium, Synonyms: []string{"log.cleaner.min.compaction.lag.ms"}, Since: "Kafka 0.10.1 (KIP-58)",
		Doc: "How long a record stays out of compaction. At most `max.compaction.lag.ms`.",
	}, {
		Name: "max.compaction.lag.ms", Type: Long, Unit: Milliseconds, Default: maxLong, Valid: atLeast(1), Scope: TopicScope,
		Importance: Medium, Synonyms: []string{"log.cleaner.max.compaction.lag.ms"}, Since: "Kafka 2.3 (KIP-354)",
		Doc: "How long a record may wait for compaction.",
	}, {
		Name: "min.cleanable.dirty.ratio", Type: Double, Default: "0.5", Valid: fraction, Scope: TopicScope, Importance: Medium,
		Synonyms: []string{"log.cleaner.min.cleanable.ratio"}, Since: "Kafka 0.8",
		Doc: "The part of a log that must be new before compaction is worth it.",
	}, {
		Name: "message.timestamp.type", Type: String, Default: "CreateTime", Valid: oneOf("CreateTime", "LogAppendTime"),
		Scope: TopicScope, Importance: Medium, Synonyms: []string{"log.message.timestamp.type"}, Since: "Kafka 0.10 (KIP-32)",
		Doc: "Whether records carry the producer's time or the broker's.",
	}, {
		Name: "message.timestamp.before.max.ms", Type: Long, Unit: Milliseconds, Default: maxLong, Valid: atLeast(0), Scope: TopicScope,
		Importance: Medium, Synonyms: []string{"log.message.timestamp.before.max.ms"}, Since: "Kafka 3.6 (KIP-937)",
		Doc: "How far a producer's time may lie behind the broker's.",
	}, {
		Name: "message.timestamp.after.max.ms", Type: Long, Unit: Milliseconds, Default: "3600000", Valid: atLeast(0), Scope: TopicScope,
		Importance: Medium, Synonyms: []string{"log.message.timestamp.after.max.ms"},
		Since: "Kafka 3.6 (KIP-937); one hour since 4.0 (KIP-1030)",
		Doc:   "How far a producer's time may lie ahead of the broker's.",
	}, {
		Name: "max.message.bytes", Type: Int, Unit: Bytes, Default: "1048588", Valid: atLeast(0), Scope: TopicScope,
		Importance: Medium, Synonyms: []string{"message.max.bytes"}, Since: "Kafka 0.8",
		Doc: "The largest record batch, as it arrives.",
	}, {
		Name: "flush.messages", Type: Long, Unit: Records, Default: maxLong, Valid: atLeast(1), Scope: TopicScope,
		Importance: Medium, Synonyms: []string{"log.flush.interval.messages"}, Since: "Kafka 0.8",
		Doc: "After how many records a log is synced to disk. The default leaves it to the operating system.",
	}, {
		Name: "flush.ms", Type: Long, Unit: Milliseconds, Default: maxLong, Valid: atLeast(0), Scope: TopicScope,
		Importance: Medium, Synonyms: []string{"log.flush.interval.ms", "log.flush.scheduler.interval.ms"}, Since: "Kafka 0.8",
		Doc: "How old the oldest record not yet synced to disk may become. The default leaves it to the operating system.",
	}, {
		Name: "preallocate", Type: Bool, Default: "false", Scope: TopicScope, Importance: Medium,
		Synonyms: []string{"log.preallocate"}, Since: "Kafka 0.9",
		Doc: "Whether the file of a new segment gets its full size at once.",
	},
	{
		Name: "min.insync.replicas", Type: Int, Default: "1", Valid: atLeast(1), Scope: NodeScope | TopicScope, Update: ClusterWide,
		Importance: High, Synonyms: []string{"min.insync.replicas"}, Since: "Kafka 0.8.2",
		Doc: "How many replicas must have a record before acks=all is answered.",
	}, {
		Name: "unclean.leader.election.enable", Type: Bool, Default: "false", Scope: NodeScope | TopicScope, Update: ClusterWide,
		Importance: High, Synonyms: []string{"unclean.leader.election.enable"}, Since: "Kafka 0.8.2",
		Doc: "Whether a replica that is behind may become leader when no other lives; acknowledged records may then be lost.",
	}, {
		Name: "compression.type", Type: String, Default: "producer",
		Valid: oneOf("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"), Scope: NodeScope | TopicScope, Update: ClusterWide,
		Importance: High, Synonyms: []string{"compression.type"}, Since: "Kafka 0.9",
		Doc: "How batches are compressed in the log; `producer` keeps them as they come.",
	}, {
		Name: "compression.gzip.level", Type: Int, Default: "-1", Valid: gzipLevel, Scope: NodeScope | TopicScope, Update: ClusterWide,
		Importance: Medium, Synonyms: []string{"compression.gzip.level"}, Since: "Kafka 3.8 (KIP-390)",
		Doc: "The level when `compression.type` is gzip; -1 is gzip's own default.",
	}, {
		Name: "compression.lz4.level", Type: Int, Default: "9", Valid: between(1, 17), Scope: NodeScope | TopicScope, Update: ClusterWide,
		Importance: Medium, Synonyms: []string{"compression.lz4.level"}, Since: "Kafka 3.8 (KIP-390)",
		Doc: "The level when `compression.type` is lz4.",
	}, {
		Name: "compression.zstd.level", Type: Int, Default: "3", Valid: between(-131072, 22), Scope: NodeScope | TopicScope,
		Update: ClusterWide, Importance: Medium, Synonyms: []string{"compression.zstd.level"}, Since: "Kafka 3.8 (KIP-390)",
		Doc: "The level when `compression.type` is zstd.",
	}, {
		Name: "varve.durability", Type: String, Default: "pagecache", Valid: oneOf("pagecache", "group"), Scope: NodeScope | TopicScope, Update: ClusterWide,
		Importance: High, Synonyms: []string{"varve.durability"}, Since: sinceVarve,
		Doc: "What an acknowledged record survives. `pagecache`: the death of the process; a power cut may take what the operating system has not written. `group`: a power cut too. A record is acknowledged, shown to consumers and tiered when a sync of the log directory's write-ahead file has made it durable, one sync for all partitions of the directory that wait for it; see `varve.wal.bytes`.",
	}, {
		Name: "varve.produce.validation", Type: String, Default: "header", Valid: oneOf("header", "full"), Scope: NodeScope | TopicScope,
		Update: ClusterWide, Importance: Medium, Synonyms: []string{"varve.produce.validation"}, Since: sinceVarve,
		Doc: "How closely a produced batch is looked at. `full`: every record is, and compressed batches are decompressed for it, as Kafka does. `header`: the batch header, its checksum and the sizes of uncompressed records are; [differences](differences.md) lists what that lets pass. Compacted topics, topics with `message.timestamp.before.max.ms`, and batches that `compression.type` changes always get `full`.",
	}, {
		Name: "varve.tier.delete.grace.ms", Type: Long, Unit: Milliseconds, Default: "600000", Valid: atLeast(0),
		Scope: NodeScope | TopicScope, Update: ClusterWide, Importance: Medium, Synonyms: []string{"varve.tier.delete.grace.ms"},
		Since: sinceVarve,
		Doc:   "How long an object that the manifest no longer names stays in the object store, for readers that still use it.",
	},
}
