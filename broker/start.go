package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/commitlog/logdir"
	"github.com/varve-io/varve/broker/commitlog/wal"
	"github.com/varve-io/varve/broker/controller"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/replica"
	"github.com/varve-io/varve/broker/security"
	"github.com/varve-io/varve/lifecycle"
	"github.com/varve-io/varve/objstore/check"
	"github.com/varve-io/varve/objstore/metered"
	"github.com/varve-io/varve/tiered"
)

// startListeners binds every port before anything on disk is touched: a second broker on
// the same ports changes nothing.
func (n *Node) startListeners(context.Context) error {
	var err error
	if n.listeners, err = bindAll(n.o.Listen, n.config, n.secure); err != nil {
		return err
	}
	n.undo("close the listeners", func(context.Context) error {
		if n.server == nil { // else it has closed them
			closeListeners(n.listeners)
		}
		return nil
	})
	n.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if n.config.AdminListen == "" {
		return nil
	}
	lis, err := bind(n.o.Listen, "admin listener", n.config.AdminListen)
	if err != nil {
		return err
	}
	var users *adminUsers
	if n.config.AdminUsersFile != "" {
		if users, err = newAdminUsers(n.o.FS, n.config.AdminUsersFile, n.o.Now, n.logger); err != nil {
			return errors.Join(err, lis.Close())
		}
	}
	lis = newBoundedListener(lis, adminConnections)
	if n.config.AdminSecurity != nil {
		t, err := security.NewTLS(n.o.FS, n.config.AdminSecurity, n.o.Now, n.logger, n.metrics.certificates.Inc)
		if err != nil {
			return errors.Join(fmt.Errorf("admin listener: %w", err), lis.Close())
		}
		lis = tls.NewListener(lis, t.Config())
	}
	n.admin = newAdmin(lis, n.registry, n.kafkaRegistry, users, n.logLevel, n.logger)
	go n.admin.serve()
	n.undo("admin listener", n.admin.stop)
	return nil
}

func (n *Node) openStore(ctx context.Context) error {
	if n.config.TierURL == "" {
		return nil
	}
	if n.o.OpenStore == nil {
		return errors.New("BUG: a tier URL without an opener")
	}
	bucket, err := n.o.OpenStore(ctx, n.config.TierURL)
	if err != nil {
		return fmt.Errorf("varve.tier.url: %w", err)
	}
	n.undo("close the object store", func(context.Context) error { return bucket.Close() })
	scheme, _, _ := strings.Cut(n.config.TierURL, "://")
	counted, err := metered.Wrap(bucket, scheme, n.registry)
	if err != nil {
		return err
	}
	n.bucket = n.tracer.Bucket(counted, scheme)
	return nil
}

// openController opens the metadata log. Log directories that belong to a cluster whose
// metadata is not there are refused: new metadata would know none of their topics.
func (n *Node) openController(ctx context.Context) error {
	c := n.config
	cluster, err := logdir.ClusterOf(n.o.FS, c.LogDirs, n.ownDirs())
	if err != nil {
		return err
	}
	if cluster != "" && c.ClusterID != "" && c.ClusterID != cluster {
		return fmt.Errorf("the log directories %s belong to cluster %s, varve.cluster.id says %s: name other directories, or remove the setting",
			strings.Join(c.LogDirs, ", "), cluster, c.ClusterID)
	}
	if cluster != "" && !controller.Exists(n.o.FS, c.MetadataDir) {
		return fmt.Errorf("the log directories %s hold data of cluster %s, but the metadata directory %s is empty: set varve.metadata.dir to where that cluster's metadata is, or name empty log directories",
			strings.Join(c.LogDirs, ", "), cluster, c.MetadataDir)
	}
	foreign := ""
	if cluster != "" {
		foreign = fmt.Sprintf("the log directories %s are of cluster %s: ", strings.Join(c.LogDirs, ", "), cluster)
	} else {
		cluster = c.ClusterID
	}
	n.controller, err = controller.Open(controller.Options{
		FS: n.o.FS, Dir: c.MetadataDir, NodeID: c.NodeID, ClusterID: cluster, Settings: n.node,
		ValidateConfig: func(settings map[string]string) error { return n.node().ValidateTopic(settings) },
		Defaults:       func() (int32, int16) { return n.config.NumPartitions, n.config.DefaultReplicationFactor }, Logger: n.logger,
		Dirs: n.dirState,
	})
	if errors.Is(err, kafka.InconsistentClusterID) {
		return fmt.Errorf("%s%w", foreign, err)
	}
	if err != nil {
		return err
	}
	n.undo("close the metadata log", func(context.Context) error { return n.controller.Close() })
	if err := n.controller.WaitLeader(ctx); err != nil {
		return fmt.Errorf("metadata log: %w", err)
	}
	img := n.controller.Image()
	n.clusterID = img.ClusterID()
	n.reconfigured(img, slices.Collect(img.ConfigResources()))
	if err := n.firstUsers(ctx); err != nil {
		return err
	}
	n.wg.Go(func() {
		select {
		case <-n.controller.Failed():
			n.fail(fmt.Errorf("metadata log: %w", n.controller.Err()))
		case <-n.background.Done():
		}
	})
	n.undoLoops()
	return nil
}

// undoLoops ends the background loops here in the order of the stop. It is called for every
// room that loops work on, before which they must have ended; ending them twice is no matter.
func (n *Node) undoLoops() {
	n.undo("end the background loops", func(context.Context) error { n.cancel(); n.wg.Wait(); return nil })
}

// logConfigs answers the settings of logs found at start. A topic's are worked out once, and
// those of topics without settings of their own once for all.
func (n *Node) logConfigs(img *metadata.Image) func(kafka.TopicPartition, kafka.UUID) commitlog.Config {
	usual := replica.LogConfig(n.node().Topic(nil))
	var last kafka.UUID
	var lastConfig commitlog.Config
	return func(_ kafka.TopicPartition, id kafka.UUID) commitlog.Config {
		t := img.TopicByID(id)
		if t == nil || len(t.Config) == 0 {
			return usual
		}
		if id != last { // partitions of a topic follow each other
			last, lastConfig = id, replica.LogConfig(n.node().Topic(t.Config))
		}
		return lastConfig
	}
}

// knownDirs are the log directories that the metadata has for a node: those it had online
// when it last said so, and those that its partitions lie in.
func knownDirs(img *metadata.Image, node int32) []kafka.UUID {
	var ids []kafka.UUID
	if b := img.Broker(node); b != nil {
		ids = slices.Clone(b.LogDirs)
	}
	for t := range img.Topics() {
		for i := range t.Partitions {
			p := &t.Partitions[i]
			k := slices.Index(p.Replicas, node)
			if k >= 0 && k < len(p.Dirs) && !p.Dirs[k].IsZero() && !slices.Contains(ids, p.Dirs[k]) {
				ids = append(ids, p.Dirs[k])
			}
		}
	}
	return ids
}

// dirState is what placement wants to know of a log directory of this node.
func (n *Node) dirState(id kafka.UUID) (controller.DirState, bool) {
	dirs := n.placing.Load()
	if dirs == nil {
		return controller.DirState{}, false
	}
	for _, d := range dirs.Dirs() {
		if d.ID == id {
			u, err := dirs.Usage(d.Path)
			return controller.DirState{FreeBytes: u.Free, Cordoned: d.Cordoned}, err == nil
		}
	}
	return controller.DirState{}, false
}

// ownDirs are the directories beside the logs, which may lie in the first log directory.
func (n *Node) ownDirs() []string {
	return []string{filepath.Clean(n.config.MetadataDir), filepath.Clean(n.config.TierCacheDir)}
}

func (n *Node) openDirs(context.Context) error {
	img := n.controller.Image()
	logFiles, _ := shareDescriptors(descriptorLimit())
	stats := new(commitlog.Stats)
	progress := &logdir.Progress{Stats: stats}
	if n.admin != nil {
		n.admin.watch(progress.String)
		defer n.admin.watch(nil)
	}
	watchRecovery(n.registry, stats)
	o := logdir.Options{
		FS: n.o.FS, Dirs: n.config.LogDirs, ClusterID: n.clusterID, NodeID: n.config.NodeID, Own: n.ownDirs(), Lost: n.config.LostLogDirs,
		Config: n.logConfigs(img), Stats: stats, Progress: progress, WALBytes: n.config.WALBytes, WALMetrics: wal.NewMetrics(n.registry),
		Now: n.o.Now, Logger: n.logger, ProducerIDExpirationMs: n.node().ProducerIDExpirationMs, OpenFiles: logFiles,
		Cordoned: func() []string { return n.node().CordonedLogDirs },
		Offline: func(logdir.DirInfo) {
			select {
			case n.dirsFailed <- struct{}{}:
			default: // it is looked at already
			}
		},
		Marks: commitlog.Watermarks{EvictPercent: n.config.DiskEvictPercent, ThrottlePercent: n.config.DiskThrottlePercent, RefusePercent: n.config.DiskRefusePercent},
		Pressed: func() {
			select {
			case n.pressed <- struct{}{}:
			default:
			}
		},
	}
	o.Named = func(tp kafka.TopicPartition, id kafka.UUID) bool {
		t := img.TopicByID(id)
		return t != nil && t.Name == tp.Topic
	}
	o.KnownDirs = knownDirs(img, n.config.NodeID)
	dirs, err := logdir.Open(o)
	if err != nil {
		return err
	}
	n.dirs = dirs
	n.placing.Store(dirs)
	watchDirs(n.registry, n.dirs)
	n.undo("close the log directories", func(context.Context) error { return n.dirs.Close() })
	n.undoLoops()
	spare := spareMemory{read: heapFigures, free: debug.FreeOSMemory}
	n.every(spareMemoryInterval, func(context.Context) { spare.look() })
	n.every(ms(n.config.LogFlushOffsetCheckpointIntervalMs), func(context.Context) {
		if err := n.dirs.Checkpoint(); err != nil {
			n.metrics.checkpoint.Inc()
			n.logger.Error("checkpoint of the log directories failed; a start would scan what lies past the last one", "error", err)
		}
	})
	return nil
}

func (n *Node) openTier(ctx context.Context) error {
	if n.bucket == nil {
		return nil
	}
	c := n.node()
	o := tiered.Options{
		Bucket: n.bucket, ClusterID: n.clusterID, Incarnation: n.incarnation, NodeID: c.NodeID, FS: n.o.FS,
		CacheDir: c.TierCacheDir, CacheBytes: c.TierCacheBytes, Now: n.o.Now, Logger: n.logger, Registerer: n.registry, Tracer: n.tracer,
		Interval: ms(c.RemoteLogManagerTaskIntervalMs), CopyBytesPerSecond: c.RemoteCopyMaxBytesPerSecond, FetchBytesPerSecond: c.RemoteFetchMaxBytesPerSecond,
		Urgent:        func(dir string) bool { return n.dirs.Room(dir).Pressure() != commitlog.Calm },
		CleanInterval: ms(c.TierCleanIntervalMs), ManifestWindow: atOnce(c.TierManifestRetentionMs), OrphanGrace: atOnce(c.TierOrphanGraceMs),
	}
	if n.o.TuneTier != nil {
		n.o.TuneTier(&o)
	}
	var err error
	if n.tier, err = tiered.New(o); err != nil {
		return err
	}
	n.undo("close the chunk cache", func(context.Context) error { return n.tier.Close() })
	n.undoLoops()
	return n.canary(ctx)
}

// atOnce is a time in milliseconds where 0 means none at all; the tier takes 0 for its default.
func atOnce(v int64) time.Duration {
	if v == 0 {
		return -1
	}
	return ms(v)
}

// canary refuses a store that breaks the promise of create-only writes. One that cannot be
// reached is no reason not to serve what is local: uploads wait and say so.
func (n *Node) canary(ctx context.Context) error {
	err := n.tier.Canary(ctx)
	if errors.Is(err, tiered.ErrNoFence) {
		return fmt.Errorf("varve.tier.url: %w; take another store, or a newer version of it: 'varve store check URL' shows what it can do", err)
	}
	if err != nil {
		n.logger.Error("the object store can't be used now; local data is served, uploads wait", "error", err, "next_step", check.Advice(err))
	}
	return nil
}

// register announces this process: nothing serves or tiers before its leader epochs fence
// what an earlier process of this node may have left running.
func (n *Node) register(ctx context.Context) error {
	r := controller.Registration{ID: n.config.NodeID, Incarnation: n.incarnation, Rack: n.config.Rack, LogDirs: n.dirs.DirectoryIDs()}
	for _, e := range n.server.Endpoints() {
		if e.Host == "" {
			e.Host = hostname()
		}
		r.Endpoints = append(r.Endpoints, metadata.Endpoint{Name: e.Name, Host: e.Host, Port: e.Port, Protocol: e.Protocol})
	}
	if _, err := n.controller.RegisterBroker(ctx, r); err != nil {
		return err
	}
	n.wg.Go(func() { n.watchFailures(r) })
	return nil
}

// registerRetry is the time between two tries to tell the cluster of a lost directory.
const registerRetry = 5 * time.Second

// watchFailures tells the cluster's metadata of log directories that go offline, so that
// clients learn which replicas are. Without any directory the node stops, as Kafka's does.
func (n *Node) watchFailures(r controller.Registration) {
	for {
		select {
		case <-n.background.Done():
			return
		case <-n.dirsFailed:
		}
		online := n.dirs.DirectoryIDs()
		if len(online) == 0 {
			var errs []error
			for _, d := range n.dirs.Dirs() {
				errs = append(errs, fmt.Errorf("%s: %w", d.Path, d.Offline))
			}
			n.fail(fmt.Errorf("all log directories have failed, the broker stops; repair the disks and start it again: %w", errors.Join(errs...)))
			return
		}
		if slices.Equal(online, r.LogDirs) {
			continue
		}
		r.LogDirs = online
		if _, err := n.controller.RegisterBroker(n.background, r); err != nil {
			n.logger.Error("the cluster's metadata does not know yet that a log directory is offline; it is told again", "error", err)
			r.LogDirs = nil
			time.AfterFunc(registerRetry, func() {
				select {
				case n.dirsFailed <- struct{}{}:
				default:
				}
			})
		}
	}
}

func (n *Node) openPartitions(context.Context) error {
	if n.tier != nil {
		n.topics = newTopicObjects(n)
		n.wg.Go(func() { n.tier.Run(n.background) })
		n.wg.Go(func() { n.topics.run(n.background) })
	}
	// Watch calls back with the image of the moment first, everything in it being new, then
	// with each change.
	n.controller.Watch(func(img *metadata.Image, d *metadata.Delta) {
		// The settings first: what is created or changed beside them takes them over.
		changed := n.reconfigured(img, d.Configs)
		if err := n.replicas.Apply(img, d); err != nil {
			n.logger.Error("some partitions are offline", "error", err)
		}
		if changed {
			n.reconfigure(img)
		}
		n.groups.Apply(img, d)
		n.telemetry.Apply(img, d)
		if d.ACLs && n.authorizer != nil {
			n.authorizer.Apply(img)
		}
		if d.Quotas {
			n.quotas.Apply(img)
		}
		n.txns.Apply(img)
		if n.topics != nil {
			n.topics.apply(img, d)
		}
	})
	n.wg.Go(n.relieve)
	if n.tokens.Enabled() {
		n.wg.Go(n.sweepTokens)
	}
	if n.config.CleanerEnable {
		n.wg.Go(func() { n.cleaner().Run(n.background) })
	}
	// What is only local has a loop of its own: a partition of a tiered topic may wait for
	// the object store, and the disks must not fill up meanwhile.
	n.retain(func(p lifecycle.Partition) bool { return p.Policy().Tiered })
	n.retain(func(p lifecycle.Partition) bool { return !p.Policy().Tiered })
	return nil
}

// How often the disks are looked at, while there is room and while there is not. Appends look
// by themselves, every few MiB; this finds what others write, and what has become free.
const (
	calmInterval     = 2 * time.Second
	pressureInterval = 200 * time.Millisecond
)

// relieve frees room on disks that fill, until the node stops.
func (n *Node) relieve() {
	timer := time.NewTimer(calmInterval)
	defer timer.Stop()
	failing := false
	var reclaimed time.Time
	for {
		select {
		case <-n.background.Done():
			return
		case <-timer.C:
		case <-n.pressed:
		}
		next := calmInterval
		pressed, err := n.replicas.Relieve(n.background)
		if pressed {
			next = pressureInterval
		}
		if pressed && time.Since(reclaimed) >= calmInterval { // what retention has dropped waits for a checkpoint
			reclaimed = time.Now()
			err = errors.Join(err, n.dirs.Checkpoint())
		}
		timer.Reset(next)
		if err != nil && n.background.Err() == nil {
			n.metrics.relief.Inc()
			if !failing { // once, and not five times in a second
				n.logger.Warn("a disk under pressure was not relieved; it is tried again", "error", err)
			}
		}
		failing = err != nil
	}
}

// retain applies retention, again and again, to the partitions that are chosen.
func (n *Node) retain(chosen func(lifecycle.Partition) bool) {
	engine := lifecycle.NewEngine(func() iter.Seq[lifecycle.Partition] {
		return func(yield func(lifecycle.Partition) bool) {
			for p := range n.replicas.Retained() {
				if chosen(p) && !yield(p) {
					return
				}
			}
		}
	}, nil, n.logger)
	n.every(ms(n.config.LogRetentionCheckIntervalMs), func(ctx context.Context) {
		if err := engine.Tick(ctx, n.o.Now().UnixMilli()); err != nil && ctx.Err() == nil {
			n.metrics.retention.Inc()
			n.logger.Warn("retention was not complete; it is tried again", "error", err)
		}
	})
}
