package txn

import (
	"math"

	"github.com/varve-io/varve/broker/coordinator"
	"github.com/varve-io/varve/broker/kafka"
)

// Request is what a producer says of itself with every request.
type Request struct {
	TransactionalID string
	ProducerID      int64
	Epoch           int16
	// Version is the version of the transaction that the request's version stands for.
	Version int8
}

// Add adds partitions to the transaction of a producer, and begins it where there is none.
func (s *Shard) Add(nowMs int64, req Request, partitions []kafka.TopicPartition, reply func(kafka.Error)) coordinator.Step {
	e := s.event(nowMs)
	m, code := s.find(req)
	if code == kafka.NoError && (m.state != Ongoing || !m.hasAll(partitions)) {
		e.put(req.TransactionalID, m.add(partitions, req.Version, nowMs))
		e.abortLater()
	}
	e.replied(code, reply)
	return e.done()
}

// find finds the id of a producer that may work on its transaction.
func (s *Shard) find(req Request) (entry, kafka.Error) {
	m, ok := s.txns.Get(req.TransactionalID)
	switch {
	case !ok || m.producerID != req.ProducerID:
		return m, kafka.InvalidProducerIDMapping
	case m.epoch != req.Epoch:
		return m, kafka.ProducerFenced
	case m.state.decided():
		return m, kafka.ConcurrentTransactions
	}
	return m, kafka.NoError
}

// Verify says of each partition whether it is in the open transaction of a producer: if not,
// TransactionAbortable.
func (s *Shard) Verify(nowMs int64, req Request, partitions []kafka.TopicPartition, reply func([]kafka.Error)) coordinator.Step {
	e := s.event(nowMs)
	m, code := s.find(req)
	out := make([]kafka.Error, len(partitions))
	for i, tp := range partitions {
		if out[i] = code; code == kafka.NoError && !m.has(tp) {
			out[i] = kafka.TransactionAbortable
		}
	}
	e.after(func(_ *event, err error) {
		if err != nil {
			for i := range out {
				out[i] = coordinator.Code(err)
			}
		}
		reply(out)
	})
	return e.done()
}

// EndResult is how the end of a transaction was decided, with the producer id and epoch of
// the next one; they are -1 beside an error, and before version 2.
type EndResult struct {
	Err        kafka.Error
	ProducerID int64
	Epoch      int16
}

func endError(code kafka.Error) EndResult { return EndResult{code, kafka.NoProducerID, -1} }

// End commits or aborts the transaction of a producer. The answer comes when that is decided;
// the markers are written behind it. More has the producer ask again when there are new
// producer ids.
func (s *Shard) End(nowMs int64, req Request, commit bool, reply func(EndResult), more func()) coordinator.Step {
	e := s.event(nowMs)
	m, known := s.txns.Get(req.TransactionalID)
	if !known {
		e.after(func(*event, error) { reply(endError(kafka.InvalidProducerIDMapping)) })
		return e.done()
	}
	judge := m.judgeEnd
	if req.Version >= Version2 {
		judge = m.judgeEnd2
	}
	decide, code := judge(req, commit)
	if !decide {
		e.after(func(_ *event, err error) {
			switch {
			case code != kafka.NoError:
				reply(endError(code))
			case err != nil:
				reply(endError(coordinator.Code(err)))
			case req.Version >= Version2: // a repeated request
				reply(EndResult{ProducerID: m.producerID, Epoch: m.epoch})
			default:
				reply(endError(kafka.NoError))
			}
		})
		return e.done()
	}
	nextID := kafka.NoProducerID
	if req.Version >= Version2 {
		var ok bool
		if nextID, ok = e.nextID(m); !ok {
			e.step.Replies = append(e.step.Replies, more)
			return e.done()
		}
	}
	next := m.end(commit, req.Version, nextID, nowMs)
	e.decide(req.TransactionalID, next, func(e *event, err error) {
		switch then := next.complete(nowMs); {
		case err != nil:
			e.reply(reply, endError(coordinator.Code(err)))
		case req.Version >= Version2:
			e.reply(reply, EndResult{ProducerID: then.producerID, Epoch: then.epoch})
		default:
			e.reply(reply, endError(kafka.NoError))
		}
	})
	return e.done()
}

// reply answers behind the markers, which go out with the same step: where they are written at
// once, the client does not meet the transaction again that it has just ended.
func (e *event) reply(reply func(EndResult), r EndResult) {
	e.step.Replies = append(e.step.Replies, func() { reply(r) })
}

// judgeEnd says whether the end of a transaction before version 2 is to be decided. Without an
// error it is decided already, the same way.
func (m entry) judgeEnd(req Request, commit bool) (decide bool, code kafka.Error) {
	wanted := map[State]bool{PrepareCommit: commit, CompleteCommit: commit, PrepareAbort: !commit, CompleteAbort: !commit}
	switch {
	case m.producerID != req.ProducerID:
		return false, kafka.InvalidProducerIDMapping
	case m.epoch != req.Epoch:
		return false, kafka.ProducerFenced
	case m.state == Ongoing:
		return true, kafka.NoError
	case !wanted[m.state]:
		return false, kafka.InvalidTxnState
	case m.state.decided():
		return false, kafka.ConcurrentTransactions
	}
	return false, kafka.NoError
}

// judgeEnd2 is judgeEnd since version 2. A repeated request is known by its epoch, which is
// one behind; one of the epoch itself ends the next transaction, and may abort it before it
// has begun, which raises the epoch.
func (m entry) judgeEnd2(req Request, commit bool) (decide bool, code kafka.Error) {
	rotated := m.previousID == req.ProducerID && req.Epoch == math.MaxInt16-1 && m.epoch == 0
	bumped := int(m.epoch) == int(req.Epoch)+1
	repeated, current := bumped || rotated, m.epoch == req.Epoch
	completed := m.state == CompleteCommit || m.state == CompleteAbort
	switch {
	case m.producerID != req.ProducerID && !rotated:
		return false, kafka.InvalidProducerIDMapping
	case m.state.decided() && !bumped, completed && !repeated && !current, !m.state.decided() && !completed && !current:
		return false, kafka.ProducerFenced
	case m.state == Ongoing:
		return true, kafka.NoError
	case m.state.decided():
		if commit != (m.state == PrepareCommit) {
			return false, kafka.InvalidTxnState
		}
		return false, kafka.ConcurrentTransactions
	case completed && repeated:
		if commit != (m.state == CompleteCommit) {
			return false, kafka.InvalidTxnState
		}
		return false, kafka.NoError
	case commit:
		return false, kafka.InvalidTxnState
	}
	return true, kafka.NoError
}
