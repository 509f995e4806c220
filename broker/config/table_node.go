package config

// nodeSettings are the settings of a broker that are no defaults of topics. Names, types,
// defaults and ranges are those of Kafka 4.3 unless Since says otherwise.
var nodeSettings = []Setting{
	{
		Name: "node.id", Type: Int, Default: "1", Valid: atLeast(0), Scope: NodeScope, Importance: High, Since: "Kafka 2.8",
		Doc: "The id of this node in the cluster. No two nodes share one; a log directory remembers the id it was used by.",
	}, {
		Name: "listeners", Type: List, Default: "PLAINTEXT://:9092", Valid: listenerList, Scope: NodeScope, Importance: High,
		Since: "Kafka 0.9",
		Doc:   "Where the broker listens: NAME://HOST:PORT, separated by commas. An empty host listens on every interface; port 0 takes a free one.",
	}, {
		Name: "advertised.listeners", Type: List, Valid: listenerList, Scope: NodeScope, Importance: High, Since: "Kafka 0.9",
		Doc: "The addresses that clients are told, one for each listener that they may use. Not set: those of `listeners`, with the machine's name where the host is empty.",
	}, {
		Name: "listener.security.protocol.map", Type: String,
		Default: "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT",
		Valid:   protocolMap, Scope: NodeScope, Importance: Low, Since: "Kafka 0.10.2 (KIP-103)",
		Doc: "The security protocol of each listener name: NAME:PROTOCOL, separated by commas.",
	}, {
		Name: "broker.rack", Type: String, Scope: NodeScope, Importance: Medium, Since: "Kafka 0.10 (KIP-36)",
		Doc: "The rack or availability zone of this broker.",
	}, {
		Name: "log.dirs", Type: List, Default: "/var/lib/varve/log", Valid: nonEmptyList, Scope: NodeScope, Importance: High,
		Since: "Kafka 0.8",
		Doc:   "The directories that hold the partitions, one per disk, separated by commas. New partitions go where the fewest are.",
	}, {
		Name: "cordoned.log.dirs", Type: List, Scope: NodeScope, Update: PerBroker, Importance: Medium, Since: "Kafka 4.3 (KIP-1066)",
		Doc: "Directories of `log.dirs` that take no new partition and no move; `*` is all of them. What lies in them stays and is served.",
	}, {
		Name: "replica.alter.log.dirs.io.max.bytes.per.second", Type: Long, Unit: BytesPerSecond, Default: maxLong, Valid: atLeast(0),
		Scope: NodeScope, Update: PerBroker, Importance: Medium, Since: "Kafka 1.1 (KIP-113)",
		Doc: "The rate at which this broker copies logs between its log directories; 0 holds them up. The default is no limit.",
	}, {
		Name: "num.partitions", Type: Int, Default: "1", Valid: atLeast(1), Scope: NodeScope, Importance: Medium, Since: "Kafka 0.8",
		Doc: "The number of partitions of a topic whose creator names none.",
	}, {
		Name: "default.replication.factor", Type: Int, Default: "1", Valid: between(1, 32767), Scope: NodeScope, Importance: Medium,
		Since: "Kafka 0.8",
		Doc:   "The number of replicas of a partition whose creator names none.",
	}, {
		Name: "auto.create.topics.enable", Type: Bool, Default: "true", Scope: NodeScope, Importance: High, Since: "Kafka 0.8",
		Doc: "Whether a client's request for an unknown topic creates it.",
	}, {
		Name: "delete.topic.enable", Type: Bool, Default: "true", Scope: NodeScope, Importance: High, Since: "Kafka 0.8.2",
		Doc: "Whether topics may be deleted.",
	}, {
		Name: "fetch.max.bytes", Type: Int, Unit: Bytes, Default: "57671680", Valid: atLeast(1024), Scope: NodeScope,
		Importance: Medium, Since: "Kafka 2.5 (KIP-541)",
		Doc: "The most record bytes in one answer to a Fetch, whatever the client asks for. One batch that is larger is still sent.",
	}, {
		Name: "max.incremental.fetch.session.cache.slots", Type: Int, Default: "1000", Valid: atLeast(0), Scope: NodeScope,
		Importance: Medium, Since: "Kafka 1.1 (KIP-227)",
		Doc: "How many fetch sessions the broker keeps, one for each consumer that does not name all of its partitions in every fetch. 0 grants none.",
	}, {
		Name: "socket.request.max.bytes", Type: Int, Unit: Bytes, Default: "104857600", Valid: atLeast(1), Scope: NodeScope,
		Importance: High, Since: "Kafka 0.8",
		Doc: "The largest request a client may send; a larger one closes its connection.",
	}, {
		Name: "queued.max.request.bytes", Type: Long, Unit: Bytes, Default: "-1", Scope: NodeScope, Importance: Medium,
		Since: "Kafka 1.0 (KIP-72)",
		Doc:   "The bytes of requests that may be in memory at once before reading stops. -1 leaves the bound to the broker: 512 MiB, or a fifth of the memory that the process may use (GOMEMLIMIT, or its control group); else at least `socket.request.max.bytes`.",
	}, {
		Name: "socket.send.buffer.bytes", Type: Int, Unit: Bytes, Default: "102400", Valid: atLeast(-1), Scope: NodeScope,
		Importance: High, Since: "Kafka 0.8",
		Doc: "The send buffer of a connection (SO_SNDBUF). -1 leaves it to the operating system.",
	}, {
		Name: "socket.receive.buffer.bytes", Type: Int, Unit: Bytes, Default: "-1", Valid: atLeast(-1), Scope: NodeScope,
		Importance: High, Since: "Kafka 0.8",
		Doc: "The receive buffer of a connection (SO_RCVBUF). -1 leaves it to the operating system, which then grows it with the traffic.",
	}, {
		Name: "connections.max.idle.ms", Type: Long, Unit: Milliseconds, Default: "600000", Scope: NodeScope, Importance: Medium,
		Since: "Kafka 0.8.2",
		Doc:   "A connection without a request for this long is closed. A negative value keeps idle connections.",
	}, {
		Name: "quota.window.num", Type: Int, Default: "11", Valid: atLeast(1), Scope: NodeScope, Importance: Low, Since: "Kafka 0.9 (KIP-13)",
		Doc: "How many windows a client's rate is measured over. It may use all but one of them at once.",
	}, {
		Name: "quota.window.size.seconds", Type: Int, Unit: Seconds, Default: "1", Valid: atLeast(1), Scope: NodeScope, Importance: Low, Since: "Kafka 0.9 (KIP-13)",
		Doc: "How long each of the windows is.",
	}, {
		Name: "controller.quota.window.num", Type: Int, Default: "11", Valid: atLeast(1), Scope: NodeScope, Importance: Low, Since: "Kafka 2.7 (KIP-599)",
		Doc: "As quota.window.num, for partitions that a client creates and deletes.",
	}, {
		Name: "controller.quota.window.size.seconds", Type: Int, Unit: Seconds, Default: "1", Valid: atLeast(1), Scope: NodeScope, Importance: Low, Since: "Kafka 2.7 (KIP-599)",
		Doc: "As quota.window.size.seconds, for partitions that a client creates and deletes.",
	}, {
		Name: "max.connections.per.ip", Type: Int, Default: "2147483647", Valid: atLeast(0), Scope: NodeScope, Update: ClusterWide,
		Importance: Medium, Since: "Kafka 0.8.2",
		Doc: "The most connections from one address; further ones are closed at once.",
	}, {
		Name: "max.connections", Type: Int, Default: "2147483647", Valid: atLeast(0), Scope: NodeScope, Update: ClusterWide,
		Importance: Medium, Since: "Kafka 2.4 (KIP-402)",
		Doc: "The most connections to this broker.",
	}, {
		Name: "max.connections.per.ip.overrides", Type: String, Valid: ipCounts, Scope: NodeScope, Update: ClusterWide,
		Importance: Medium, Since: "Kafka 0.8.2",
		Doc: "ADDRESS:COUNT, separated by commas: addresses for which another number than `max.connections.per.ip` holds.",
	}, {
		Name: "max.connection.creation.rate", Type: Int, Default: "2147483647", Valid: atLeast(0), Scope: NodeScope, Update: ClusterWide,
		Importance: Medium, Since: "Kafka 2.7 (KIP-612)",
		Doc: "How many connections a second are accepted, in all; further ones wait to be accepted. For one address it is a quota (`connection_creation_rate`).",
	}, {
		Name: "varve.connections.stall.timeout.ms", Type: Int, Unit: Milliseconds, Default: "30000", Valid: atLeast(100), Scope: NodeScope, Importance: Medium, Since: sinceVarve,
		Doc: "How long a client may be silent in the middle of a request, and how long it may leave its answers unread, before its connection is closed. It is closed too when it moves less than 16 KiB in that time, again and again.",
	}, {
		Name: "varve.connections.handshake.timeout.ms", Type: Int, Unit: Milliseconds, Default: "10000", Valid: atLeast(100), Scope: NodeScope, Importance: Medium, Since: sinceVarve,
		Doc: "How long a TLS handshake may take.",
	}, {
		Name: "varve.connections.handshakes.max", Type: Int, Default: "1024", Valid: atLeast(1), Scope: NodeScope, Importance: Medium, Since: sinceVarve,
		Doc: "How many TLS handshakes may be under way; connections that begin another one are closed.",
	}, {
		Name: "varve.connections.login.timeout.ms", Type: Int, Unit: Milliseconds, Default: "30000", Valid: atLeast(100), Scope: NodeScope, Importance: Medium, Since: sinceVarve,
		Doc: "How long a login may take, from the moment that its connection was accepted.",
	}, {
		Name: "varve.connections.login.max.bytes", Type: Int, Unit: Bytes, Default: "65536", Valid: atLeast(1024), Scope: NodeScope, Importance: Medium, Since: sinceVarve,
		Doc: "The largest request before a login is complete, tokens of its mechanism included.",
	}, {
		Name: "authorizer.class.name", Type: String, Valid: oneOf("", standardAuthorizer), Scope: NodeScope, Importance: Low, Since: "Kafka 0.9 (KIP-11)",
		Doc: "`" + standardAuthorizer + "` has requests checked against the rules of access (`kafka-acls`). Empty: whoever may connect may do everything.",
	}, {
		Name: "super.users", Type: String, Valid: principals, Scope: NodeScope, Importance: Low, Since: "Kafka 0.9 (KIP-11)",
		Doc: "Who may do everything, whatever the rules of access say: principals such as User:admin, separated by semicolons.",
	}, {
		Name: "allow.everyone.if.no.acl.found", Type: Bool, Default: "false", Scope: NodeScope, Importance: Low, Since: "Kafka 0.9 (KIP-11)",
		Doc: "Whether everyone may do everything with a resource that no rule of access is for.",
	}, {
		Name: "log.retention.check.interval.ms", Type: Long, Unit: Milliseconds, Default: "300000", Valid: atLeast(1), Scope: NodeScope,
		Importance: Medium, Since: "Kafka 0.8",
		Doc: "How often the broker looks for segments that retention no longer keeps.",
	}, {
		Name: "log.flush.offset.checkpoint.interval.ms", Type: Int, Unit: Milliseconds, Default: "60000", Valid: atLeast(0),
		Scope: NodeScope, Importance: High, Since: "Kafka 0.8",
		Doc: "How often a log directory writes its checkpoint; recovery after a crash starts from it.",
	}, {
		Name: "producer.id.expiration.ms", Type: Int, Unit: Milliseconds, Default: "86400000", Valid: atLeast(1), Scope: NodeScope,
		Update: ClusterWide, Importance: Low, Since: "Kafka 3.4 (KIP-854)",
		Doc: "How long after its last batch a partition remembers an idempotent producer.",
	}, {
		Name: "remote.log.manager.task.interval.ms", Type: Long, Unit: Milliseconds, Default: "30000", Valid: atLeast(1), Scope: NodeScope,
		Importance: Low, Since: "Kafka 3.6 (KIP-405)",
		Doc: "How often a leader looks for closed segments to copy to the object store and for remote ones to delete.",
	}, {
		Name: "remote.log.manager.copy.max.bytes.per.second", Type: Long, Unit: BytesPerSecond, Default: maxLong, Valid: atLeast(1),
		Scope: NodeScope, Update: ClusterWide, Importance: Medium, Since: "Kafka 3.9 (KIP-956)",
		Doc: "The rate at which this broker copies segments to the object store. The default is no limit.",
	}, {
		Name: "remote.log.manager.fetch.max.bytes.per.second", Type: Long, Unit: BytesPerSecond, Default: maxLong, Valid: atLeast(1),
		Scope: NodeScope, Update: ClusterWide, Importance: Medium, Since: "Kafka 3.9 (KIP-956)",
		Doc: "The rate at which this broker reads from the object store. The default is no limit.",
	}, {
		Name: "remote.fetch.max.wait.ms", Type: Int, Unit: Milliseconds, Default: "500", Valid: atLeast(1), Scope: NodeScope,
		Update: ClusterWide, Importance: Medium, Since: "Kafka 3.8 (KIP-1018)",
		Doc: "How long a Fetch waits for bytes from the object store. Later it is answered without them, and the reading goes on for the next one.",
	}, {
		Name: "remote.list.offsets.request.timeout.ms", Type: Long, Unit: Milliseconds, Default: "30000", Valid: atLeast(1),
		Scope: NodeScope, Update: ClusterWide, Importance: Medium, Since: "Kafka 4.0 (KIP-1075)",
		Doc: "How long a ListOffsets waits for the object store.",
	}, {
		Name: "varve.admin.listener", Type: String, Default: "127.0.0.1:9644", Valid: hostPort, Scope: NodeScope, Importance: Medium, Since: sinceVarve,
		Doc: "HOST:PORT of the admin listener with `/livez`, `/readyz`, `/metrics`, `/metrics/kafka`, `/loglevel` and `/debug/pprof/`. An address that other machines reach needs `varve.admin.ssl.enable` and `varve.admin.users.file`. Empty: there is none.",
	}, {
		Name: "varve.admin.ssl.enable", Type: Bool, Default: "false", Scope: NodeScope, Importance: Medium, Since: sinceVarve,
		Doc: "Whether the admin listener speaks TLS, by the settings `ssl.*`, or those of `listener.name.admin.ssl.*`.",
	}, {
		Name: "varve.admin.users.file", Type: String, Scope: NodeScope, Importance: Medium, Since: sinceVarve,
		Doc: "A file with those who may use the admin listener, a line NAME:PASSWORD for each (HTTP basic login); a changed file is in use within ten seconds. With it everything but `/livez` and `/readyz` needs a login. Without it `/debug/pprof/` is not there and `/loglevel` cannot be changed.",
	}, {
		Name: "varve.cluster.id", Type: String, Valid: clusterID, Scope: NodeScope, Importance: Medium, Since: sinceVarve,
		Doc: "The id of the cluster that this node belongs to, 22 characters of URL-safe base64. Not set: the id in the log directories, or a new one at the first start.",
	}, {
		Name: "varve.disk.evict.percent", Type: Int, Default: "85", Valid: between(1, 100), Scope: NodeScope, Importance: Medium, Since: sinceVarve,
		Doc: "How full the disk of a log directory may be, in percent, before tiered topics give way: closed segments are copied at once, and local ones that the object store has are evicted, the oldest records first, until there is room again, whatever `local.retention.*` says. 32 GiB of free space are enough on any disk. 100: never.",
	}, {
		Name: "varve.disk.throttle.percent", Type: Int, Default: "90", Valid: between(1, 100), Scope: NodeScope, Importance: Medium, Since: sinceVarve,
		Doc: "How full that disk may be before producers are held up (KIP-219): together they get a rate at which the space above `varve.disk.refuse.percent` would last for a minute. 4 GiB of free space are enough on any disk. 100: never.",
	}, {
		Name: "varve.disk.refuse.percent", Type: Int, Default: "95", Valid: between(1, 100), Scope: NodeScope, Importance: High, Since: sinceVarve,
		Doc: "How full that disk may be before producers are refused with KAFKA_STORAGE_ERROR, which they retry. 1 GiB of free space is enough on any disk. With 100 too, the last 64 MiB (of a small disk a sixteenth) are kept for the broker's own files.",
	}, {
		Name: "varve.log.dirs.lost", Type: List, Default: "", Valid: directoryIDs, Scope: NodeScope, Importance: Low, Since: sinceVarve,
		Doc: "Directory ids of this node whose disks are gone for good, as the log names them at the start. An empty directory of `log.dirs` takes the place of each; what the object store does not hold of its partitions is lost. An id that is not missing is passed over.",
	}, {
		Name: "varve.metrics.kafka.max.partitions", Type: Int, Default: "10000", Valid: between(0, 1_000_000), Scope: NodeScope, Importance: Low, Since: sinceVarve,
		Doc: "How many partitions a broker shows in `/metrics/kafka`, whole topics by the order of their names. `varve_kafka_metrics_left_out` counts the rest.",
	}, {
		Name: "varve.metadata.dir", Type: String, Scope: NodeScope, Importance: High, Since: sinceVarve,
		Doc: "The directory of the metadata log and its snapshots. Not set: `metadata` in the first of `log.dirs`.",
	}, {
		Name: "varve.wal.bytes", Type: Long, Unit: Bytes, Default: "268435456", Valid: between(16<<20, 64<<30), Scope: NodeScope, Importance: Medium,
		Since: sinceVarve,
		Doc:   "The size of the write-ahead file that a log directory gets with its first append to a topic with `varve.durability=group`, and keeps. When half of it is in use, the logs that need it are synced in the background; when all of it is, appends wait for that. A changed size holds from the next start on.",
	}, {
		Name: "varve.tier.url", Type: String, Valid: tierURL, Scope: NodeScope, Importance: High, Since: sinceVarve,
		Doc: "The object store that closed segments go to: `file:///dir`, `mem://name`, `s3://bucket/prefix?region=…`, `azblob://account/container/prefix` or `gs://bucket/prefix`; with `endpoint=…` another server than the cloud's. Credentials come from the provider's own chain, never from the URL. Not set: there is no tier.",
	}, {
		Name: "varve.tier.cache.dir", Type: String, Scope: NodeScope, Importance: Medium, Since: sinceVarve,
		Doc: "The directory of the cache for chunks read from the object store. Not set: `cache` in the first of `log.dirs`.",
	}, {
		Name: "varve.tier.cache.bytes", Type: Long, Unit: Bytes, Default: "10737418240", Valid: atLeast(0), Scope: NodeScope,
		Importance: Medium, Since: sinceVarve,
		Doc: "The most bytes in that cache.",
	}, {
		Name: "varve.tier.clean.interval.ms", Type: Long, Unit: Milliseconds, Default: "600000", Valid: atLeast(1), Scope: NodeScope,
		Importance: Low, Since: sinceVarve,
		Doc: "How often each partition's part of the object store is cleaned of old manifest versions and of what no manifest names.",
	}, {
		Name: "varve.tier.manifest.retention.ms", Type: Long, Unit: Milliseconds, Default: "3600000", Valid: atLeast(0), Scope: NodeScope,
		Importance: Low, Since: sinceVarve,
		Doc: "How long replaced manifest versions stay at least. The newest eight always stay.",
	}, {
		Name: "varve.tier.orphan.grace.ms", Type: Long, Unit: Milliseconds, Default: "3600000", Valid: atLeast(0), Scope: NodeScope,
		Importance: Low, Since: sinceVarve,
		Doc: "How long an object that no manifest names, left by an upload that failed or was fenced, stays before it is removed.",
	},
}
