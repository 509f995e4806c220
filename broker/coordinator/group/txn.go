package group

import (
	"github.com/varve-io/varve/broker/coordinator"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/replica"
)

// pendingOffset is an offset that counts when its transaction is committed.
type pendingOffset struct {
	producerID int64
	offset     offset
}

// groupPartition names an offset.
type groupPartition struct {
	group string
	tp    kafka.TopicPartition
}

// TxnCommit is a request to commit offsets with a transaction.
type TxnCommit struct {
	Commit
	Txn coordinator.Txn
}

// CommitTxn commits offsets when the transaction that they belong to is committed. It is
// answered when the records are committed, which tell of the offsets and not of their end.
func (s *Shard) CommitTxn(nowMs int64, c TxnCommit, reply func(CommitResult)) coordinator.Step {
	e := s.event(nowMs)
	e.step.Txn = &c.Txn
	g, code := e.committer(c.Commit, kafka.IllegalGeneration, (*group).mayCommitTxn)
	if code != kafka.NoError {
		e.after(func(*event, error) { reply(CommitResult{Err: code}) })
		return e.done()
	}
	res := CommitResult{Errors: make([]kafka.Error, len(c.Offsets))}
	limit := s.env.Config().OffsetMetadataMaxBytes
	for i, o := range c.Offsets {
		if len(o.Metadata) > limit {
			res.Errors[i] = kafka.OffsetMetadataTooLarge
			continue
		}
		v := offset{Offset: o.Offset, commitMs: nowMs, expireMs: -1, topicID: o.TopicID}
		e.record(offsetRecord(g.id, o.TopicPartition, &v))
		s.putPending(g, o.TopicPartition, c.Txn.ProducerID, v)
	}
	e.after(func(_ *event, err error) {
		if err != nil {
			res = CommitResult{Err: codeOf(err)}
		}
		reply(res)
	})
	return e.done()
}

// mayCommitTxn is mayCommit for a commit with a transaction: a producer that says nothing of
// a member is believed, as before KIP-447, and a rebalance is no obstacle.
func (g *group) mayCommitTxn(c Commit) kafka.Error {
	switch {
	case c.Generation < 0 && c.MemberID == "" && c.Instance == nil:
		return kafka.NoError
	case g.modern != nil:
		return g.modern.mayCommit(c)
	case c.Generation < 0 && g.state == Empty:
		return kafka.NoError
	}
	if code := g.validate(c.MemberID, c.Instance); code != kafka.NoError {
		return code
	}
	if c.Generation != g.generation {
		return kafka.IllegalGeneration
	}
	return kafka.NoError
}

// putPending sets an offset of an open transaction.
func (s *Shard) putPending(g *group, tp kafka.TopicPartition, producerID int64, v offset) {
	s.order++
	v.order = s.order
	before, _ := g.pending.Get(tp)
	after := make([]pendingOffset, 0, len(before)+1)
	known := false
	for _, p := range before {
		if p.producerID == producerID {
			p.offset, known = v, true
		}
		after = append(after, p)
	}
	if known {
		g.pending.Set(tp, after)
		return
	}
	g.pending.Set(tp, append(after, pendingOffset{producerID, v}))
	open, _ := s.open.Get(producerID)
	// Appended to in place behind what earlier versions see.
	s.open.Set(producerID, append(open, groupPartition{g.id, tp}))
}

// dropPending forgets an offset of an open transaction, all transactions' where producerID is
// kafka.NoProducerID. It answers the offset of the transaction.
func (g *group) dropPending(tp kafka.TopicPartition, producerID int64) (v offset, ok bool) {
	before, _ := g.pending.Get(tp)
	var after []pendingOffset
	for _, p := range before {
		switch producerID {
		case p.producerID:
			v, ok = p.offset, true
		case kafka.NoProducerID:
		default:
			after = append(after, p)
		}
	}
	if len(after) == 0 {
		g.pending.Delete(tp)
	} else {
		g.pending.Set(tp, after)
	}
	return v, ok
}

// EndTxn writes the end of a transaction, and the offsets in it count or are dropped.
func (s *Shard) EndTxn(nowMs int64, m replica.Marker, reply func(error)) coordinator.Step {
	e := s.event(nowMs)
	e.step.Marker = &m
	s.endTxn(m.ProducerID, m.Commit)
	e.after(func(_ *event, err error) { reply(err) })
	return e.done()
}

// endTxn ends the transaction of a producer. An offset that was committed without it since
// stays, as it would if the log were read again.
func (s *Shard) endTxn(producerID int64, commit bool) {
	open, ok := s.open.Get(producerID)
	if !ok {
		return
	}
	s.open.Delete(producerID)
	for _, at := range open {
		g, ok := s.groups.Get(at.group)
		if !ok {
			continue
		}
		v, ok := g.dropPending(at.tp, producerID)
		if !ok || !commit {
			continue
		}
		if now, ok := g.offsets.Get(at.tp); !ok || now.order < v.order {
			g.offsets.Set(at.tp, v)
		}
	}
}

// ReplayTxn implements coordinator.Transactional.
func (s *Shard) ReplayTxn(producerID int64, r coordinator.Record) error {
	k, v, ok, err := s.loading.parseOffset(r)
	if err != nil || !ok {
		return err
	}
	g, known := s.groups.Get(k.group)
	if !known {
		g = newGroup(s.versions, k.group, -1)
		s.groups.Set(k.group, g)
	}
	if v == nil {
		g.dropPending(k.tp, producerID)
		return nil
	}
	s.putPending(g, k.tp, producerID, *v)
	return nil
}

// ReplayMarker implements coordinator.Transactional.
func (s *Shard) ReplayMarker(producerID int64, commit bool) error {
	s.endTxn(producerID, commit)
	return nil
}

// unstable says whether an offset may be about to change by a transaction that is open, as
// far as that is committed.
func (g *group) unstable(tp kafka.TopicPartition) bool {
	_, ok := g.pending.Committed(tp)
	return ok
}

// CommitTxn is TxnOffsetCommit, of partitions that exist.
func (c *Coordinator) CommitTxn(req TxnCommit, reply func(CommitResult)) {
	refuse := func(code kafka.Error) { reply(CommitResult{Err: code}) }
	if req.GroupID == "" {
		refuse(kafka.InvalidGroupID)
		return
	}
	c.do(req.GroupID, func(s *Shard, nowMs int64) coordinator.Step { return s.CommitTxn(nowMs, req, reply) }, refuse)
}

// EndTxn ends a transaction in a partition of the offsets topic.
func (c *Coordinator) EndTxn(partition int32, m replica.Marker, done func(error)) {
	c.rt.Do(partition, func(s *Shard, nowMs int64) coordinator.Step { return s.EndTxn(nowMs, m, done) }, done)
}
