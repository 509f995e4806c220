package group

import (
	"github.com/varve-io/varve/broker/coordinator"
	"github.com/varve-io/varve/broker/kafka"
)

// Offset is a committed offset.
type Offset struct {
	At          int64
	LeaderEpoch int32 // of the last record that was read; kafka.NoEpoch when it is not known
	Metadata    string
	// Unstable says, of an offset that is read, that an open transaction is about to change it.
	Unstable bool
}

// NoOffset is what a group has that has committed nothing.
func NoOffset() Offset { return Offset{At: kafka.NoOffset, LeaderEpoch: kafka.NoEpoch} }

// offset is a committed offset and when it goes.
type offset struct {
	Offset
	commitMs int64
	expireMs int64 // -1: by the broker's setting
	topicID  kafka.UUID
	order    int64 // of its record among those of the shard
}

// PartitionOffset is an offset of a partition.
type PartitionOffset struct {
	kafka.TopicPartition
	TopicID kafka.UUID // of a commit
	Offset
}

// Commit is a request to commit offsets.
type Commit struct {
	GroupID         string
	MemberID        string
	Instance        *string
	Generation      int32 // -1 outside of group management
	RetentionTimeMs int64 // -1 for the broker's setting
	Offsets         []PartitionOffset
	// Old says that the client does not know GROUP_ID_NOT_FOUND (before OffsetCommit 9).
	Old bool
}

// CommitResult is what became of a Commit: an error for all, or one for each offset.
type CommitResult struct {
	Err    kafka.Error
	Errors []kafka.Error
}

// Commit commits offsets. It is answered when the records are committed.
func (s *Shard) Commit(nowMs int64, c Commit, reply func(CommitResult)) coordinator.Step {
	e := s.event(nowMs)
	absent := kafka.GroupIDNotFound
	if c.Old {
		absent = kafka.IllegalGeneration
	}
	g, code := e.committer(c, absent, (*group).mayCommit)
	if code != kafka.NoError {
		e.after(func(*event, error) { reply(CommitResult{Err: code}) })
		return e.done()
	}
	if m := g.byID[c.MemberID]; g.modern == nil && m != nil && (g.state == Stable || g.state == PreparingRebalance) {
		e.expectHeartbeat(g, m)
	}
	res := CommitResult{Errors: make([]kafka.Error, len(c.Offsets))}
	limit := s.env.Config().OffsetMetadataMaxBytes
	for i, o := range c.Offsets {
		if len(o.Metadata) > limit {
			res.Errors[i] = kafka.OffsetMetadataTooLarge
			continue
		}
		v := offset{Offset: o.Offset, commitMs: nowMs, expireMs: -1, topicID: o.TopicID}
		if c.RetentionTimeMs != -1 {
			v.expireMs = nowMs + c.RetentionTimeMs
		}
		e.putOffset(g, o.TopicPartition, &v)
	}
	e.after(func(_ *event, err error) {
		if err != nil {
			res = CommitResult{Err: codeOf(err)}
		}
		reply(res)
	})
	return e.done()
}

// committer finds the group of a commit, if it may, or makes it: a commit from outside of group
// management needs no group. One from inside of a group that is not there gets the error absent.
func (e *event) committer(c Commit, absent kafka.Error, may func(*group, Commit) kafka.Error) (*group, kafka.Error) {
	g, ok := e.s.groups.Get(c.GroupID)
	switch {
	case ok:
		return g, may(g, c)
	case c.Generation < 0:
		return e.create(c.GroupID), kafka.NoError
	}
	return nil, absent
}

// mayCommit says whether the group takes a commit.
func (g *group) mayCommit(c Commit) kafka.Error {
	if g.modern != nil {
		return g.modern.mayCommit(c)
	}
	switch {
	case c.Generation < 0 && g.state == Empty:
		return kafka.NoError
	case c.Generation >= 0 || c.MemberID != "" || c.Instance != nil:
		if code := g.validate(c.MemberID, c.Instance); code != kafka.NoError {
			return code
		}
		if c.Generation != g.generation {
			return kafka.IllegalGeneration
		}
	default: // a stranger, while the group has members
		return kafka.UnknownMemberID
	}
	if g.state == CompletingRebalance {
		// The member knows the generation, but not yet what it is to read in it.
		return kafka.RebalanceInProgress
	}
	return kafka.NoError
}

// putOffset sets an offset and writes it down; nil deletes it.
func (e *event) putOffset(g *group, tp kafka.TopicPartition, o *offset) {
	if o == nil {
		g.offsets.Delete(tp)
	} else {
		e.s.order++
		o.order = e.s.order
		g.offsets.Set(tp, *o)
	}
	e.record(offsetRecord(g.id, tp, o))
}

// Reader is who asks for offsets: a member of a group of the consumer protocol names itself.
type Reader struct {
	MemberID *string // nil: not as a member
	Epoch    int32   // -1: not as a member
}

// Stranger is a Reader that is no member, or does not say so.
func Stranger() Reader { return Reader{Epoch: -1} }

// mayFetch says whether somebody may read the group's offsets.
func (s *Shard) mayFetch(groupID string, who Reader) kafka.Error {
	if g, ok := s.groups.Committed(groupID); ok && g.modern != nil {
		return g.modern.mayFetch(who.MemberID, who.Epoch)
	}
	return kafka.NoError
}

// deleteOffset deletes an offset, and what open transactions are about to make of it.
func (e *event) deleteOffset(g *group, tp kafka.TopicPartition) {
	_, committed := g.offsets.Get(tp)
	_, pending := g.pending.Get(tp)
	if pending {
		g.dropPending(tp, kafka.NoProducerID)
	}
	if committed || pending {
		e.putOffset(g, tp, nil)
	}
}

// Fetch reads committed offsets, in the order of partitions; NoOffset where there is none.
func (s *Shard) Fetch(groupID string, who Reader, partitions []kafka.TopicPartition) ([]Offset, kafka.Error) {
	if code := s.mayFetch(groupID, who); code != kafka.NoError {
		return nil, code
	}
	out := make([]Offset, len(partitions))
	g, _ := s.groups.Committed(groupID)
	for i, tp := range partitions {
		out[i] = NoOffset()
		if g == nil {
			continue
		}
		if o, ok := g.offsets.Committed(tp); ok {
			out[i] = o.Offset
		}
		out[i].Unstable = g.unstable(tp)
	}
	return out, kafka.NoError
}

// FetchAll reads all committed offsets of a group, in no order.
func (s *Shard) FetchAll(groupID string, who Reader) ([]PartitionOffset, kafka.Error) {
	if code := s.mayFetch(groupID, who); code != kafka.NoError {
		return nil, code
	}
	g, ok := s.groups.Committed(groupID)
	if !ok {
		return nil, kafka.NoError
	}
	var out []PartitionOffset
	for tp, o := range g.offsets.AllCommitted() {
		o.Unstable = g.unstable(tp)
		out = append(out, PartitionOffset{TopicPartition: tp, TopicID: o.topicID, Offset: o.Offset})
	}
	return out, kafka.NoError
}

// DeleteOffsets deletes committed offsets (KIP-496).
func (s *Shard) DeleteOffsets(nowMs int64, groupID string, partitions []kafka.TopicPartition, reply func(CommitResult)) coordinator.Step {
	e := s.event(nowMs)
	g, ok := s.groups.Get(groupID)
	code := kafka.NoError
	switch {
	case !ok:
		code = kafka.GroupIDNotFound
	case !g.empty() && g.protocolType != consumerProtocol:
		code = kafka.NonEmptyGroup // nobody knows what its members read
	}
	if code != kafka.NoError {
		e.after(func(*event, error) { reply(CommitResult{Err: code}) })
		return e.done()
	}
	res := CommitResult{Errors: make([]kafka.Error, len(partitions))}
	for i, tp := range partitions {
		if g.reads(tp.Topic) {
			res.Errors[i] = kafka.GroupSubscribedToTopic
		} else {
			e.deleteOffset(g, tp)
		}
	}
	e.after(func(_ *event, err error) {
		if err != nil {
			res = CommitResult{Err: codeOf(err)}
		}
		reply(res)
	})
	return e.done()
}

// TopicsDeleted deletes the offsets of topics that are no more.
func (s *Shard) TopicsDeleted(nowMs int64, topics map[string]bool) coordinator.Step {
	e := s.event(nowMs)
	e.step.Divisible = true
	for _, g := range s.groups.All() {
		for tp := range g.offsets.All() {
			if topics[tp.Topic] {
				e.deleteOffset(g, tp)
			}
		}
		for tp := range g.pending.All() {
			if topics[tp.Topic] {
				e.deleteOffset(g, tp)
			}
		}
	}
	return e.done()
}

// expire deletes the offsets whose time is over, and empty groups that have none left.
func (e *event) expire() {
	e.step.Divisible = true
	for _, g := range e.s.groups.All() {
		if e.expireOffsets(g) && g.empty() {
			e.deleteGroup(g)
		}
	}
}

// expireOffsets says whether the group has no offset left.
//
// The clock of an offset starts when its group becomes empty. While consumers are there, or
// when there never were any, it starts at the commit; a topic that is read keeps its offsets.
// Source: Kafka's ClassicGroup.offsetExpirationCondition; KIP-211.
func (e *event) expireOffsets(g *group) (none bool) {
	if g.offsets.Len() == 0 {
		return g.pending.Len() == 0
	}
	var since func(offset) int64
	byCommit := func(o offset) int64 { return o.commitMs }
	switch {
	case g.protocolType == "", g.modern != nil:
		since = byCommit
	case g.state == Empty && g.stateSinceMs >= 0:
		since = func(offset) int64 { return g.stateSinceMs }
	case g.state == Empty, g.state == Stable && g.subscribedKnown:
		since = byCommit
	default:
		return false
	}
	retention := e.s.env.Config().OffsetsRetentionMs
	for tp, o := range g.offsets.All() {
		over := e.nowMs-since(o) >= retention
		if o.expireMs >= 0 {
			over = e.nowMs >= o.expireMs
		}
		if _, pending := g.pending.Get(tp); over && !pending && !g.reads(tp.Topic) {
			e.putOffset(g, tp, nil)
		}
	}
	return g.offsets.Len() == 0 && g.pending.Len() == 0
}
