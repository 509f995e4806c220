package txn

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varve-io/varve/broker/coordinator"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/replica"
)

// StateTopic is the internal topic that holds transactional ids.
const StateTopic = "__transaction_state"

// Options is what a Coordinator is made of.
type Options struct {
	NodeID int32
	// Replicas holds the partitions; it may be nil where Apply is not used.
	Replicas *replica.Manager
	Config   func() Config
	IDs      *ProducerIDs
	// Write writes the end of a transaction into partitions and answers by m.Written.
	Write func(m Markers)
	// CommitTimeout is how long a change waits for the in-sync set.
	CommitTimeout func() time.Duration
	Now           func() time.Time
	Logger        *slog.Logger
	Registerer    prometheus.Registerer // nil: metrics are kept and not exported
}

// Coordinator answers for the transactional ids whose partitions this broker leads. Each
// method has its last argument called exactly once, at once or later, on any goroutine; it
// must not block.
type Coordinator struct {
	o          Options
	metrics    *metrics
	rt         *coordinator.Runtime[*Shard]
	follower   coordinator.Follower[*Shard]
	image      atomic.Pointer[metadata.Image]
	partitions atomic.Int32 // of the state topic, 0 while there is none

	background context.Context // ends with the coordinator
	cancel     context.CancelFunc
	wg         sync.WaitGroup // who waits for producer ids
}

// New makes a Coordinator that leads nothing yet.
func New(o Options) *Coordinator {
	c := &Coordinator{o: o, metrics: newMetrics(o.Registerer)}
	c.background, c.cancel = context.WithCancel(context.Background())
	c.rt = coordinator.New(coordinator.Options[*Shard]{
		Name: "txn", CommitTimeout: o.CommitTimeout, Now: o.Now, Logger: o.Logger, Registerer: o.Registerer,
		New: func(shard, epoch int32, v *coordinator.Versions) *Shard {
			return NewShard(epoch, v, o.Config, o.IDs.Take, func(m Markers) { c.write(shard, m) })
		},
	})
	c.follower = coordinator.Follower[*Shard]{Runtime: c.rt, Topic: StateTopic, NodeID: o.NodeID, Replicas: o.Replicas}
	return c
}

// Apply takes an image over; the replicas are in line with it already. Calls come one at a
// time, in the order of the images.
func (c *Coordinator) Apply(img *metadata.Image) {
	c.image.Store(img)
	n := int32(0)
	if t := img.Topic(StateTopic); t != nil {
		n = int32(len(t.Partitions))
	}
	c.partitions.Store(n)
	c.follower.Follow(img)
}

// Close ends the service: whoever waits is answered with NOT_COORDINATOR.
func (c *Coordinator) Close() {
	c.cancel()
	c.rt.Close()
	c.wg.Wait()
}

// Partition is the partition of the state topic whose leader coordinates a transactional id.
// False while there is no such topic.
func (c *Coordinator) Partition(id string) (int32, bool) {
	n := c.partitions.Load()
	if n == 0 {
		return 0, false
	}
	return coordinator.PartitionOf(id, n), true
}

// do hands an event to the shard of a transactional id.
func (c *Coordinator) do(id string, event func(*Shard, int64) coordinator.Step, refuse func(kafka.Error)) {
	if id == "" {
		refuse(kafka.InvalidRequest)
		return
	}
	shard, ok := c.Partition(id)
	if !ok {
		refuse(kafka.NotCoordinator)
		return
	}
	c.rt.Do(shard, event, func(err error) { refuse(coordinator.Code(err)) })
}

// again does something anew when there are producer ids.
func (c *Coordinator) again(f func(), refuse func(kafka.Error)) func() {
	return func() {
		c.wg.Go(func() {
			if err := c.o.IDs.Refill(c.background); err != nil {
				c.o.Logger.Warn("no producer ids from the controller", "error", err)
				refuse(kafka.CoordinatorLoadInProgress) // retriable, and what Kafka answers
				return
			}
			f()
		})
	}
}

// Init is InitProducerId with a transactional id.
func (c *Coordinator) Init(req InitRequest, reply func(InitResult)) {
	refuse := func(code kafka.Error) { reply(initError(code)) }
	if req.TransactionalID != "" && (req.TimeoutMs <= 0 || int64(req.TimeoutMs) > c.o.Config().MaxTimeoutMs) {
		refuse(kafka.InvalidTransactionTimeout)
		return
	}
	more := c.again(func() { c.Init(req, reply) }, refuse)
	c.do(req.TransactionalID, func(s *Shard, nowMs int64) coordinator.Step { return s.Init(nowMs, req, reply, more) }, refuse)
}

// Add is AddPartitionsToTxn.
func (c *Coordinator) Add(req Request, partitions []kafka.TopicPartition, reply func(kafka.Error)) {
	c.do(req.TransactionalID, func(s *Shard, nowMs int64) coordinator.Step { return s.Add(nowMs, req, partitions, reply) }, reply)
}

// Verify is AddPartitionsToTxn that adds nothing: it says of each partition whether it is in
// the transaction.
func (c *Coordinator) Verify(req Request, partitions []kafka.TopicPartition, reply func([]kafka.Error)) {
	c.do(req.TransactionalID, func(s *Shard, nowMs int64) coordinator.Step { return s.Verify(nowMs, req, partitions, reply) }, func(code kafka.Error) {
		out := make([]kafka.Error, len(partitions))
		for i := range out {
			out[i] = code
		}
		reply(out)
	})
}

// End is EndTxn.
func (c *Coordinator) End(req Request, commit bool, reply func(EndResult)) {
	refuse := func(code kafka.Error) { reply(endError(code)) }
	more := c.again(func() { c.End(req, commit, reply) }, refuse)
	c.do(req.TransactionalID, func(s *Shard, nowMs int64) coordinator.Step { return s.End(nowMs, req, commit, reply, more) }, refuse)
}

// write has markers of a shard written and hands it the outcome.
func (c *Coordinator) write(shard int32, m Markers) {
	m.Written = func(errs []error) {
		for i, err := range errs {
			result := "written"
			switch {
			case err == nil:
			case errors.Is(err, kafka.UnknownTopicOrPartition) && c.gone(m.Partitions[i]):
				errs[i] = nil // the topic was deleted, and the transaction in it
			case errors.Is(err, kafka.TransactionCoordinatorFenced), errors.Is(err, kafka.InvalidProducerEpoch):
				result = "fenced"
				c.o.Logger.Warn("a partition knows a later producer or coordinator than the end of a transaction", "transactionalID", m.TransactionalID,
					"partition", m.Partitions[i].String(), "producerID", m.Marker.ProducerID, "epoch", m.Marker.Epoch, "error", err)
			default:
				result = "failed"
				c.o.Logger.Warn("the end of a transaction was not written; it is tried again", "transactionalID", m.TransactionalID,
					"partition", m.Partitions[i].String(), "error", err)
			}
			c.metrics.markers.WithLabelValues(result).Inc()
		}
		c.rt.Do(shard, func(s *Shard, nowMs int64) coordinator.Step { return s.Written(nowMs, m, errs) }, func(error) {})
	}
	c.o.Write(m)
}

// gone says whether a partition does not exist.
func (c *Coordinator) gone(tp kafka.TopicPartition) bool {
	img := c.image.Load()
	if img == nil {
		return false
	}
	t := img.Topic(tp.Topic)
	return t == nil || int(tp.Partition) >= len(t.Partitions)
}
