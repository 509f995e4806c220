package config

// txnSettings are the settings of transactions and of the topic that holds transactional ids.
// Names, types, defaults and ranges are those of Kafka 4.3 unless Since says otherwise.
var txnSettings = []Setting{
	{
		Name: "transaction.max.timeout.ms", Type: Int, Unit: Milliseconds, Default: "900000", Valid: atLeast(1), Scope: NodeScope,
		Importance: High, Since: "Kafka 0.11 (KIP-98)",
		Doc: "The longest time-out of transactions that a producer may ask for. A transaction that is open for longer than its time-out is aborted.",
	}, {
		Name: "transactional.id.expiration.ms", Type: Int, Unit: Milliseconds, Default: "604800000", Valid: atLeast(1), Scope: NodeScope,
		Importance: High, Since: "Kafka 0.11 (KIP-98)",
		Doc: "How long a transactional id is remembered that nobody uses.",
	}, {
		Name: "transaction.abort.timed.out.transaction.cleanup.interval.ms", Type: Int, Unit: Milliseconds, Default: "10000", Valid: atLeast(1),
		Scope: NodeScope, Importance: Low, Since: "Kafka 0.11 (KIP-98)",
		Doc: "How often the broker looks for transactions that are open for longer than their time-out.",
	}, {
		Name: "transaction.remove.expired.transaction.cleanup.interval.ms", Type: Int, Unit: Milliseconds, Default: "3600000", Valid: atLeast(1),
		Scope: NodeScope, Importance: Low, Since: "Kafka 0.11 (KIP-98)",
		Doc: "How often the broker looks for transactional ids that have expired.",
	}, {
		Name: "transaction.state.log.num.partitions", Type: Int, Default: "50", Valid: atLeast(1), Scope: NodeScope, Importance: High,
		Since: "Kafka 0.11 (KIP-98)",
		Doc:   "The number of partitions of the topic that holds transactional ids. It counts when that topic is created, and never after.",
	}, {
		Name: "transaction.state.log.replication.factor", Type: Short, Default: "1", Valid: between(1, 32767), Scope: NodeScope, Importance: High,
		Since: "Kafka 0.11 (KIP-98)",
		Doc:   "The number of replicas of that topic's partitions. It counts when the topic is created. Kafka's default is 3.",
	}, {
		Name: "transaction.state.log.min.isr", Type: Int, Default: "2", Valid: atLeast(1), Scope: NodeScope, Importance: High,
		Since: "Kafka 0.11 (KIP-98)",
		Doc:   "The `min.insync.replicas` that the topic is created with. With fewer replicas than that, all of them must be in sync.",
	}, {
		Name: "transaction.state.log.segment.bytes", Type: Int, Unit: Bytes, Default: "104857600", Valid: atLeast(1), Scope: NodeScope,
		Importance: High, Since: "Kafka 0.11 (KIP-98)",
		Doc: "The `segment.bytes` that the topic is created with.",
	}, {
		Name: "add.partitions.to.txn.retry.backoff.ms", Type: Int, Unit: Milliseconds, Default: "20", Valid: atLeast(1), Scope: NodeScope,
		Importance: High, Since: "Kafka 4.0 (KIP-890)",
		Doc: "How long a produce request waits before it tries again to enter a transaction, while the one before is being ended.",
	}, {
		Name: "add.partitions.to.txn.retry.backoff.max.ms", Type: Int, Unit: Milliseconds, Default: "100", Valid: atLeast(0), Scope: NodeScope,
		Importance: High, Since: "Kafka 4.0 (KIP-890)",
		Doc: "How long a produce request tries to enter a transaction, while the one before is being ended. Then the client hears CONCURRENT_TRANSACTIONS.",
	},
}
