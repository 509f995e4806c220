package group

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varve-io/varve/broker/coordinator"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/replica"
	"github.com/varve-io/varve/broker/wire"
)

// OffsetsTopic is the internal topic that holds groups and their offsets.
const OffsetsTopic = "__consumer_offsets"

// Options is what a Coordinator is made of.
type Options struct {
	NodeID int32
	// Replicas holds the partitions; it may be nil where Apply is not used.
	Replicas *replica.Manager
	Config   func() Config
	// CommitTimeout is how long a change waits for the in-sync set (offsets.commit.timeout.ms).
	CommitTimeout func() time.Duration
	// NewID draws the random part of a member's id; nil for random UUIDs.
	NewID      func() string
	Now        func() time.Time
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are kept and not exported
}

// Coordinator answers for the groups whose partitions this broker leads. Each method has its
// last argument called exactly once, at once or later, on any goroutine; it must not block.
type Coordinator struct {
	o          Options
	rt         *coordinator.Runtime[*Shard]
	follower   coordinator.Follower[*Shard]
	partitions atomic.Int32 // of the offsets topic, 0 while there is none
}

// New makes a Coordinator that leads nothing yet.
func New(o Options) *Coordinator {
	if o.NewID == nil {
		o.NewID = randomID
	}
	c := &Coordinator{o: o, rt: coordinator.New(coordinator.Options[*Shard]{
		Name: "group", CommitTimeout: o.CommitTimeout, Now: o.Now, Logger: o.Logger, Registerer: o.Registerer,
		New: func(_, _ int32, v *coordinator.Versions) *Shard { return NewShard(v, o.Config, o.NewID) },
	})}
	c.follower = coordinator.Follower[*Shard]{Runtime: c.rt, Topic: OffsetsTopic, NodeID: o.NodeID, Replicas: o.Replicas}
	return c
}

// randomID is a random UUID in its usual form, as Kafka's member ids end with.
func randomID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Apply takes an image over, and what it changed; the replicas are in line with it already.
// Calls come one at a time, in the order of the images.
func (c *Coordinator) Apply(img *metadata.Image, d *metadata.Delta) {
	n := int32(0)
	if t := img.Topic(OffsetsTopic); t != nil {
		n = int32(len(t.Partitions))
	}
	c.partitions.Store(n)
	c.follower.Follow(img)
	if len(d.Deleted) > 0 {
		c.topicsDeleted(d.Deleted)
	}
}

// Close ends the service: whoever waits is answered with NOT_COORDINATOR.
func (c *Coordinator) Close() { c.rt.Close() }

// Partition is the partition of the offsets topic whose leader coordinates a group: the hash
// of the id as Java computes it. False while there is no such topic.
func (c *Coordinator) Partition(groupID string) (int32, bool) {
	n := c.partitions.Load()
	if n == 0 {
		return 0, false
	}
	return coordinator.PartitionOf(groupID, n), true
}

// do hands an event to the shard of a group.
func (c *Coordinator) do(groupID string, event func(*Shard, int64) coordinator.Step, refuse func(kafka.Error)) {
	shard, ok := c.Partition(groupID)
	if !ok {
		refuse(kafka.NotCoordinator)
		return
	}
	c.rt.Do(shard, event, func(err error) { refuse(codeOf(err)) })
}

// Join is JoinGroup.
func (c *Coordinator) Join(from Client, req *wire.JoinGroupRequest, reply func(*wire.JoinGroupResponse)) {
	refuse := func(code kafka.Error) { reply(joinError(req.MemberID, code)) }
	cfg := c.o.Config()
	switch {
	case req.GroupID == "":
		refuse(kafka.InvalidGroupID)
	case req.SessionTimeoutMs < cfg.MinSessionTimeoutMs || req.SessionTimeoutMs > cfg.MaxSessionTimeoutMs:
		refuse(kafka.InvalidSessionTimeout)
	default:
		c.do(req.GroupID, func(s *Shard, nowMs int64) coordinator.Step { return s.Join(nowMs, from, req, reply) }, refuse)
	}
}

// Sync is SyncGroup.
func (c *Coordinator) Sync(req *wire.SyncGroupRequest, reply func(*wire.SyncGroupResponse)) {
	refuse := func(code kafka.Error) { reply(&wire.SyncGroupResponse{ErrorCode: int16(code)}) }
	if req.GroupID == "" {
		refuse(kafka.InvalidGroupID)
		return
	}
	c.do(req.GroupID, func(s *Shard, nowMs int64) coordinator.Step { return s.Sync(nowMs, req, reply) }, refuse)
}

// Heartbeat is Heartbeat.
func (c *Coordinator) Heartbeat(req *wire.HeartbeatRequest, reply func(kafka.Error)) {
	if req.GroupID == "" {
		reply(kafka.InvalidGroupID)
		return
	}
	c.do(req.GroupID, func(s *Shard, nowMs int64) coordinator.Step { return s.Heartbeat(nowMs, req, reply) }, func(code kafka.Error) {
		if code == kafka.CoordinatorLoadInProgress {
			code = kafka.NoError // the member need not do anything about that
		}
		reply(code)
	})
}

// Leave is LeaveGroup.
func (c *Coordinator) Leave(groupID string, members []wire.LeaveGroupRequestMember, reply func([]wire.LeaveGroupResponseMember, kafka.Error)) {
	refuse := func(code kafka.Error) { reply(nil, code) }
	if groupID == "" {
		refuse(kafka.InvalidGroupID)
		return
	}
	c.do(groupID, func(s *Shard, nowMs int64) coordinator.Step { return s.Leave(nowMs, groupID, members, reply) }, refuse)
}

// Commit is OffsetCommit, of partitions that exist.
func (c *Coordinator) Commit(req Commit, reply func(CommitResult)) {
	c.do(req.GroupID, func(s *Shard, nowMs int64) coordinator.Step { return s.Commit(nowMs, req, reply) },
		func(code kafka.Error) { reply(CommitResult{Err: code}) })
}

// Fetch is OffsetFetch for some partitions; the offsets are in their order.
func (c *Coordinator) Fetch(groupID string, partitions []kafka.TopicPartition, reply func([]Offset, kafka.Error)) {
	c.do(groupID, func(s *Shard, _ int64) coordinator.Step {
		reply(s.Fetch(groupID, partitions), kafka.NoError)
		return coordinator.Step{}
	}, func(code kafka.Error) { reply(nil, code) })
}

// FetchAll is OffsetFetch for all partitions.
func (c *Coordinator) FetchAll(groupID string, reply func([]PartitionOffset, kafka.Error)) {
	c.do(groupID, func(s *Shard, _ int64) coordinator.Step {
		reply(s.FetchAll(groupID), kafka.NoError)
		return coordinator.Step{}
	}, func(code kafka.Error) { reply(nil, code) })
}

// DeleteOffsets is OffsetDelete, of partitions that exist.
func (c *Coordinator) DeleteOffsets(groupID string, partitions []kafka.TopicPartition, reply func(CommitResult)) {
	refuse := func(code kafka.Error) { reply(CommitResult{Err: code}) }
	if groupID == "" {
		refuse(kafka.InvalidGroupID)
		return
	}
	c.do(groupID, func(s *Shard, nowMs int64) coordinator.Step {
		return s.DeleteOffsets(nowMs, groupID, partitions, reply)
	}, refuse)
}

// Describe is DescribeGroups for one group.
func (c *Coordinator) Describe(groupID string, reply func(wire.DescribeGroupsResponseGroup)) {
	c.do(groupID, func(s *Shard, _ int64) coordinator.Step {
		reply(s.Describe(groupID))
		return coordinator.Step{}
	}, func(code kafka.Error) {
		var out wire.DescribeGroupsResponseGroup
		out.Default()
		out.GroupID, out.ErrorCode = groupID, int16(code)
		reply(out)
	})
}

// Delete is DeleteGroups for one group.
func (c *Coordinator) Delete(groupID string, reply func(kafka.Error)) {
	c.do(groupID, func(s *Shard, nowMs int64) coordinator.Step { return s.Delete(nowMs, groupID, reply) }, reply)
}

// List is ListGroups: the groups of all partitions that this broker leads, in no order.
func (c *Coordinator) List(states, types []string, reply func([]Listed, kafka.Error)) {
	shards := c.rt.Shards()
	if len(shards) == 0 {
		reply(nil, kafka.NoError)
		return
	}
	var all struct {
		sync.Mutex
		left   int
		groups []Listed
		code   kafka.Error
	}
	all.left = len(shards)
	one := func(groups []Listed, code kafka.Error) {
		all.Lock()
		defer all.Unlock()
		all.groups = append(all.groups, groups...)
		if code != kafka.NoError && code != kafka.NotCoordinator { // one that has moved away is another broker's to list
			all.code = code
		}
		if all.left--; all.left > 0 {
			return
		}
		if all.code != kafka.NoError {
			all.groups = nil
		}
		reply(all.groups, all.code)
	}
	for _, shard := range shards {
		c.rt.Do(shard, func(s *Shard, _ int64) coordinator.Step {
			one(s.List(states, types), kafka.NoError)
			return coordinator.Step{}
		}, func(err error) { one(nil, codeOf(err)) })
	}
}

// topicsDeleted deletes the offsets of topics that are no more.
func (c *Coordinator) topicsDeleted(deleted []*metadata.Topic) {
	topics := make(map[string]bool, len(deleted))
	for _, t := range deleted {
		topics[t.Name] = true
	}
	for _, shard := range c.rt.Shards() {
		c.rt.Do(shard, func(s *Shard, nowMs int64) coordinator.Step { return s.TopicsDeleted(nowMs, topics) }, func(error) {})
	}
}
