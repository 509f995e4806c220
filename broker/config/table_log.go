package config

// logSettings are the broker-level defaults of topic settings; a topic setting lists the
// names that stand for it in its Synonyms.
var logSettings = []Setting{
	{
		Name: "log.segment.bytes", Type: Int, Unit: Bytes, Default: "1073741824", Valid: atLeast(1 << 20), Scope: NodeScope,
		Update: ClusterWide, Importance: High, Since: "Kafka 0.8; at least 1 MiB since 4.0 (KIP-1030)", Doc: defaultOf("segment.bytes"),
	}, {
		Name: "log.roll.ms", Type: Long, Unit: Milliseconds, Valid: atLeast(1), Scope: NodeScope, Update: ClusterWide, Importance: High,
		Since: "Kafka 0.8.2", Doc: defaultOf("segment.ms") + " Not set: `log.roll.hours` counts.",
	}, {
		Name: "log.roll.hours", Type: Int, Unit: Hours, Default: "168", Valid: atLeast(1), Scope: NodeScope, Importance: High,
		Since: "Kafka 0.8", Doc: defaultOf("segment.ms") + " `log.roll.ms` goes before it.",
	}, {
		Name: "log.roll.jitter.ms", Type: Long, Unit: Milliseconds, Valid: atLeast(0), Scope: NodeScope, Update: ClusterWide,
		Importance: High, Since: "Kafka 0.8.2", Doc: defaultOf("segment.jitter.ms") + " Not set: `log.roll.jitter.hours` counts.",
	}, {
		Name: "log.roll.jitter.hours", Type: Int, Unit: Hours, Default: "0", Valid: atLeast(0), Scope: NodeScope, Importance: High,
		Since: "Kafka 0.8.2", Doc: defaultOf("segment.jitter.ms") + " `log.roll.jitter.ms` goes before it.",
	}, {
		Name: "log.index.size.max.bytes", Type: Int, Unit: Bytes, Default: "10485760", Valid: atLeast(4), Scope: NodeScope,
		Update: ClusterWide, Importance: Medium, Since: "Kafka 0.8", Doc: defaultOf("segment.index.bytes"),
	}, {
		Name: "log.index.interval.bytes", Type: Int, Unit: Bytes, Default: "4096", Valid: atLeast(0), Scope: NodeScope,
		Update: ClusterWide, Importance: Medium, Since: "Kafka 0.8", Doc: defaultOf("index.interval.bytes"),
	}, {
		Name: "log.retention.ms", Type: Long, Unit: Milliseconds, Valid: unlimitedOrPositive, Scope: NodeScope, Update: ClusterWide,
		Importance: High, Since: "Kafka 0.8.2",
		Doc: defaultOf("retention.ms") + " Not set: `log.retention.minutes` counts. -1: unlimited.",
	}, {
		Name: "log.retention.minutes", Type: Int, Unit: Minutes, Valid: unlimitedOrPositive, Scope: NodeScope, Importance: High,
		Since: "Kafka 0.8", Doc: defaultOf("retention.ms") + " Not set: `log.retention.hours` counts.",
	}, {
		Name: "log.retention.hours", Type: Int, Unit: Hours, Default: "168", Valid: unlimitedOrPositive, Scope: NodeScope, Importance: High,
		Since: "Kafka 0.8", Doc: defaultOf("retention.ms") + " `log.retention.ms` and `log.retention.minutes` go before it.",
	}, {
		Name: "log.retention.bytes", Type: Long, Unit: Bytes, Default: "-1", Scope: NodeScope, Update: ClusterWide, Importance: High,
		Since: "Kafka 0.8", Doc: defaultOf("retention.bytes"),
	}, {
		Name: "log.local.retention.ms", Type: Long, Unit: Milliseconds, Default: "-2", Valid: atLeast(-2), Scope: NodeScope,
		Update: ClusterWide, Importance: Medium, Since: "Kafka 3.6 (KIP-405)", Doc: defaultOf("local.retention.ms"),
	}, {
		Name: "log.local.retention.bytes", Type: Long, Unit: Bytes, Default: "-2", Valid: atLeast(-2), Scope: NodeScope,
		Update: ClusterWide, Importance: Medium, Since: "Kafka 3.6 (KIP-405)", Doc: defaultOf("local.retention.bytes"),
	}, {
		Name: "log.remote.copy.lag.ms", Type: Long, Unit: Milliseconds, Default: "0", Valid: atLeast(-1), Scope: NodeScope,
		Update: ClusterWide, Importance: Medium, Since: "Kafka 4.4 (KIP-1241)", Doc: defaultOf("remote.copy.lag.ms"),
	}, {
		Name: "log.remote.copy.lag.bytes", Type: Long, Unit: Bytes, Default: "-1", Valid: atLeast(-1), Scope: NodeScope,
		Update: ClusterWide, Importance: Medium, Since: "Kafka 4.4 (KIP-1241)", Doc: defaultOf("remote.copy.lag.bytes"),
	}, {
		Name: "log.segment.delete.delay.ms", Type: Long, Unit: Milliseconds, Default: "60000", Valid: atLeast(0), Scope: NodeScope,
		Update: ClusterWide, Importance: High, Since: "Kafka 0.8", Doc: defaultOf("file.delete.delay.ms"),
	}, {
		Name: "log.cleanup.policy", Type: List, Default: "delete", Valid: listOf("compact", "delete"), Scope: NodeScope,
		Update: ClusterWide, Importance: Medium, Since: "Kafka 0.8", Doc: defaultOf("cleanup.policy"),
	}, {
		Name: "log.cleaner.enable", Type: Bool, Default: "true", Scope: NodeScope, Importance: Medium, Since: "Kafka 0.9",
		Doc: "Whether logs are compacted. Without it, topics with `cleanup.policy=compact` grow for ever, the group offsets' among them.",
	}, {
		Name: "log.cleaner.threads", Type: Int, Default: "1", Valid: atLeast(0), Scope: NodeScope, Update: ClusterWide, Importance: Medium,
		Since: "Kafka 0.8", Doc: "How many logs are compacted at once.",
	}, {
		Name: "log.cleaner.backoff.ms", Type: Long, Unit: Milliseconds, Default: "15000", Valid: atLeast(0), Scope: NodeScope,
		Update: ClusterWide, Importance: Medium, Since: "Kafka 0.8", Doc: "How long the cleaner rests when no log is to be compacted.",
	}, {
		Name: "log.cleaner.dedupe.buffer.size", Type: Long, Unit: Bytes, Default: "134217728", Scope: NodeScope, Update: ClusterWide,
		Importance: Medium, Since: "Kafka 0.8",
		Doc: "The most memory for the keys of the logs that are being compacted, 24 bytes each, shared by the threads; more than 1 MiB for each of them. It is taken for the time of a compaction, and no more of it than needed.",
	}, {
		Name: "log.cleaner.io.buffer.size", Type: Int, Unit: Bytes, Default: "524288", Valid: atLeast(0), Scope: NodeScope,
		Update: ClusterWide, Importance: Medium, Since: "Kafka 0.8", Doc: "The memory for reading and writing logs that are being compacted, shared by the threads.",
	}, {
		Name: "log.cleaner.io.buffer.load.factor", Type: Double, Default: "0.9", Valid: loadFactor, Scope: NodeScope, Update: ClusterWide,
		Importance: Medium, Since: "Kafka 0.8",
		Doc: "How full the key buffer may become. More takes in more of a log at once, and finds keys more slowly.",
	}, {
		Name: "log.cleaner.io.max.bytes.per.second", Type: Double, Default: "1.7976931348623157E308", Valid: positive, Scope: NodeScope,
		Update: ClusterWide, Importance: Medium, Since: "Kafka 0.8", Doc: "How many bytes compaction reads and writes a second, on average.",
	}, {
		Name: "log.cleaner.delete.retention.ms", Type: Long, Unit: Milliseconds, Default: "86400000", Valid: atLeast(0), Scope: NodeScope,
		Update: ClusterWide, Importance: Medium, Since: "Kafka 0.8", Doc: defaultOf("delete.retention.ms"),
	}, {
		Name: "log.cleaner.min.compaction.lag.ms", Type: Long, Unit: Milliseconds, Default: "0", Valid: atLeast(0), Scope: NodeScope,
		Update: ClusterWide, Importance: Medium, Since: "Kafka 0.10.1 (KIP-58)", Doc: defaultOf("min.compaction.lag.ms"),
	}, {
		Name: "log.cleaner.max.compaction.lag.ms", Type: Long, Unit: Milliseconds, Default: maxLong, Valid: atLeast(1), Scope: NodeScope,
		Update: ClusterWide, Importance: Medium, Since: "Kafka 2.3 (KIP-354)", Doc: defaultOf("max.compaction.lag.ms"),
	}, {
		Name: "log.cleaner.min.cleanable.ratio", Type: Double, Default: "0.5", Valid: fraction, Scope: NodeScope, Update: ClusterWide,
		Importance: Medium, Since: "Kafka 0.8", Doc: defaultOf("min.cleanable.dirty.ratio"),
	}, {
		Name: "log.message.timestamp.type", Type: String, Default: "CreateTime", Valid: oneOf("CreateTime", "LogAppendTime"),
		Scope: NodeScope, Update: ClusterWide, Importance: Medium, Since: "Kafka 0.10 (KIP-32)", Doc: defaultOf("message.timestamp.type"),
	}, {
		Name: "log.message.timestamp.before.max.ms", Type: Long, Unit: Milliseconds, Default: maxLong, Valid: atLeast(0),
		Scope: NodeScope, Update: ClusterWide, Importance: Medium, Since: "Kafka 3.6 (KIP-937)",
		Doc: defaultOf("message.timestamp.before.max.ms"),
	}, {
		Name: "log.message.timestamp.after.max.ms", Type: Long, Unit: Milliseconds, Default: "3600000", Valid: atLeast(0),
		Scope: NodeScope, Update: ClusterWide, Importance: Medium, Since: "Kafka 3.6 (KIP-937); one hour since 4.0 (KIP-1030)",
		Doc: defaultOf("message.timestamp.after.max.ms"),
	}, {
		Name: "log.flush.interval.messages", Type: Long, Unit: Records, Default: maxLong, Valid: atLeast(1), Scope: NodeScope,
		Update: ClusterWide, Importance: High, Since: "Kafka 0.8", Doc: defaultOf("flush.messages"),
	}, {
		Name: "log.flush.interval.ms", Type: Long, Unit: Milliseconds, Valid: atLeast(0), Scope: NodeScope, Update: ClusterWide,
		Importance: High, Since: "Kafka 0.8", Doc: defaultOf("flush.ms") + " Not set: `log.flush.scheduler.interval.ms` counts.",
	}, {
		Name: "log.flush.scheduler.interval.ms", Type: Long, Unit: Milliseconds, Default: maxLong, Valid: atLeast(1), Scope: NodeScope,
		Importance: High, Since: "Kafka 0.8",
		Doc: "How often the broker looks for logs that `flush.ms` wants synced.",
	}, {
		Name: "log.preallocate", Type: Bool, Default: "false", Scope: NodeScope, Update: ClusterWide, Importance: Medium,
		Since: "Kafka 0.9", Doc: defaultOf("preallocate"),
	}, {
		Name: "message.max.bytes", Type: Int, Unit: Bytes, Default: "1048588", Valid: atLeast(0), Scope: NodeScope, Update: ClusterWide,
		Importance: High, Since: "Kafka 0.8", Doc: defaultOf("max.message.bytes"),
	},
}
