// Package replica keeps the partitions that this broker holds: who leads them, what of
// them is committed, and how they are written and read.
//
// It owns the partition's leader epoch, in-sync set, high watermark and last stable
// offset, the produce requests that wait for the in-sync set, the fetches that wait for
// data, the one read path over the local log and the object store, and the rule by which
// a partition that lost its disk starts behind what the store holds. It does not own
// bytes (commitlog, tiered), what should be kept (lifecycle), who leads (controller), or
// any wire format (api).
//
// All methods may be called from any goroutine. Append, Fetch and ListOffsets never wait
// for data, disks that are slow to answer, other brokers or the object store on the
// caller's goroutine: what waits is parked and continued on a bounded set of goroutines
// that exist only while there is work. An idle partition holds no goroutine, timer or file.
//
// Locks, in this order: Manager.mu, Partition.lead, Partition.mu, fetch.mu, Pending.mu.
package replica

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varve-io/varve/broker/commitlog/logdir"
	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/tiered"
)

// Limits of the work that is done away from the callers' goroutines. The remote ones are
// Kafka's remote.log.reader.threads and remote.log.reader.max.pending.tasks.
const (
	remoteReaders      = 10
	remotePendingLimit = 1000
	diskWorkers        = 4
)

// Options is what a Manager is made of. Tier may be nil: then nothing is tiered.
type Options struct {
	NodeID     int32
	Dirs       *logdir.Manager
	Tier       *tiered.Manager
	Node       func() *config.Node
	Now        func() time.Time // wall clock, for record timestamps
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Assign tells the cluster's metadata in which log dir a replica of this broker lies. May
	// be nil. Errors wrap kafka.UnknownTopicID when there is no such topic.
	Assign func(ctx context.Context, topicID kafka.UUID, partition int32, dir kafka.UUID) error
}

// Manager holds the partitions of one broker.
type Manager struct {
	nodeID  int32
	dirs    logDirs
	node    func() *config.Node
	now     func() time.Time
	logger  *slog.Logger
	metrics *metrics

	// lead and stop are the tier's, nil without one.
	lead func(tiered.Replica) RemoteLog
	stop func(topicID kafka.UUID, partition int32)

	// wakers continues parked fetches; remote does what waits for the object store; disk does
	// what administrators ask of local disks.
	wakers *pool
	remote *pool
	disk   *pool

	// movers brings logs into other log dirs.
	movers *pool
	moves  moves
	assign func(ctx context.Context, topicID kafka.UUID, partition int32, dir kafka.UUID) error

	applied bool         // Apply was called
	strays  atomic.Int64 // logs found at the start that belong to no topic

	// ctx ends with Close, and with it all work on the object store.
	ctx    context.Context
	cancel context.CancelFunc

	mu struct {
		sync.RWMutex
		byName map[string]*topic
		byID   map[kafka.UUID]*topic
	}

	// flights is the remote reads under way, and who waits for each.
	flights struct {
		sync.Mutex
		byOffset map[flight][]func()
	}
}

// topic is the partitions of a topic by index; nil where this broker holds no replica.
type topic struct {
	name       string
	id         kafka.UUID
	partitions []*Partition
}

// New makes a Manager without partitions; Apply brings them.
func New(o Options) *Manager {
	m := &Manager{
		nodeID: o.NodeID, dirs: o.Dirs, node: o.Node, now: o.Now, logger: o.Logger,
		wakers: newPool(4*runtime.GOMAXPROCS(0), 0),
		remote: newPool(remoteReaders, remotePendingLimit),
		disk:   newPool(diskWorkers, 0),
		movers: newPool(len(o.Dirs.Dirs()), 0), assign: o.Assign,
	}
	m.moves.byPartition, m.moves.told.byPartition = map[*Partition]*mover{}, map[*Partition]*mover{}
	m.moves.pace.bytesPerSecond = func() int64 { return m.node().AlterLogDirsBytesPerSecond }
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.mu.byName = map[string]*topic{}
	m.mu.byID = map[kafka.UUID]*topic{}
	m.flights.byOffset = map[flight][]func(){}
	if o.Tier != nil {
		m.lead = func(r tiered.Replica) RemoteLog { return o.Tier.Lead(r) }
		m.stop = o.Tier.Stop
	}
	m.metrics = newMetrics(m, o.Registerer)
	m.dirs.OnOffline(m.dirFailed)
	return m
}

// Close ends what waits: parked fetches and produces are answered with
// NOT_LEADER_OR_FOLLOWER, work on the object store is cancelled. Logs stay open; they are
// the log directories' to close.
func (m *Manager) Close() {
	m.cancel()
	m.closeMoves()
	for _, p := range m.all() {
		p.resign(errShutdown)
	}
	m.wakers.close()
	m.remote.close()
	m.disk.close()
}

var errShutdown = fmt.Errorf("the broker is shutting down: %w", kafka.NotLeaderOrFollower)

// Partition finds a partition by its topic's name. Errors: UnknownTopicOrPartition when
// there is none, NotLeaderOrFollower when this broker holds no replica of it.
func (m *Manager) Partition(name string, index int32) (*Partition, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.mu.byName[name].partition(index)
}

// ByID is Partition by topic id; an id that no topic has is UnknownTopicID.
func (m *Manager) ByID(id kafka.UUID, index int32) (*Partition, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	t, ok := m.mu.byID[id]
	if !ok {
		return nil, kafka.UnknownTopicID
	}
	return t.partition(index)
}

// partition is nil-safe: a nil topic has no partitions.
func (t *topic) partition(index int32) (*Partition, error) {
	if t == nil || index < 0 || int(index) >= len(t.partitions) {
		return nil, kafka.UnknownTopicOrPartition
	}
	if p := t.partitions[index]; p != nil {
		return p, nil
	}
	return nil, kafka.NotLeaderOrFollower
}

// all lists the partitions that this broker holds.
func (m *Manager) all() []*Partition {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var out []*Partition
	for _, t := range m.mu.byID {
		for _, p := range t.partitions {
			if p != nil {
				out = append(out, p)
			}
		}
	}
	return out
}

// Led walks over the partitions that this broker leads and serves.
func (m *Manager) Led() iter.Seq[*Partition] {
	return func(yield func(*Partition) bool) {
		for _, p := range m.all() {
			if p.leads() && !yield(p) {
				return
			}
		}
	}
}

// Held walks over the partitions whose logs are open here, led or not.
func (m *Manager) Held() iter.Seq[*Partition] {
	return func(yield func(*Partition) bool) {
		for _, p := range m.all() {
			if p.Log() != nil && !yield(p) {
				return
			}
		}
	}
}

// Apply brings the partitions in line with the image; d is what changed since the last
// call, at the first one everything. Calls come one at a time, in the order of the images.
// The first image must already hold this process's registration, whose leader epochs fence
// what an earlier process of this broker may have left running.
//
// A partition whose log cannot be opened is offline: it answers KafkaStorageError, and the
// joined errors say why. The others are in line with the image all the same.
func (m *Manager) Apply(img *metadata.Image, d *metadata.Delta) error {
	if !m.applied {
		m.applied = true
		m.settleStrays(img)
		defer m.resumeMoves()
	}
	var errs []error
	for _, t := range d.Deleted {
		errs = append(errs, m.remove(t.ID))
	}
	for _, t := range d.Created {
		errs = append(errs, m.reconcile(t))
	}
	for _, t := range d.Changed {
		errs = append(errs, m.reconcile(t))
	}
	return errors.Join(errs...)
}

// Reconfigure gives every partition the settings that its topic has now: those of the broker,
// from which topics take what they do not set, have changed. It is called as Apply is.
func (m *Manager) Reconfigure(img *metadata.Image) error {
	var errs []error
	for t := range img.Topics() {
		errs = append(errs, m.reconcile(t))
	}
	return errors.Join(errs...)
}

// reconcile creates the missing partitions of t and tells all of them what t says now.
func (m *Manager) reconcile(t *metadata.Topic) error {
	m.mu.Lock()
	mine, ok := m.mu.byID[t.ID]
	if !ok {
		mine = &topic{name: t.Name, id: t.ID}
		m.mu.byID[t.ID] = mine
		m.mu.byName[t.Name] = mine
	}
	parts := slices.Clone(mine.partitions)
	for len(parts) < len(t.Partitions) {
		parts = append(parts, nil)
	}
	for i := range t.Partitions {
		if parts[i] == nil && slices.Contains(t.Partitions[i].Replicas, m.nodeID) {
			parts[i] = newPartition(m, kafka.TopicPartition{Topic: t.Name, Partition: int32(i)}, t.ID)
		}
	}
	mine.partitions = parts
	m.mu.Unlock()

	cfg := m.node().Topic(t.Config)
	var errs []error
	for i, p := range parts {
		if p == nil {
			continue
		}
		if err := p.update(&t.Partitions[i], cfg); err != nil {
			errs = append(errs, fmt.Errorf("partition %s: %w", p.tp, err))
		}
	}
	return errors.Join(errs...)
}

// remove drops a topic: waiting requests are answered, logs deleted. What the object store
// holds is purged by retention, which walks over the deleted topics of the tier.
func (m *Manager) remove(id kafka.UUID) error {
	m.mu.Lock()
	t, ok := m.mu.byID[id]
	if ok {
		delete(m.mu.byID, id)
		if m.mu.byName[t.name] == t {
			delete(m.mu.byName, t.name)
		}
	}
	m.mu.Unlock()
	if !ok {
		return nil
	}
	var errs []error
	for _, p := range t.partitions {
		if p == nil {
			continue
		}
		p.resign(fmt.Errorf("topic %s was deleted: %w", t.name, kafka.UnknownTopicOrPartition))
		m.stopMove(p)
		if err := m.dirs.Delete(p.tp, p.topicID); err != nil {
			errs = append(errs, fmt.Errorf("delete the log of %s: %w", p.tp, err))
		}
	}
	return errors.Join(errs...)
}
