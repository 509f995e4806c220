package config

// groupSettings are the settings of groups and of the topic that holds their offsets. Names,
// types, defaults and ranges are those of Kafka 4.3 unless Since says otherwise.
var groupSettings = []Setting{
	{
		Name: "group.initial.rebalance.delay.ms", Type: Int, Unit: Milliseconds, Default: "3000", Valid: atLeast(0), Scope: NodeScope,
		Importance: Medium, Since: "Kafka 0.11 (KIP-134)",
		Doc: "How long the first rebalance of an empty group waits for more members. Each one that comes extends the wait, up to the rebalance timeout.",
	}, {
		Name: "group.min.session.timeout.ms", Type: Int, Unit: Milliseconds, Default: "6000", Valid: atLeast(0), Scope: NodeScope,
		Importance: Medium, Since: "Kafka 0.9",
		Doc: "The shortest session timeout that a member may ask for.",
	}, {
		Name: "group.max.session.timeout.ms", Type: Int, Unit: Milliseconds, Default: "1800000", Valid: atLeast(0), Scope: NodeScope,
		Importance: Medium, Since: "Kafka 0.9",
		Doc: "The longest session timeout that a member may ask for.",
	}, {
		Name: "group.max.size", Type: Int, Default: "2147483647", Valid: atLeast(1), Scope: NodeScope, Importance: Medium,
		Since: "Kafka 2.2 (KIP-389)",
		Doc:   "The most members that a group may have.",
	}, {
		Name: "group.consumer.session.timeout.ms", Type: Int, Unit: Milliseconds, Default: "45000", Valid: atLeast(1), Scope: NodeScope,
		Importance: Medium, Since: "Kafka 4.0 (KIP-848)",
		Doc: "How long a member of the consumer protocol may be silent before it is taken out of its group.",
	}, {
		Name: "group.consumer.min.session.timeout.ms", Type: Int, Unit: Milliseconds, Default: "45000", Valid: atLeast(1), Scope: NodeScope,
		Importance: Medium, Since: "Kafka 4.0 (KIP-848)",
		Doc: "The least that `group.consumer.session.timeout.ms` may be.",
	}, {
		Name: "group.consumer.max.session.timeout.ms", Type: Int, Unit: Milliseconds, Default: "60000", Valid: atLeast(1), Scope: NodeScope,
		Importance: Medium, Since: "Kafka 4.0 (KIP-848)",
		Doc: "The most that `group.consumer.session.timeout.ms` may be.",
	}, {
		Name: "group.consumer.heartbeat.interval.ms", Type: Int, Unit: Milliseconds, Default: "5000", Valid: atLeast(1), Scope: NodeScope,
		Importance: Medium, Since: "Kafka 4.0 (KIP-848)",
		Doc: "How often members of the consumer protocol are told to send a heartbeat.",
	}, {
		Name: "group.consumer.min.heartbeat.interval.ms", Type: Int, Unit: Milliseconds, Default: "5000", Valid: atLeast(1), Scope: NodeScope,
		Importance: Medium, Since: "Kafka 4.0 (KIP-848)",
		Doc: "The least that `group.consumer.heartbeat.interval.ms` may be.",
	}, {
		Name: "group.consumer.max.heartbeat.interval.ms", Type: Int, Unit: Milliseconds, Default: "15000", Valid: atLeast(1), Scope: NodeScope,
		Importance: Medium, Since: "Kafka 4.0 (KIP-848)",
		Doc: "The most that `group.consumer.heartbeat.interval.ms` may be.",
	}, {
		Name: "group.consumer.assignment.interval.ms", Type: Int, Unit: Milliseconds, Default: "1000", Valid: atLeast(0), Scope: NodeScope, Update: ClusterWide,
		Importance: Medium, Since: "Kafka 4.3 (KIP-1263)",
		Doc: "How long a group of the consumer protocol keeps an assignment at least before it makes another one, so that members that come together are assigned together.",
	}, {
		Name: "group.consumer.min.assignment.interval.ms", Type: Int, Unit: Milliseconds, Default: "0", Valid: atLeast(0), Scope: NodeScope,
		Importance: Medium, Since: "Kafka 4.3 (KIP-1263)",
		Doc: "The least that `group.consumer.assignment.interval.ms` may be.",
	}, {
		Name: "group.consumer.max.assignment.interval.ms", Type: Int, Unit: Milliseconds, Default: "15000", Valid: atLeast(0), Scope: NodeScope,
		Importance: Medium, Since: "Kafka 4.3 (KIP-1263)",
		Doc: "The most that `group.consumer.assignment.interval.ms` may be.",
	}, {
		Name: "group.consumer.max.size", Type: Int, Default: "2147483647", Valid: atLeast(1), Scope: NodeScope,
		Importance: Medium, Since: "Kafka 4.0 (KIP-848)",
		Doc: "The most members that a group of the consumer protocol may have.",
	}, {
		Name: "group.consumer.assignors", Type: List, Default: "uniform,range", Valid: assignorList, Scope: NodeScope, Importance: Medium,
		Since: "Kafka 4.0 (KIP-848)",
		Doc:   "The assignors that members of the consumer protocol may ask for. The first one is that of members that don't. `uniform` gives all members the same number of partitions and moves as few as it can; `range` has partitions of the same number of all topics meet in one member.",
	}, {
		Name: "group.consumer.migration.policy", Type: String, Default: "bidirectional", Scope: NodeScope, Importance: Medium,
		Valid: oneOfFold("disabled", "downgrade", "upgrade", "bidirectional"),
		Since: "Kafka 4.0 (KIP-848)",
		Doc:   "Whether a classic group of consumers becomes one of the consumer protocol when a member of that protocol joins (`upgrade`), whether it becomes classic again when the last such member leaves (`downgrade`), both, or neither.",
	}, {
		Name: "consumer.session.timeout.ms", Type: Int, Unit: Milliseconds, Default: "45000", Valid: atLeast(1), Scope: GroupScope,
		Importance: Medium, Since: "Kafka 4.0 (KIP-848)", Synonyms: []string{"group.consumer.session.timeout.ms"},
		Doc: "How long a member may be silent before it is taken out of this group, if that is one of the consumer protocol. It is held within `group.consumer.min.session.timeout.ms` and `group.consumer.max.session.timeout.ms`, and is more than the time between two heartbeats.",
	}, {
		Name: "consumer.heartbeat.interval.ms", Type: Int, Unit: Milliseconds, Default: "5000", Valid: atLeast(1), Scope: GroupScope,
		Importance: Medium, Since: "Kafka 4.0 (KIP-848)", Synonyms: []string{"group.consumer.heartbeat.interval.ms"},
		Doc: "How often members of this group are told to send a heartbeat, if that is one of the consumer protocol. It is held within `group.consumer.min.heartbeat.interval.ms` and `group.consumer.max.heartbeat.interval.ms`.",
	}, {
		Name: "consumer.assignment.interval.ms", Type: Int, Unit: Milliseconds, Default: "1000", Valid: atLeast(0), Scope: GroupScope,
		Importance: Medium, Since: "Kafka 4.3 (KIP-1263)", Synonyms: []string{"group.consumer.assignment.interval.ms"},
		Doc: "How long this group keeps an assignment at least, if it is one of the consumer protocol. It is held within `group.consumer.min.assignment.interval.ms` and `group.consumer.max.assignment.interval.ms`.",
	}, {
		Name: "offset.metadata.max.bytes", Type: Int, Unit: Bytes, Default: "4096", Valid: atLeast(0), Scope: NodeScope, Importance: High,
		Since: "Kafka 0.8.2",
		Doc:   "The longest text that a client may store beside a committed offset.",
	}, {
		Name: "offsets.commit.timeout.ms", Type: Int, Unit: Milliseconds, Default: "5000", Valid: atLeast(1), Scope: NodeScope, Importance: High,
		Since: "Kafka 0.8.2",
		Doc:   "How long a commit, or another change of a group, waits for the in-sync replicas of the offsets topic.",
	}, {
		Name: "offsets.retention.minutes", Type: Int, Unit: Minutes, Default: "10080", Valid: atLeast(1), Scope: NodeScope, Importance: High,
		Since: "Kafka 0.9 (KIP-211)",
		Doc:   "How long offsets are kept after their group has become empty; of consumers without a group, after the commit.",
	}, {
		Name: "offsets.retention.check.interval.ms", Type: Long, Unit: Milliseconds, Default: "600000", Valid: atLeast(1), Scope: NodeScope,
		Importance: High, Since: "Kafka 0.8.2",
		Doc: "How often the broker looks for offsets that have expired.",
	}, {
		Name: "offsets.topic.num.partitions", Type: Int, Default: "50", Valid: atLeast(1), Scope: NodeScope, Importance: High,
		Since: "Kafka 0.8.2",
		Doc:   "The number of partitions of the topic that holds groups and offsets. It counts when that topic is created, and never after.",
	}, {
		Name: "offsets.topic.replication.factor", Type: Short, Default: "1", Valid: between(1, 32767), Scope: NodeScope, Importance: High,
		Since: "Kafka 0.8.2",
		Doc:   "The number of replicas of that topic's partitions. It counts when the topic is created. Kafka's default is 3.",
	}, {
		Name: "offsets.topic.segment.bytes", Type: Int, Unit: Bytes, Default: "104857600", Valid: atLeast(1), Scope: NodeScope, Importance: High,
		Since: "Kafka 0.8.2",
		Doc:   "The `segment.bytes` that the topic is created with.",
	}, {
		Name: "varve.group.lag.max.series", Type: Int, Default: "1000", Valid: between(0, 1_000_000), Scope: NodeScope, Importance: Low, Since: sinceVarve,
		Doc: "How many committed offsets a broker shows in `/metrics` (`varve_group_lag_records`, `varve_group_lag_seconds`) and `/metrics/kafka`, one for each group and partition that has one; 0 for none. Of more than that the first are shown, by the names of group and topic, and `varve_group_lag_left_out` counts the rest.",
	},
}
