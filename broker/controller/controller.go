// Package controller decides what the cluster's metadata is: it runs the metadata log
// (hashicorp/raft), applies it to the image, and is where topics, brokers, settings and
// producer ids are changed.
//
// It owns the raft node, its files (store.go) and the choices a change needs: ids, times and
// placements are made by whoever proposes, so that applying an entry is deterministic. What
// an image or a record is belongs to broker/metadata; who acts on a change belongs to the
// watchers. A Controller may be used from any goroutine.
// Formats: docs/formats/metadata-records.md, docs/formats/metadata-snapshot.md.
package controller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/vfs"
)

// DefaultSnapshotEntries is how many log entries lie between two snapshots where Options says nothing.
const DefaultSnapshotEntries = 8192

// The keys under which the stable store names the owner of its directory.
var (
	keyClusterID = []byte("varve.cluster.id")
	keyNodeID    = []byte("varve.node.id")
)

// Options is what Open needs.
type Options struct {
	FS     vfs.FS // with Dir, where the log and the snapshots are; not used when Store is given
	Dir    string
	NodeID int32
	// ClusterID is the cluster that the directory must belong to. Empty takes the one that is
	// there, or draws one at the first start.
	ClusterID string

	// ValidateConfig checks a topic's settings; nil accepts all. Its errors are INVALID_CONFIG.
	ValidateConfig func(map[string]string) error
	// Settings are this node's of the moment, which dynamic settings are judged with; nil is a
	// node without any.
	Settings func() *config.Node
	// Defaults are the counts that -1 stands for in CreateTopics; nil is one partition, one replica.
	Defaults func() (partitions int32, replicationFactor int16)

	Transport raft.Transport // nil: this node is the only one
	Store     Store          // nil: files in Dir
	// SnapshotEntries is how many log entries lie between two snapshots; 0 is DefaultSnapshotEntries.
	SnapshotEntries int
	Logger          *slog.Logger // nil discards
}

// Controller is this node's part in the metadata log.
type Controller struct {
	opts   Options
	log    *slog.Logger
	raft   *raft.Raft
	store  Store
	fsm    *fsm
	lock   io.Closer
	closed chan struct{}
	// stopped is closed when raft has shut down and will answer nothing any more.
	stopped chan struct{}
	wg      sync.WaitGroup

	// propose is held from reading the image that a change is decided on to the change's end:
	// changes of this node never contradict each other.
	propose sync.Mutex

	mu struct {
		sync.Mutex
		ready   bool // leads, and the image has caught up
		changed chan struct{}
		closing bool
		stopped bool
	}
}

// Open starts the node. It returns before there is a leader; see WaitLeader. A directory of
// another cluster or node, or in use by another process, is refused and left as it is.
func Open(o Options) (*Controller, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.SnapshotEntries <= 0 {
		o.SnapshotEntries = DefaultSnapshotEntries
	}
	if o.ValidateConfig == nil {
		o.ValidateConfig = func(map[string]string) error { return nil }
	}
	if o.Defaults == nil {
		o.Defaults = func() (int32, int16) { return 1, 1 }
	}
	if o.Settings == nil {
		node, _, err := config.Load(config.Sources{})
		if err != nil {
			return nil, fmt.Errorf("BUG: the defaults are refused: %w", err)
		}
		o.Settings = func() *config.Node { return node }
	}
	c := &Controller{opts: o, log: o.Logger, closed: make(chan struct{}), stopped: make(chan struct{}), store: o.Store}
	c.mu.changed = make(chan struct{})
	c.fsm = newFSM(o.SnapshotEntries)
	if err := c.openStore(); err != nil {
		return nil, err
	}
	if err := c.start(); err != nil {
		return nil, errors.Join(err, c.closeStore())
	}
	return c, nil
}

func (c *Controller) openStore() error {
	if c.store != nil {
		return nil
	}
	lock, err := lockDir(c.opts.FS, c.opts.Dir)
	if err != nil {
		return err
	}
	c.lock = lock
	c.store, err = OpenStore(c.opts.FS, c.opts.Dir, c.log)
	if err != nil {
		return errors.Join(fmt.Errorf("metadata directory %s: %w", c.opts.Dir, err), c.closeStore())
	}
	return nil
}

func (c *Controller) closeStore() error {
	var errs []error
	if c.store != nil {
		errs = append(errs, c.store.Close())
	}
	if c.lock != nil {
		errs = append(errs, c.lock.Close())
	}
	return errors.Join(errs...)
}

func (c *Controller) start() error {
	if err := c.checkOwner(); err != nil {
		return err
	}
	id := serverID(c.opts.NodeID)
	conf := raft.DefaultConfig()
	transport := c.opts.Transport
	if transport == nil {
		// Nobody can be missing: these only say how often an idle leader wakes up to see that.
		conf.HeartbeatTimeout, conf.ElectionTimeout, conf.LeaderLeaseTimeout = 10*time.Second, 10*time.Second, 10*time.Second
		addr, local := raft.NewInmemTransport(raft.ServerAddress(id))
		local.Connect(addr, local) // for startAlone
		transport = local
	}
	if err := bootstrap(c.store, id, transport.LocalAddr()); err != nil {
		return fmt.Errorf("first start of the metadata log: %w", err)
	}
	conf.LocalID = id
	conf.Logger = newLogger(c.log)
	conf.SnapshotInterval = 24 * time.Hour // snapshots are taken by count, see run
	conf.SnapshotThreshold = 1 << 62
	conf.TrailingLogs = uint64(c.opts.SnapshotEntries)
	logs := &failStop{LogStore: c.store.Logs(), fail: c.fsm.fail}
	r, err := raft.NewRaft(conf, c.fsm, logs, c.store.Stable(), c.store.Snapshots(), transport)
	if err != nil {
		return fmt.Errorf("start the metadata log: %w", errors.Join(c.fsm.err(), err))
	}
	c.raft = r
	c.wg.Go(c.run)
	c.startAlone(transport)
	return nil
}

// checkOwner refuses a directory that belongs to another cluster or node; a new one is
// given its owner before anything else is written to it.
func (c *Controller) checkOwner() error {
	stable := c.store.Stable()
	node, cluster := strconv.Itoa(int(c.opts.NodeID)), c.opts.ClusterID
	was, err := getString(stable, keyNodeID)
	if err != nil {
		return err
	}
	if was != "" && was != node {
		return fmt.Errorf("the metadata directory %s belongs to node %s, this is node %s: set node.id=%s, or name another metadata directory", c.opts.Dir, was, node, was)
	}
	of, err := getString(stable, keyClusterID)
	if err != nil {
		return err
	}
	if of != "" && cluster != "" && of != cluster {
		return fmt.Errorf("the metadata directory %s belongs to cluster %s, not to %s: name another metadata directory: %w", c.opts.Dir, of, cluster, kafka.InconsistentClusterID)
	}
	if of == "" {
		if cluster == "" {
			cluster = kafka.NewUUID().String()
		}
		if err := stable.Set(keyClusterID, []byte(cluster)); err != nil {
			return err
		}
	}
	if was == "" {
		return stable.Set(keyNodeID, []byte(node))
	}
	return nil
}

func getString(s raft.StableStore, key []byte) (string, error) {
	b, err := s.Get(key)
	if err != nil && err.Error() != "not found" { // how raft's in-memory store says it
		return "", err
	}
	return string(b), nil
}

// startAlone makes the only voter a candidate at once. Left to itself it would first wait a
// heartbeat timeout for a leader that cannot be there. When it does not work, that is what happens.
func (c *Controller) startAlone(t raft.Transport) {
	f := c.raft.GetConfiguration()
	if f.Error() != nil {
		return
	}
	servers := f.Configuration().Servers
	if len(servers) != 1 || servers[0].ID != serverID(c.opts.NodeID) {
		return
	}
	req := raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{
		ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(servers[0].ID), Addr: t.EncodePeer(servers[0].ID, servers[0].Address),
	}}
	if err := t.TimeoutNow(servers[0].ID, t.LocalAddr(), &req, &raft.TimeoutNowResponse{}); err != nil {
		c.log.Debug("the only voter waits for its election", "error", err)
	}
}

// run follows leadership and takes snapshots, until Close.
func (c *Controller) run() {
	for {
		select {
		case <-c.closed:
			return
		case leads := <-c.raft.LeaderCh():
			if leads {
				c.lead()
			} else {
				c.setReady(false)
			}
		case <-c.fsm.failed:
			c.log.Error("the metadata log is stopped", "error", c.fsm.err())
			c.setReady(false)
			c.shutdown() // raft would go on trying to lead
			return
		case <-c.fsm.snapshotDue:
			if err := c.await(c.raft.Snapshot()); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) && !errors.Is(err, raft.ErrRaftShutdown) {
				c.log.Warn("metadata snapshot failed; it is tried again after more entries", "error", err)
			}
		}
	}
}

// lead catches up with the log, gives a new cluster its first records, and opens for changes.
func (c *Controller) lead() {
	if err := c.await(c.raft.Barrier(0)); err != nil {
		c.log.Debug("leadership was lost before the log was read", "error", err)
		return
	}
	if c.fsm.err() != nil {
		return // run sees it next
	}
	cluster, err := getString(c.store.Stable(), keyClusterID)
	if err != nil {
		c.fsm.fail(fmt.Errorf("read the cluster id: %w", err))
		return
	}
	if c.Image().ClusterID() == "" {
		first := []metadata.Record{
			metadata.FeatureRecord{Name: metadata.FormatFeature, Level: metadata.FormatLevel},
			metadata.ClusterRecord{ClusterID: cluster},
		}
		if _, err := c.write(first, metadata.FormatLevel); err != nil {
			c.log.Warn("the first metadata records were not written", "error", err)
			return
		}
	}
	if got := c.Image().ClusterID(); got != cluster {
		c.fsm.fail(fmt.Errorf("the metadata log is that of cluster %s, its directory belongs to %s: %w", got, cluster, kafka.InconsistentClusterID))
		return
	}
	c.setReady(true)
}

func (c *Controller) setReady(ready bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.ready != ready {
		c.mu.ready = ready
		close(c.mu.changed)
		c.mu.changed = make(chan struct{})
	}
}

// WaitLeader waits until there is a leader and this node's image has caught up with the log.
// It fails when ctx ends, when the controller is closed, and when the log cannot be read.
func (c *Controller) WaitLeader(ctx context.Context) error {
	for {
		c.mu.Lock()
		ready, closing, changed := c.mu.ready, c.mu.closing, c.mu.changed
		c.mu.Unlock()
		switch {
		case closing:
			return errClosed
		case ready:
			return nil
		}
		select {
		case <-changed:
		case <-c.fsm.failed:
			return c.fsm.err()
		case <-c.closed:
			return errClosed
		case <-ctx.Done():
			return fmt.Errorf("waiting for a leader of the metadata log: %w", ctx.Err())
		}
	}
}

var errClosed = fmt.Errorf("the controller is closed: %w", kafka.NotController)

// Failed is closed when the node must stop: the log holds what this program cannot read, or
// it can no longer be written. Err says which.
func (c *Controller) Failed() <-chan struct{} { return c.fsm.failed }

// Err is why Failed was closed; nil before.
func (c *Controller) Err() error { return c.fsm.err() }

// Image is the newest image that this node knows. It never changes, and is never nil.
func (c *Controller) Image() *metadata.Image { return c.fsm.image.Load() }

// Watch calls f with the image as it is, everything in it being Created, and from then on
// after each change, in order and one at a time. A change that this node proposes returns
// only after every watcher has returned; so f must not propose one. The image that f gets
// is Image() by then.
func (c *Controller) Watch(f func(*metadata.Image, *metadata.Delta)) { c.fsm.watch(f) }

// LeaderID is the node that leads the metadata log; -1 when none is known.
func (c *Controller) LeaderID() int32 {
	_, id := c.raft.LeaderWithID()
	n, err := strconv.ParseInt(string(id), 10, 32)
	if err != nil {
		return -1
	}
	return int32(n)
}

// Close stops the node. What was acknowledged is on disk already.
func (c *Controller) Close() error {
	c.mu.Lock()
	closing := c.mu.closing
	c.mu.closing = true
	c.mu.Unlock()
	if closing {
		return nil
	}
	close(c.closed)
	err := c.shutdown()
	c.wg.Wait()
	return errors.Join(err, c.closeStore())
}

// shutdown stops raft, and then lets go of whoever waits for its answer.
func (c *Controller) shutdown() error {
	err := c.raft.Shutdown().Error()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.mu.stopped {
		c.mu.stopped = true
		close(c.stopped)
	}
	return err
}

// await waits for raft's answer. A request that reaches raft while it shuts down is never
// answered; the goroutine that waits for it then stays behind, at the end of the process.
func (c *Controller) await(f raft.Future) error {
	answer := make(chan error, 1)
	go func() { answer <- f.Error() }()
	select {
	case err := <-answer:
		return err
	case <-c.stopped:
	}
	select {
	case err := <-answer:
		return err
	default:
		return raft.ErrRaftShutdown
	}
}

func serverID(node int32) raft.ServerID { return raft.ServerID(strconv.Itoa(int(node))) }

// bootstrap writes the first entry of a new log: this node is the only voter. Should a crash
// come between its two writes, the log is still empty and the next start does both again.
func bootstrap(s Store, id raft.ServerID, addr raft.ServerAddress) error {
	last, err := s.Logs().LastIndex()
	if err != nil || last > 0 {
		return err
	}
	snapshots, err := s.Snapshots().List()
	if err != nil || len(snapshots) > 0 {
		return err
	}
	if err := s.Stable().SetUint64([]byte("CurrentTerm"), 1); err != nil { // raft's own key
		return err
	}
	config := raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: id, Address: addr}}}
	return s.Logs().StoreLog(&raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(config)})
}
