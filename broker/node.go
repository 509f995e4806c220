// Package broker is the wiring room: it builds every other room, starts them in order and
// stops them in reverse.
//
// It owns the order of start and stop, the admin listener, the background loops (retention,
// checkpoints) and the small adapters by which rooms that must not know each other meet. It
// owns no data and no protocol. Start and Stop are called once each; the other methods of a
// Node may be called from any goroutine between them.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varve-io/varve/broker/api"
	"github.com/varve-io/varve/broker/commitlog/logdir"
	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/controller"
	"github.com/varve-io/varve/broker/coordinator/group"
	"github.com/varve-io/varve/broker/coordinator/txn"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/quota"
	"github.com/varve-io/varve/broker/replica"
	"github.com/varve-io/varve/broker/security"
	"github.com/varve-io/varve/broker/security/acl"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/telemetry"
	"github.com/varve-io/varve/broker/tracing"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/tiered"
)

// Options is what a Node is made of. Config and Logger are needed; OpenStore is, when the
// settings name a tier. The others have the operating system's version as default.
type Options struct {
	Config *config.Node
	// OpenStore opens the object store of a tier URL; the front door hands in objstore/open.
	OpenStore func(ctx context.Context, url string) (objstore.Bucket, error)
	Logger    *slog.Logger
	Version   string

	FS     vfs.FS
	Listen func(network, addr string) (net.Listener, error)
	Now    func() time.Time
	// TuneTier changes the tier's options before it is built, for tests that cannot wait for
	// hours of grace.
	TuneTier func(*tiered.Options)
}

// Node is one running broker.
type Node struct {
	o        Options
	config   *config.Node                // as it was at the start
	current  atomic.Pointer[config.Node] // with the dynamic settings of now
	logger   *slog.Logger
	logLevel *slog.LevelVar
	registry *prometheus.Registry
	// kafkaRegistry has the names of other exporters.
	kafkaRegistry *prometheus.Registry
	metrics       *metrics
	incarnation   kafka.UUID
	clusterID     string

	admin      *admin
	listeners  []server.Listener
	controller *controller.Controller
	dirs       *logdir.Manager
	bucket     objstore.Bucket
	tier       *tiered.Manager
	replicas   *replica.Manager
	groups     *group.Coordinator
	txns       *txn.Coordinator
	server     *server.Server
	telemetry  *telemetry.Manager
	tracer     *tracing.Tracer // nil: nothing is traced
	quotas     *quota.Manager
	authorizer *acl.Authorizer // nil: everything is allowed
	topics     *topicObjects
	tokens     *security.Tokens
	logins     map[string]*security.Logins // by SASL listener

	background context.Context
	cancel     context.CancelFunc
	wg         sync.WaitGroup
	failed     chan error
	dirsFailed chan struct{}                  // some log directory went offline
	placing    atomic.Pointer[logdir.Manager] // dirs, for the controller, which is there before them
	pressed    chan struct{}                  // a disk fills

	// stops undo the steps of the start, the last one first.
	stops []stop
}

// stop undoes one step of the start.
type stop struct {
	what string
	f    func(context.Context) error
}

// step is one step of the start.
type step struct {
	what string
	run  func(context.Context) error
}

// Start builds and starts a broker. When it returns without error, the listeners serve.
// On an error everything that was started is stopped again, and what was refused (a port
// in use, a foreign log directory, a store that breaks a promise) is left as it was.
func Start(ctx context.Context, o Options) (*Node, error) {
	if o.FS == nil {
		o.FS = vfs.OS()
	}
	if o.Listen == nil {
		o.Listen = net.Listen
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	level := &slog.LevelVar{}
	o.Logger = slog.New(leveled{o.Logger.Handler(), level})
	n := &Node{o: o, config: o.Config, logger: o.Logger, logLevel: level, registry: prometheus.NewRegistry(), kafkaRegistry: prometheus.NewRegistry(), incarnation: kafka.NewUUID(), failed: make(chan error, 1), dirsFailed: make(chan struct{}, 1), pressed: make(chan struct{}, 1), logins: map[string]*security.Logins{}}
	n.metrics = newMetrics(n.registry)
	n.tokens = security.NewTokens(o.Config.DelegationTokens, func() *metadata.Image { return n.controller.Image() }, o.Now)
	n.current.Store(o.Config)
	n.background, n.cancel = context.WithCancel(context.WithoutCancel(ctx))
	steps := []step{
		{"bind the listeners", n.startListeners},
		{"prepare tracing", n.startTracing},
		{"open the object store", n.openStore},
		{"open the metadata log", n.openController},
		{"open the log directories", n.openDirs},
		{"check the object store", n.openTier},
		{"build the doors", n.buildDoors},
		{"register this process", n.register},
		{"open the partitions", n.openPartitions},
		{"serve", n.serve},
	}
	for _, s := range steps {
		if n.admin != nil {
			n.admin.doing(s.what)
		}
		if err := s.run(ctx); err != nil {
			stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			return nil, errors.Join(err, n.Stop(stopCtx))
		}
	}
	if n.admin != nil {
		n.admin.ready()
	}
	n.logger.Info("broker is up", "version", o.Version, "cluster", n.clusterID, "node", n.config.NodeID, "kafka", n.KafkaAddr(), "tier", n.config.TierURL != "")
	return n, nil
}

// undo remembers how to stop what was just started.
func (n *Node) undo(what string, f func(context.Context) error) {
	n.stops = append(n.stops, stop{what, f})
}

// Stop stops the broker: connections are drained, logs are flushed and marked clean. It goes
// on after an error, so that as much as possible ends well, and joins the errors.
func (n *Node) Stop(ctx context.Context) error {
	if n.admin != nil {
		n.admin.doing("stopping")
	}
	var errs []error
	for i := len(n.stops) - 1; i >= 0; i-- {
		if err := n.stops[i].f(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stopping: %s: %w", n.stops[i].what, err))
		}
	}
	n.cancel()
	n.stops = nil
	return errors.Join(errs...)
}

// Failed yields the error that ended the broker's ability to serve; it should then be stopped.
func (n *Node) Failed() <-chan error { return n.failed }

// fail reports the first error after which the node cannot go on.
func (n *Node) fail(err error) {
	select {
	case n.failed <- err:
	default:
	}
}

// KafkaAddr is the bound address of the first listener.
func (n *Node) KafkaAddr() string { return n.listeners[0].Accept.Addr().String() }

// Addr is the bound address of a listener, "" for an unknown name.
func (n *Node) Addr(listener string) string {
	for _, l := range n.listeners {
		if l.Name == listener {
			return l.Accept.Addr().String()
		}
	}
	return ""
}

// AdminAddr is the bound address of the admin listener, "" without one.
func (n *Node) AdminAddr() string {
	if n.admin == nil {
		return ""
	}
	return n.admin.lis.Addr().String()
}

// ClusterID is the cluster's id.
func (n *Node) ClusterID() string { return n.clusterID }

// Served counts record bytes handed to clients since the start, by layer.
type Served struct{ LocalBytes, RemoteBytes int64 }

// Served counts the record bytes that fetches were answered with, by the layer they came from.
func (n *Node) Served() Served {
	local, remote := n.replicas.Served()
	return Served{local, remote}
}

// every runs f at each interval until the node stops.
func (n *Node) every(interval time.Duration, f func(context.Context)) {
	n.wg.Go(func() {
		t := time.NewTicker(interval)
		defer t.Stop()
		for {
			select {
			case <-n.background.Done():
				return
			case <-t.C:
				f(n.background)
			}
		}
	})
}

// ms is a setting in milliseconds as a duration.
func ms(v int64) time.Duration { return time.Duration(v) * time.Millisecond }

// buildDoors makes the partitions' manager, the handlers and the server. Nothing is served
// and no partition is opened before this process is registered.
func (n *Node) buildDoors(context.Context) error {
	n.replicas = replica.New(replica.Options{
		NodeID: n.config.NodeID, Dirs: n.dirs, Tier: n.tier, Node: n.node, Now: n.o.Now, Logger: n.logger, Registerer: n.registry,
		Assign: func(ctx context.Context, topicID kafka.UUID, partition int32, dir kafka.UUID) error {
			return n.controller.AssignDir(ctx, n.config.NodeID, topicID, partition, dir)
		},
	})
	n.undo("end waiting requests", func(context.Context) error { n.replicas.Close(); return nil })
	n.groups = n.groupCoordinator()
	n.telemetry = telemetry.New(n.o.Now, n.registry)
	n.quotas = n.quotaManager()
	if n.config.Authorizer {
		n.authorizer = acl.New(acl.Options{SuperUsers: n.config.SuperUsers, AllowIfNoRule: n.config.AllowIfNoACL})
	}
	ids, markers := txn.NewProducerIDs(n.controller.AllocateProducerIDs), n.markerWriter()
	n.txns = n.txnCoordinator(ids, markers)
	h := api.New(api.Options{
		NodeID: n.config.NodeID, Cluster: n.controller, Replicas: n.replicas, Groups: n.groups, Node: n.node, Logger: n.logger,
		Tokens: n.tokens, TokenChanges: controller.NewTokens(n.controller),
		Logins:     func(listener string) *security.Logins { return n.logins[listener] },
		Authorizer: n.authorizer, Telemetry: n.telemetry, Quotas: n.quotas, LogLevel: n.logLevel, Txns: n.txns, Markers: markers, ProducerIDs: ids,
	})
	watchSessions(n.registry, h)
	watchLogins(n.registry, h)
	watchLag(n.registry, n.groups, n.replicas, n.config.GroupLagMaxSeries, n.o.Now)
	watchDenials(n.registry, h)
	c := n.node()
	connections := connectionLimit(c)
	if connections < fewConnections {
		n.logger.Warn("few files may be open, so few connections are accepted: raise the limit (ulimit -n)", "files", descriptorLimit(), "connections", connections)
	}
	var err error
	n.server, err = server.New(server.Options{
		Listeners: n.listeners, Handler: h, Overlap: h.Overlap, APIName: h.Name, Logger: n.logger, Registerer: n.registry,
		Throttle: n.quotas.Connect, Tracer: n.tracer,
		Limits: server.Limits{
			MaxRequestBytes: c.SocketRequestMaxBytes, MemoryBytes: memoryBound(c, limitMemory(n.o.FS)), Processors: processors(n.o.FS), MaxIdle: ms(c.ConnectionsMaxIdleMs),
			MaxConnections: connections, MaxConnectionsPerIP: int(c.MaxConnectionsPerIP), PerIP: c.MaxConnectionsPerIPOverrides,
			ConnectionsPerSecond: int(c.MaxConnectionCreationRate), UnauthenticatedRequestBytes: c.LoginMaxBytes, Handshakes: c.HandshakesMax,
			StallTimeout: ms(c.StallTimeoutMs), HandshakeTimeout: ms(c.HandshakeTimeoutMs), LoginTimeout: ms(c.LoginTimeoutMs),
			SendBufferBytes: int(c.SocketSendBufferBytes), ReceiveBufferBytes: int(c.SocketReceiveBufferBytes),
		},
	})
	if err == nil {
		n.watchKafkaNames()
	}
	return err
}

// quotaManager counts what clients use, over the windows of the settings.
func (n *Node) quotaManager() *quota.Manager {
	windows := func(number, seconds int64) quota.Windows {
		return quota.Windows{Number: int(number), Size: time.Duration(seconds) * time.Second}
	}
	c := n.config
	return quota.New(quota.Options{
		Data: windows(c.QuotaWindows, c.QuotaWindowSeconds), Controller: windows(c.ControllerQuotaWindows, c.ControllerQuotaWindowSeconds),
		Now: n.o.Now, Registerer: n.registry,
	})
}

// startTracing begins to trace if there is a collector to send spans to. What is left at the stop is
// sent after everything else has ended, within a second: a collector that is away holds nobody up.
func (n *Node) startTracing(context.Context) error {
	t := n.config.Tracing
	var err error
	n.tracer, err = tracing.New(tracing.Options{
		Endpoint: t.Endpoint, Ratio: t.SampleRatio, HeadersFile: t.HeadersFile, CAFile: t.CAFile, Version: n.o.Version, NodeID: n.config.NodeID,
		FS: n.o.FS, Logger: n.logger, Registerer: n.registry,
	})
	if n.tracer != nil {
		n.undo("send the last spans", func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			if err := n.tracer.Close(ctx); err != nil {
				n.logger.Warn("tracing ends", "error", err)
			}
			return nil
		})
	}
	return err
}

// fewConnections is what an operator should hear of.
const fewConnections = 1000

// serve opens the doors.
func (n *Node) serve(context.Context) error {
	n.server.Start()
	n.undo("drain the connections", n.server.Shutdown)
	// First of all, so that nobody is drained who waits for the other members of a group.
	n.undo("end the coordination of groups and transactions", func(context.Context) error {
		n.txns.Close()
		n.groups.Close()
		return nil
	})
	return nil
}

// node is the settings of the moment.
func (n *Node) node() *config.Node { return n.current.Load() }
