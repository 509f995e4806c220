package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/varve-io/varve/broker/kafka"
)

// Node is the resolved settings of one broker. It is immutable: a change makes a new Node,
// and whoever needs the newest one is given a func() *Node. Fields carry the unit last;
// the table documents each.
type Node struct {
	NodeID              int32
	ClusterID           string // "" until the node has one
	Listeners           []Listener
	AdvertisedListeners []Listener // host "" stands for the machine's name, port 0 for the port in use
	AdminListen         string     // HOST:PORT; "" for none
	AdminSecurity       *Security  // nil: the admin listener has no TLS
	AdminUsersFile      string     // "": nobody needs to log in there
	Tracing             Tracing
	LogDirs             []string // at least one
	CordonedLogDirs     []string // of LogDirs, or "*"
	MetadataDir         string
	Rack                string

	NumPartitions            int32
	DefaultReplicationFactor int16
	AutoCreateTopics         bool
	DeleteTopicEnable        bool

	MessageMaxBytes int64
	FetchMaxBytes   int64

	MaxIncrementalFetchSessionCacheSlots int64
	SocketRequestMaxBytes                int64
	QueuedMaxRequestBytes                int64 // -1 leaves the bound to the broker
	SocketSendBufferBytes                int64 // -1 leaves it to the operating system
	SocketReceiveBufferBytes             int64 // -1 leaves it to the operating system
	ConnectionsMaxIdleMs                 int64 // negative: idle connections stay
	MaxConnectionsPerIP                  int64
	QuotaWindows, ControllerQuotaWindows int64 // of QuotaWindowSeconds and its like each
	QuotaWindowSeconds                   int64
	ControllerQuotaWindowSeconds         int64
	MaxConnections                       int64
	MaxConnectionsPerIPOverrides         map[string]int // by address
	MaxConnectionCreationRate            int64          // in a second
	StallTimeoutMs, HandshakeTimeoutMs   int64
	LoginTimeoutMs, LoginMaxBytes        int64
	HandshakesMax                        int
	Authorizer                           bool              // requests are checked against the rules of access
	SuperUsers                           []kafka.Principal // who need none
	AllowIfNoACL                         bool              // a resource that no rule is for is open to everyone

	LogRetentionCheckIntervalMs        int64
	LogFlushSchedulerIntervalMs        int64
	LogFlushOffsetCheckpointIntervalMs int64
	DiskEvictPercent                   int64 // of a log dir's disk in use; 100: never
	DiskThrottlePercent                int64
	DiskRefusePercent                  int64
	ProducerIDExpirationMs             int64

	CleanerEnable            bool
	CleanerThreads           int
	CleanerBackoffMs         int64
	CleanerDedupeBufferBytes int64
	CleanerIOBufferBytes     int64
	CleanerLoadFactor        float64
	CleanerMaxBytesPerSecond float64

	GroupInitialRebalanceDelayMs    int64
	GroupMinSessionTimeoutMs        int32
	GroupMaxSessionTimeoutMs        int32
	GroupMaxSize                    int
	GroupConsumerSessionTimeoutMs   int64
	GroupConsumerHeartbeatMs        int32
	GroupConsumerAssignmentMs       int64
	GroupConsumerLimits             ConsumerGroupLimits
	GroupConsumerMaxSize            int
	GroupConsumerAssignors          []string // at least one
	GroupConsumerUpgrade            bool     // classic groups become groups of the consumer protocol
	GroupConsumerDowngrade          bool     // and back
	OffsetMetadataMaxBytes          int
	GroupLagMaxSeries               int
	MetricsKafkaMaxPartitions       int
	OffsetsCommitTimeoutMs          int64
	OffsetsRetentionMs              int64
	OffsetsRetentionCheckIntervalMs int64
	OffsetsTopicPartitions          int32
	OffsetsTopicReplicationFactor   int16
	OffsetsTopicSegmentBytes        int64

	TransactionMaxTimeoutMs           int64
	TransactionalIDExpirationMs       int64
	TransactionAbortCheckIntervalMs   int64
	TransactionExpireCheckIntervalMs  int64
	TransactionTopicPartitions        int32
	TransactionTopicReplicationFactor int16
	TransactionTopicMinISR            int64
	TransactionTopicSegmentBytes      int64
	AddPartitionsRetryMs              int64
	AddPartitionsRetryMaxMs           int64
	LostLogDirs                       []kafka.UUID // ids of directories whose disks are gone for good
	WALBytes                          int64

	TierURL                           string // "" for no tier
	TierCacheDir                      string
	TierCacheBytes                    int64
	TierCleanIntervalMs               int64
	TierManifestRetentionMs           int64
	TierOrphanGraceMs                 int64
	RemoteLogManagerTaskIntervalMs    int64
	AlterLogDirsBytesPerSecond        int64
	RemoteCopyMaxBytesPerSecond       int64
	RemoteFetchMaxBytesPerSecond      int64
	RemoteFetchMaxWaitMs              int64
	RemoteListOffsetsRequestTimeoutMs int64

	// Security is what listeners go by that set nothing for themselves alone; each listener of
	// Listeners has its own.
	Security  *Security
	UsersFile string // "" for none

	DelegationTokens DelegationTokens

	layers layers
}

// layers are the canonical values that were set, the weakest first; defaults are in the table.
type layers struct {
	static  map[string]string // files, environment, flags
	cluster map[string]string // dynamic default of all brokers
	broker  map[string]string // dynamic setting of this broker
}

// get is the value that counts, and whether there is one: set somewhere, or a default.
func (l layers) get(name string) (string, bool) {
	for _, layer := range []map[string]string{l.broker, l.cluster, l.static} {
		if v, ok := layer[name]; ok {
			return v, true
		}
	}
	s := row(name)
	return s.Default, s.Default != ""
}

// row is the setting of a name that the code itself knows.
func row(name string) Setting {
	s, ok := Lookup(name)
	if !ok {
		panic("BUG: no setting " + name)
	}
	return s
}

func (l layers) text(name string) string {
	v, _ := l.get(name)
	return v
}

func (l layers) int(name string) int64 { return integer(l.text(name)) }

func (l layers) double(name string) float64 {
	f, _ := strconv.ParseFloat(l.text(name), 64) // canonical
	return f
}

func (l layers) bool(name string) bool { return l.text(name) == "true" }

// principals reads a list of principals, which is valid.
func (l layers) principals(name string) []kafka.Principal {
	list, _ := kafka.ParsePrincipals(l.text(name))
	return list
}

func (l layers) list(name string) []string { return splitList(l.text(name)) }

func newNode(l layers) (*Node, error) {
	n := &Node{
		NodeID:      int32(l.int("node.id")),
		ClusterID:   l.text("varve.cluster.id"),
		AdminListen: l.text("varve.admin.listener"),
		LogDirs:     l.list("log.dirs"), CordonedLogDirs: l.list("cordoned.log.dirs"),
		Rack: l.text("broker.rack"),

		NumPartitions:            int32(l.int("num.partitions")),
		DefaultReplicationFactor: int16(l.int("default.replication.factor")),
		AutoCreateTopics:         l.bool("auto.create.topics.enable"),
		DeleteTopicEnable:        l.bool("delete.topic.enable"),

		MessageMaxBytes: l.int("message.max.bytes"),
		FetchMaxBytes:   l.int("fetch.max.bytes"),

		MaxIncrementalFetchSessionCacheSlots: l.int("max.incremental.fetch.session.cache.slots"),
		SocketRequestMaxBytes:                l.int("socket.request.max.bytes"),
		QueuedMaxRequestBytes:                l.int("queued.max.request.bytes"),
		SocketSendBufferBytes:                l.int("socket.send.buffer.bytes"),
		SocketReceiveBufferBytes:             l.int("socket.receive.buffer.bytes"),
		ConnectionsMaxIdleMs:                 l.int("connections.max.idle.ms"),
		MaxConnectionsPerIP:                  l.int("max.connections.per.ip"),
		QuotaWindows:                         l.int("quota.window.num"),
		QuotaWindowSeconds:                   l.int("quota.window.size.seconds"),
		ControllerQuotaWindows:               l.int("controller.quota.window.num"),
		ControllerQuotaWindowSeconds:         l.int("controller.quota.window.size.seconds"),
		MaxConnections:                       l.int("max.connections"),
		Authorizer:                           l.text("authorizer.class.name") != "",
		SuperUsers:                           l.principals("super.users"),
		AllowIfNoACL:                         l.bool("allow.everyone.if.no.acl.found"),

		LogRetentionCheckIntervalMs:        l.int("log.retention.check.interval.ms"),
		LogFlushSchedulerIntervalMs:        l.int("log.flush.scheduler.interval.ms"),
		LogFlushOffsetCheckpointIntervalMs: l.int("log.flush.offset.checkpoint.interval.ms"),
		DiskEvictPercent:                   l.int("varve.disk.evict.percent"),
		DiskThrottlePercent:                l.int("varve.disk.throttle.percent"),
		DiskRefusePercent:                  l.int("varve.disk.refuse.percent"),
		ProducerIDExpirationMs:             l.int("producer.id.expiration.ms"),

		CleanerEnable:            l.bool("log.cleaner.enable"),
		CleanerThreads:           int(l.int("log.cleaner.threads")),
		CleanerBackoffMs:         l.int("log.cleaner.backoff.ms"),
		CleanerDedupeBufferBytes: l.int("log.cleaner.dedupe.buffer.size"),
		CleanerIOBufferBytes:     l.int("log.cleaner.io.buffer.size"),
		CleanerLoadFactor:        l.double("log.cleaner.io.buffer.load.factor"),
		CleanerMaxBytesPerSecond: l.double("log.cleaner.io.max.bytes.per.second"),

		WALBytes:                          l.int("varve.wal.bytes"),
		TierURL:                           l.text("varve.tier.url"),
		TierCacheBytes:                    l.int("varve.tier.cache.bytes"),
		TierCleanIntervalMs:               l.int("varve.tier.clean.interval.ms"),
		TierManifestRetentionMs:           l.int("varve.tier.manifest.retention.ms"),
		TierOrphanGraceMs:                 l.int("varve.tier.orphan.grace.ms"),
		RemoteLogManagerTaskIntervalMs:    l.int("remote.log.manager.task.interval.ms"),
		AlterLogDirsBytesPerSecond:        l.int("replica.alter.log.dirs.io.max.bytes.per.second"),
		RemoteCopyMaxBytesPerSecond:       l.int("remote.log.manager.copy.max.bytes.per.second"),
		RemoteFetchMaxBytesPerSecond:      l.int("remote.log.manager.fetch.max.bytes.per.second"),
		RemoteFetchMaxWaitMs:              l.int("remote.fetch.max.wait.ms"),
		RemoteListOffsetsRequestTimeoutMs: l.int("remote.list.offsets.request.timeout.ms"),

		layers: l,
	}
	n.setCoordinators(l)
	for _, id := range l.list("varve.log.dirs.lost") {
		if u, err := kafka.ParseUUID(id); err == nil { // the table has checked it
			n.LostLogDirs = append(n.LostLogDirs, u)
		}
	}
	n.MetadataDir = nameOr(l.text("varve.metadata.dir"), filepath.Join(n.LogDirs[0], "metadata"))
	n.TierCacheDir = nameOr(l.text("varve.tier.cache.dir"), filepath.Join(n.LogDirs[0], "cache"))
	var errListeners error
	n.Listeners, n.AdvertisedListeners, errListeners = l.listeners()
	n.Security, n.UsersFile = l.security(""), l.text("varve.users.file")
	n.DelegationTokens = DelegationTokens{l.text("delegation.token.secret.key"), l.int("delegation.token.max.lifetime.ms"),
		l.int("delegation.token.expiry.time.ms"), l.int("delegation.token.expiry.check.interval.ms")}
	n.AdminUsersFile = l.text("varve.admin.users.file")
	n.Tracing = Tracing{l.text("varve.tracing.endpoint"), l.double("varve.tracing.sample.ratio"), l.text("varve.tracing.headers.file"), l.text("varve.tracing.ssl.truststore.location")}
	n.setConnections(l)
	if l.bool("varve.admin.ssl.enable") {
		n.AdminSecurity = l.security(adminListener)
	}
	if err := errors.Join(errListeners, n.checkAdmin(), n.check()); err != nil {
		return nil, err
	}
	return n, nil
}

// setCoordinators sets what groups and transactions go by.
func (n *Node) setCoordinators(l layers) {
	n.GroupInitialRebalanceDelayMs = l.int("group.initial.rebalance.delay.ms")
	n.GroupMinSessionTimeoutMs = int32(l.int("group.min.session.timeout.ms"))
	n.GroupMaxSessionTimeoutMs = int32(l.int("group.max.session.timeout.ms"))
	n.GroupMaxSize = int(l.int("group.max.size"))
	n.GroupConsumerSessionTimeoutMs = l.int("group.consumer.session.timeout.ms")
	n.GroupConsumerHeartbeatMs = int32(l.int("group.consumer.heartbeat.interval.ms"))
	n.GroupConsumerAssignmentMs = l.int("group.consumer.assignment.interval.ms")
	n.GroupConsumerLimits = ConsumerGroupLimits{
		Session:    Limits{l.int("group.consumer.min.session.timeout.ms"), l.int("group.consumer.max.session.timeout.ms")},
		Heartbeat:  Limits{l.int("group.consumer.min.heartbeat.interval.ms"), l.int("group.consumer.max.heartbeat.interval.ms")},
		Assignment: Limits{l.int("group.consumer.min.assignment.interval.ms"), l.int("group.consumer.max.assignment.interval.ms")},
	}
	n.GroupConsumerMaxSize = int(l.int("group.consumer.max.size"))
	n.GroupConsumerAssignors = l.list("group.consumer.assignors")
	n.OffsetMetadataMaxBytes = int(l.int("offset.metadata.max.bytes"))
	n.GroupLagMaxSeries = int(l.int("varve.group.lag.max.series"))
	n.MetricsKafkaMaxPartitions = int(l.int("varve.metrics.kafka.max.partitions"))
	n.OffsetsCommitTimeoutMs = l.int("offsets.commit.timeout.ms")
	n.OffsetsRetentionMs = l.int("offsets.retention.minutes") * Minutes.millis()
	n.OffsetsRetentionCheckIntervalMs = l.int("offsets.retention.check.interval.ms")
	n.OffsetsTopicPartitions = int32(l.int("offsets.topic.num.partitions"))
	n.OffsetsTopicReplicationFactor = int16(l.int("offsets.topic.replication.factor"))
	n.OffsetsTopicSegmentBytes = l.int("offsets.topic.segment.bytes")

	n.TransactionMaxTimeoutMs = l.int("transaction.max.timeout.ms")
	n.TransactionalIDExpirationMs = l.int("transactional.id.expiration.ms")
	n.TransactionAbortCheckIntervalMs = l.int("transaction.abort.timed.out.transaction.cleanup.interval.ms")
	n.TransactionExpireCheckIntervalMs = l.int("transaction.remove.expired.transaction.cleanup.interval.ms")
	n.TransactionTopicPartitions = int32(l.int("transaction.state.log.num.partitions"))
	n.TransactionTopicReplicationFactor = int16(l.int("transaction.state.log.replication.factor"))
	n.TransactionTopicMinISR = l.int("transaction.state.log.min.isr")
	n.TransactionTopicSegmentBytes = l.int("transaction.state.log.segment.bytes")
	n.AddPartitionsRetryMs = l.int("add.partitions.to.txn.retry.backoff.ms")
	n.AddPartitionsRetryMaxMs = l.int("add.partitions.to.txn.retry.backoff.max.ms")
	migration := strings.ToLower(l.text("group.consumer.migration.policy"))
	n.GroupConsumerUpgrade = migration == "upgrade" || migration == "bidirectional"
	n.GroupConsumerDowngrade = migration == "downgrade" || migration == "bidirectional"
}

// check holds the rules between settings.
func (n *Node) check() error {
	var errs []error
	if q := n.QueuedMaxRequestBytes; q > 0 && q < n.SocketRequestMaxBytes {
		errs = append(errs, refuse("queued.max.request.bytes",
			"queued.max.request.bytes (%d) must be at least socket.request.max.bytes (%d), or -1", q, n.SocketRequestMaxBytes))
	}
	if n.CleanerEnable && n.CleanerThreads > 0 && n.CleanerDedupeBufferBytes/int64(n.CleanerThreads) <= 1<<20 {
		errs = append(errs, refuse("log.cleaner.dedupe.buffer.size",
			"log.cleaner.dedupe.buffer.size (%d) must be more than 1 MiB for each of the %d threads of log.cleaner.threads", n.CleanerDedupeBufferBytes, n.CleanerThreads))
	}
	if n.GroupMinSessionTimeoutMs > n.GroupMaxSessionTimeoutMs {
		errs = append(errs, refuse("group.min.session.timeout.ms",
			"group.min.session.timeout.ms (%d) must be at most group.max.session.timeout.ms (%d)", n.GroupMinSessionTimeoutMs, n.GroupMaxSessionTimeoutMs))
	}
	for _, dir := range n.CordonedLogDirs {
		if dir != "*" && !slices.Contains(n.LogDirs, dir) {
			errs = append(errs, refuse("cordoned.log.dirs", "cordoned.log.dirs names %s, which log.dirs (%s) does not; write it as there, or * for all", dir, strings.Join(n.LogDirs, ",")))
		}
	}
	errs = append(errs, n.checkConsumerGroups()...)
	if n.DiskEvictPercent > n.DiskThrottlePercent || n.DiskThrottlePercent > n.DiskRefusePercent {
		errs = append(errs, refuse("varve.disk.throttle.percent",
			"varve.disk.evict.percent (%d), varve.disk.throttle.percent (%d) and varve.disk.refuse.percent (%d) must not fall",
			n.DiskEvictPercent, n.DiskThrottlePercent, n.DiskRefusePercent))
	}
	t := n.Topic(nil)
	names := func(s string) string { return row(s).Synonyms[0] }
	errs = append(errs, t.checkCompaction(names))
	if n.TierURL != "" {
		errs = append(errs, t.checkTiering(names))
	}
	return errors.Join(errs...)
}

// Limits is the range of a time, in milliseconds; both ends are in it.
type Limits struct{ MinMs, MaxMs int64 }

// ConsumerGroupLimits is the ranges of what may be set for groups of the consumer protocol
// (group.consumer.min.* and group.consumer.max.*), for the broker or for one group.
type ConsumerGroupLimits struct{ Session, Heartbeat, Assignment Limits }

// checkConsumerGroups holds the times of groups of the consumer protocol within their limits.
func (n *Node) checkConsumerGroups() (errs []error) {
	for _, of := range []struct {
		what  string
		value int64
		Limits
	}{
		{"session.timeout.ms", n.GroupConsumerSessionTimeoutMs, n.GroupConsumerLimits.Session},
		{"heartbeat.interval.ms", int64(n.GroupConsumerHeartbeatMs), n.GroupConsumerLimits.Heartbeat},
		{"assignment.interval.ms", n.GroupConsumerAssignmentMs, n.GroupConsumerLimits.Assignment},
	} {
		if of.value < of.MinMs || of.value > of.MaxMs {
			errs = append(errs, refuse("group.consumer."+of.what, "group.consumer.%s (%d) must be at least group.consumer.min.%s (%d) and at most group.consumer.max.%s (%d)",
				of.what, of.value, of.what, of.MinMs, of.what, of.MaxMs))
		}
	}
	if int64(n.GroupConsumerHeartbeatMs) >= n.GroupConsumerSessionTimeoutMs {
		errs = append(errs, refuse("group.consumer.heartbeat.interval.ms",
			"group.consumer.heartbeat.interval.ms (%d) must be less than group.consumer.session.timeout.ms (%d)",
			n.GroupConsumerHeartbeatMs, n.GroupConsumerSessionTimeoutMs))
	}
	return errs
}

// Listener is where a broker listens, or what clients are told of it.
type Listener struct {
	Name     string // in upper case
	Host     string
	Port     int
	Protocol string // PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL

	Security *Security // nil for a PLAINTEXT listener and an advertised one
}

// String is the form NAME://HOST:PORT.
func (l Listener) String() string {
	host := l.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return fmt.Sprintf("%s://%s:%d", l.Name, host, l.Port)
}
