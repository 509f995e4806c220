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
