package group

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varve-io/varve/broker/coordinator"
	"github.com/varve-io/varve/broker/coordinator/group/consumer"
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
	// Consumer is the settings of a group as one of the consumer protocol: the broker's, or its own.
	Consumer func(groupID string) ConsumerConfig
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

	image         atomic.Pointer[metadata.Image]
	topicsVersion atomic.Int64  // of the last image with new topics
	matching      chan struct{} // a place for who matches regular expressions
}

// New makes a Coordinator that leads nothing yet.
func New(o Options) *Coordinator {
	if o.NewID == nil {
		o.NewID = randomID
	}
	c := &Coordinator{o: o, matching: make(chan struct{}, 1)}
	c.image.Store(&metadata.Image{})
	env := Env{
		Config: o.Config, Consumer: o.Consumer, NewID: o.NewID, Image: c.image.Load, TopicsVersion: c.topicsVersion.Load, Match: c.match,
	}
	c.rt = coordinator.New(coordinator.Options[*Shard]{
		Name: "group", CommitTimeout: o.CommitTimeout, Now: o.Now, Logger: o.Logger, Registerer: o.Registerer,
		New: func(_, _ int32, v *coordinator.Versions) *Shard { return NewShard(v, env) },
	})
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
	c.image.Store(img)
	if len(d.Created) > 0 {
		c.topicsVersion.Store(img.Version())
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
func (c *Coordinator) Fetch(groupID string, who Reader, partitions []kafka.TopicPartition, reply func([]Offset, kafka.Error)) {
	c.do(groupID, func(s *Shard, _ int64) coordinator.Step {
		reply(s.Fetch(groupID, who, partitions))
		return coordinator.Step{}
	}, func(code kafka.Error) { reply(nil, code) })
}

// FetchAll is OffsetFetch for all partitions.
func (c *Coordinator) FetchAll(groupID string, who Reader, reply func([]PartitionOffset, kafka.Error)) {
	c.do(groupID, func(s *Shard, _ int64) coordinator.Step {
		reply(s.FetchAll(groupID, who))
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

// ConsumerHeartbeat is ConsumerGroupHeartbeat.
func (c *Coordinator) ConsumerHeartbeat(from Client, req *wire.ConsumerGroupHeartbeatRequest, reply func(*wire.ConsumerGroupHeartbeatResponse)) {
	if err := checkConsumerHeartbeat(from.Version, req, c.o.Consumer(req.GroupID).Assignors); err != nil {
		reply(refusedHeartbeat(err))
		return
	}
	c.do(req.GroupID, func(s *Shard, nowMs int64) coordinator.Step { return s.ConsumerHeartbeat(nowMs, from, req, reply) },
		func(code kafka.Error) { reply(refusedHeartbeat(code)) })
}

// checkConsumerHeartbeat judges a request by itself.
func checkConsumerHeartbeat(version int16, req *wire.ConsumerGroupHeartbeatRequest, assignors []string) error {
	blank := func(s *string) bool { return s != nil && strings.TrimSpace(*s) == "" }
	why := ""
	switch epoch := req.MemberEpoch; {
	case (version >= 1 || epoch > 0 || epoch == consumer.LeaveEpoch) && blank(&req.MemberID):
		why = "the member id is empty; a client draws it itself, as a UUID (KIP-1082)"
	case blank(&req.GroupID):
		why = "the group id is empty"
	case blank(req.InstanceID):
		why = "the instance id is empty"
	case blank(req.RackID):
		why = "the rack id is empty"
	case epoch == consumer.JoinEpoch && req.RebalanceTimeoutMs == -1:
		why = "who joins has to name its rebalance timeout"
	case epoch == consumer.JoinEpoch && (req.TopicPartitions == nil || len(req.TopicPartitions) > 0):
		why = "who joins owns no partitions, and has to say so"
	case epoch == consumer.JoinEpoch && req.SubscribedTopicNames == nil && req.SubscribedTopicRegex == nil:
		why = "who joins has to subscribe to topics, by name or by regular expression"
	case epoch == consumer.StaticLeaveEpoch && req.InstanceID == nil:
		why = "only a static member leaves with epoch -2"
	case epoch < consumer.StaticLeaveEpoch:
		why = "there is no member epoch below -2"
	case req.ServerAssignor != nil && !slices.Contains(assignors, *req.ServerAssignor):
		return fmt.Errorf("the assignor %q is not among those of this broker: %s: %w", *req.ServerAssignor, strings.Join(assignors, ", "), kafka.UnsupportedAssignor)
	default:
		return nil
	}
	return fmt.Errorf("%s: %w", why, kafka.InvalidRequest)
}

// match looks for the topics of regular expressions on a goroutine of its own, one group after
// the other, and tells the shard of the group.
func (c *Coordinator) match(groupID string, expressions []string) {
	go func() {
		c.matching <- struct{}{}
		found := Match(c.image.Load(), expressions, c.o.Now().UnixMilli())
		<-c.matching
		c.do(groupID, func(s *Shard, nowMs int64) coordinator.Step { return s.Matched(nowMs, groupID, found) }, func(kafka.Error) {})
	}()
}

// DescribeConsumer is ConsumerGroupDescribe for one group.
func (c *Coordinator) DescribeConsumer(groupID string, reply func(wire.ConsumerGroupDescribeResponseGroup)) {
	refuse := func(code kafka.Error) {
		var out wire.ConsumerGroupDescribeResponseGroup
		out.Default()
		text := code.Error()
		out.GroupID, out.ErrorCode, out.ErrorMessage = groupID, int16(code), &text
		reply(out)
	}
	if groupID == "" {
		refuse(kafka.InvalidGroupID)
		return
	}
	c.do(groupID, func(s *Shard, _ int64) coordinator.Step {
		reply(s.DescribeConsumer(groupID))
		return coordinator.Step{}
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
