// Package tiered keeps the closed segments of led partitions in an object store, and
// reads them back (Kafka's remote log manager).
//
// It owns the protocol over a partition's objects: claim, upload, verify, commit,
// two-phase deletion and clean-up, all by a pure step function (machine) with a shell
// that does its I/O; the remote read path; and the cache directory. It does not decide
// what is kept (lifecycle), does not touch local files but through the log it is given
// (commitlog), and names no provider (objstore).
//
// A Manager and its Partitions may be used from any goroutine. One job runs per
// partition at a time; Run works with a fixed number of workers and none per partition.
// The newest manifest in the bucket is the truth: nothing is believed committed, and
// nothing local may go, before the bucket has proved it. Formats:
// docs/formats/manifest.md, docs/formats/vseg.md.
package tiered

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/tracing"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/tiered/cache"
	"github.com/varve-io/varve/tiered/manifest"
)

// Replica is what tiering needs of a partition that this broker leads. Its methods are
// called from several goroutines and do not block on the object store.
type Replica interface {
	TopicPartition() kafka.TopicPartition
	TopicID() kafka.UUID
	LeaderEpoch() int32
	Config() *config.Topic
	// StableEnd is min(high watermark, last stable offset, durable end): what lies below
	// it never changes. Uploads stay below it.
	StableEnd() int64
	// Log is the local log of the moment: it may move to another log directory.
	Log() *commitlog.Log
}

// Options is what a Manager is made of. Durations of 0 stand for the default, below 0 for none.
type Options struct {
	Bucket      objstore.Bucket
	ClusterID   string     // 22 characters of base64, as Kafka writes it
	Incarnation kafka.UUID // drawn at each process start
	NodeID      int32
	FS          vfs.FS
	CacheDir    string
	CacheBytes  int64
	Now         func() time.Time
	Logger      *slog.Logger
	Registerer  prometheus.Registerer
	// Urgent says of a log dir that its disk fills: closed segments are uploaded at once,
	// whatever remote.copy.lag.* says. May be nil.
	Urgent func(dir string) bool
	Events Events
	Tracer *tracing.Tracer // of the jobs; nil: none is traced

	// Interval between two looks at each partition (remote.log.manager.task.interval.ms); default 30 s.
	Interval time.Duration
	// Workers is how many partitions are worked on at once; default 4.
	Workers int
	// CopyBytesPerSecond limits uploads over all partitions; 0 = no limit.
	CopyBytesPerSecond int64
	// FetchBytesPerSecond limits what is read from the store for consumers; 0 = no limit.
	FetchBytesPerSecond int64
	// ClaimsPerSecond limits manifest claims, which come in a crowd after a start; default 50.
	ClaimsPerSecond float64
	// RequestTimeout bounds each small request to the store; default 30 s.
	RequestTimeout time.Duration
	// UploadTimeout bounds one upload of a segment; default 15 min.
	UploadTimeout time.Duration
	// KeepManifests is how many of the newest manifest versions clean-up leaves, at least 2; default 8.
	KeepManifests int
	// ManifestWindow is the age below which no manifest version is removed; default 1 h.
	ManifestWindow time.Duration
	// CleanInterval is the time between two clean-ups of a partition; default 10 min.
	CleanInterval time.Duration
	// OrphanGrace is the age below which no unreferenced object is removed; default 1 h.
	OrphanGrace time.Duration
	// DivergedGrace is how long objects cut off by a truncation are kept; default 7 days.
	DivergedGrace time.Duration
	// ChunkBytes is the unit of the cache, a multiple of manifest.BlockBytes; default 4 MiB.
	ChunkBytes int64
}

// orDefault is d, or def for 0, or 0 for less.
func orDefault(d, def time.Duration) time.Duration {
	switch {
	case d == 0:
		return def
	case d < 0:
		return 0
	}
	return d
}

// setDefaults completes the options.
func (o *Options) setDefaults() error {
	if o.Bucket == nil || o.FS == nil || o.Now == nil || o.Logger == nil || o.Registerer == nil || o.CacheDir == "" || o.Incarnation.IsZero() {
		return errors.New("BUG: tiered.Options without Bucket, FS, CacheDir, Incarnation, Now, Logger or Registerer")
	}
	o.Interval = orDefault(o.Interval, 30*time.Second)
	o.RequestTimeout = orDefault(o.RequestTimeout, 30*time.Second)
	o.UploadTimeout = orDefault(o.UploadTimeout, 15*time.Minute)
	o.ManifestWindow = orDefault(o.ManifestWindow, time.Hour)
	o.CleanInterval = orDefault(o.CleanInterval, 10*time.Minute)
	o.OrphanGrace = orDefault(o.OrphanGrace, time.Hour)
	o.DivergedGrace = orDefault(o.DivergedGrace, 7*24*time.Hour)
	if o.Workers <= 0 {
		o.Workers = 4
	}
	if o.KeepManifests < 2 {
		o.KeepManifests = 8
	}
	if o.ClaimsPerSecond <= 0 {
		o.ClaimsPerSecond = 50
	}
	if o.ChunkBytes <= 0 {
		o.ChunkBytes = 4 << 20
	}
	if o.ChunkBytes%manifest.BlockBytes != 0 {
		return fmt.Errorf("BUG: tiered.Options.ChunkBytes %d is no multiple of %d", o.ChunkBytes, manifest.BlockBytes)
	}
	return nil
}

// Events are called as things happen; each may be nil. They are called on the worker's
// goroutine with the partition's job in hand and must not call back into it.
type Events struct {
	Uploaded func(tp kafka.TopicPartition, s manifest.Segment)           // after its commit
	Deleted  func(tp kafka.TopicPartition, objects int)                  // from the bucket
	Fenced   func(tp kafka.TopicPartition, err error)                    // once per partition and epoch
	Failed   func(tp kafka.TopicPartition, job string, err error)        // will be tried again
	Diverged func(tp kafka.TopicPartition, local, remote int64, e error) // uploads stop
}

// Manager is the remote log manager of one broker.
type Manager struct {
	o       Options
	cluster kafka.UUID
	cache   *cache.Cache
	footers *footers
	metrics *metrics
	claims  *pacer
	copies  *pacer
	fetches *pacer
	wake    chan struct{} // has room for one: Run looks at mu.woken

	mu struct {
		sync.Mutex
		partitions map[partitionKey]*Partition
		woken      []*Partition
		retired    []*Partition // stopped, with a job that has not ended
	}
}

// partitionKey names a partition within the cluster.
type partitionKey struct {
	topic     kafka.UUID
	partition int32
}

// New opens the cache and prepares a Manager; it asks nothing of the bucket (Canary does).
func New(o Options) (*Manager, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	cluster, err := kafka.ParseUUID(o.ClusterID)
	if err != nil {
		return nil, fmt.Errorf("cluster id: %w", err)
	}
	c, err := cache.Open(cache.Options{FS: o.FS, Dir: o.CacheDir, MaxBytes: o.CacheBytes, FillTimeout: 2 * o.RequestTimeout, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	m := &Manager{o: o, cluster: cluster, cache: c, footers: newFooters(footerCacheBytes), wake: make(chan struct{}, 1),
		claims: newPacer(o.ClaimsPerSecond), copies: newPacer(float64(o.CopyBytesPerSecond)), fetches: newPacer(float64(o.FetchBytesPerSecond))}
	m.mu.partitions = map[partitionKey]*Partition{}
	if m.metrics, err = newMetrics(m, o.Registerer); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return m, nil
}

// Close gives the cache directory up. Run has ended before.
func (m *Manager) Close() error { return m.cache.Close() }

// Lead begins the leader's work on r's partition in r's leader epoch. Called again in the
// same epoch it answers the same Partition; in a newer one the old Partition is stopped.
func (m *Manager) Lead(r Replica) *Partition {
	key := partitionKey{r.TopicID(), r.TopicPartition().Partition}
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.mu.partitions[key]; p != nil {
		if p.epoch == r.LeaderEpoch() {
			return p
		}
		m.retireLocked(p)
	}
	p := newPartition(m, r)
	m.mu.partitions[key] = p
	return p
}

// Stop ends the leader's work on a partition. A request under way is cancelled, not waited for.
func (m *Manager) Stop(topicID kafka.UUID, partition int32) {
	key := partitionKey{topicID, partition}
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.mu.partitions[key]; p != nil {
		m.retireLocked(p)
		delete(m.mu.partitions, key)
	}
}

// retireLocked cancels p and remembers it while its last job runs: a purge waits for that.
func (m *Manager) retireLocked(p *Partition) {
	p.cancel()
	m.mu.retired = slices.DeleteFunc(append(m.mu.retired, p), (*Partition).idle)
}

// idle says that no job runs. One that is cancelled as well never runs a job again.
func (p *Partition) idle() bool {
	select {
	case p.token <- struct{}{}:
		<-p.token
		return true
	default:
		return false
	}
}

// drain waits for the last jobs of a topic's partitions that were stopped.
func (m *Manager) drain(ctx context.Context, topicID kafka.UUID) error {
	m.mu.Lock()
	list := slices.Clone(m.mu.retired)
	m.mu.Unlock()
	for _, p := range list {
		if p.id.TopicID != topicID {
			continue
		}
		select {
		case p.token <- struct{}{}:
			<-p.token
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Partitions are those that this broker leads, in no order.
func (m *Manager) Partitions() iter.Seq[*Partition] {
	m.mu.Lock()
	list := make([]*Partition, 0, len(m.mu.partitions))
	for _, p := range m.mu.partitions {
		list = append(list, p)
	}
	m.mu.Unlock()
	return slices.Values(list)
}

// request is a context for one small request to the store.
func (m *Manager) request(ctx context.Context) (context.Context, context.CancelFunc) {
	if m.o.RequestTimeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, m.o.RequestTimeout)
}

// SetRates changes CopyBytesPerSecond and FetchBytesPerSecond.
func (m *Manager) SetRates(copyBytes, fetchBytes int64) {
	m.copies.set(float64(copyBytes))
	m.fetches.set(float64(fetchBytes))
}

// pacer spreads things over time: perSecond of them, waiting one behind the other.
type pacer struct {
	mu struct {
		sync.Mutex
		perSecond float64 // 0 = no limit
		next      time.Time
	}
}

func newPacer(perSecond float64) *pacer {
	p := &pacer{}
	p.set(perSecond)
	return p
}

// set changes the rate for what has not begun to wait.
func (p *pacer) set(perSecond float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.perSecond = perSecond
}

// wait returns when n more may pass.
func (p *pacer) wait(ctx context.Context, n float64) error {
	p.mu.Lock()
	if p.mu.perSecond <= 0 {
		p.mu.Unlock()
		return ctx.Err()
	}
	now := time.Now()
	if p.mu.next.Before(now) {
		p.mu.next = now
	}
	d := p.mu.next.Sub(now)
	p.mu.next = p.mu.next.Add(time.Duration(n / p.mu.perSecond * float64(time.Second)))
	p.mu.Unlock()
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
