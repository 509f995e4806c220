package txn

import (
	"errors"
	"time"

	"github.com/varve-io/varve/broker/coordinator"
	"github.com/varve-io/varve/broker/kafka"
)

// Shard is the transactional ids of one partition of the state topic; a coordinator.Machine.
type Shard struct {
	epoch  int32 // the leader epoch of the partition
	config func() Config
	// producerID takes a new producer id, if one is there without waiting.
	producerID func() (int64, bool)
	// write has markers written; the outcome comes as an event, Written.
	write func(Markers)

	txns     *coordinator.Map[string, entry]
	writing  map[string]*writing // the decided transactions whose markers are on their way
	aborting bool                // the timer that looks for transactions that have timed out is set
	expiring bool                // the timer that looks for ids that have expired is
}

// NewShard makes a Shard without ids, led in an epoch.
func NewShard(epoch int32, v *coordinator.Versions, config func() Config, producerID func() (int64, bool), write func(Markers)) *Shard {
	return &Shard{
		epoch: epoch, config: config, producerID: producerID, write: write,
		txns: coordinator.NewMap[string, entry](v), writing: map[string]*writing{},
	}
}

// event is one step in the making.
type event struct {
	s      *Shard
	nowMs  int64
	step   coordinator.Step
	afters []func(*event, error)
}

func (s *Shard) event(nowMs int64) *event { return &event{s: s, nowMs: nowMs} }

// done is the step.
func (e *event) done() coordinator.Step {
	if afters := e.afters; len(afters) > 0 {
		s := e.s
		e.step.Done = func(nowMs int64, err error) coordinator.Step {
			next := s.event(nowMs)
			for _, f := range afters {
				f(next, err)
			}
			return next.done()
		}
	}
	return e.step
}

// after has f run when what was written up to now is committed, or never will be.
func (e *event) after(f func(*event, error)) { e.afters = append(e.afters, f) }

// put sets the state of an id and writes it down.
func (e *event) put(id string, m entry) {
	e.s.txns.Set(id, m)
	e.step.Records = append(e.step.Records, record(id, &m))
}

// The timers of a shard. Those of a transactional id have it as their scope.
const (
	abortTimer   = "abort"
	expireTimer  = "expire"
	markersTimer = "markers"
)

func (e *event) timer(scope, name string, afterMs int64, f func(*event)) {
	s := e.s
	e.step.Timers = append(e.step.Timers, coordinator.Timer{
		Key: coordinator.TimerKey{Scope: scope, Name: name}, After: time.Duration(afterMs) * time.Millisecond,
		Fire: func(nowMs int64) coordinator.Step {
			next := s.event(nowMs)
			f(next)
			return next.done()
		},
	})
}

// abortLater sees to it that transactions are aborted that stay open too long.
func (e *event) abortLater() {
	if e.s.aborting {
		return
	}
	e.s.aborting = true
	e.timer("", abortTimer, e.s.config().AbortCheckIntervalMs, func(e *event) {
		e.s.aborting = false
		e.abortTimedOut()
	})
}

// abortTimedOut aborts what is open too long, with a new epoch for the producer.
func (e *event) abortTimedOut() {
	open := false
	for id, m := range e.s.txns.All() {
		if m.state != Ongoing {
			continue
		}
		if m.startMs+int64(m.timeoutMs) >= e.nowMs || !e.fence(id, m, func(*event, error) {}) {
			open = true
		}
	}
	if open {
		e.abortLater()
	}
}

// expireLater sees to it that ids which nobody uses go.
func (e *event) expireLater() {
	if e.s.expiring || e.s.txns.Len() == 0 {
		return
	}
	e.s.expiring = true
	e.timer("", expireTimer, e.s.config().ExpireCheckIntervalMs, func(e *event) {
		e.s.expiring = false
		e.step.Divisible = true
		for id, m := range e.s.txns.All() {
			if m.state != Ongoing && !m.state.decided() && m.updatedMs <= e.nowMs-e.s.config().ExpirationMs {
				e.s.txns.Delete(id)
				e.step.Records = append(e.step.Records, record(id, nil))
			}
		}
		e.expireLater()
	})
}

// Loaded implements coordinator.Machine: what was decided is carried out.
func (s *Shard) Loaded(nowMs int64) coordinator.Step {
	e := s.event(nowMs)
	open := false
	for id, m := range s.txns.All() {
		if m.state.decided() {
			e.sendMarkers(id, m)
		}
		open = open || m.state == Ongoing
	}
	if open {
		e.abortLater()
	}
	e.expireLater()
	return e.done()
}

// Unloaded implements coordinator.Machine. Nobody waits here: markers that are on their way
// are written, and the next leader writes them again.
func (s *Shard) Unloaded(error) []func() { return nil }

// replied has a client told how its request fared: code at once where it is refused, else when
// what was written is committed.
func (e *event) replied(code kafka.Error, reply func(kafka.Error)) {
	e.after(func(_ *event, err error) {
		if code == kafka.NoError {
			code = coordinator.Code(err)
		}
		reply(code)
	})
}

// InitRequest is InitProducerId with a transactional id.
type InitRequest struct {
	TransactionalID string
	TimeoutMs       int32
	// ProducerID and Epoch are what the producer has, -1 for none (KIP-360).
	ProducerID int64
	Epoch      int16
}

// InitResult is the producer id and epoch that a producer begins with, -1 beside an error.
type InitResult struct {
	Err        kafka.Error
	ProducerID int64
	Epoch      int16
}

func initError(code kafka.Error) InitResult { return InitResult{code, kafka.NoProducerID, -1} }

// Init is InitProducerId: it fences whoever had the id before. A transaction that is open is
// aborted first, and the client asks again. More has it ask again too, once there are new
// producer ids.
func (s *Shard) Init(nowMs int64, req InitRequest, reply func(InitResult), more func()) coordinator.Step {
	e := s.event(nowMs)
	refuse := func(code kafka.Error) coordinator.Step {
		e.after(func(*event, error) { reply(initError(code)) })
		return e.done()
	}
	m, ok := s.txns.Get(req.TransactionalID)
	if !ok {
		m = entry{producerID: kafka.NoProducerID, previousID: kafka.NoProducerID, nextID: kafka.NoProducerID, epoch: -1, lastEpoch: -1}
	}
	named := req.ProducerID != kafka.NoProducerID
	if named && !m.knows(req) {
		return refuse(kafka.ProducerFenced)
	}
	switch {
	case m.state.decided():
		return refuse(kafka.ConcurrentTransactions)
	case m.state == Ongoing:
		if !e.fence(req.TransactionalID, m, func(_ *event, err error) {
			code := kafka.ConcurrentTransactions
			if err != nil {
				code = coordinator.Code(err)
			}
			reply(initError(code))
		}) {
			e.step.Replies = append(e.step.Replies, more)
		}
		return e.done()
	}
	next, code, wait := m.next(req, nowMs, s.producerID)
	if wait {
		e.step.Replies = append(e.step.Replies, more)
		return e.done()
	}
	if code != kafka.NoError {
		return refuse(code)
	}
	e.put(req.TransactionalID, next)
	e.expireLater()
	e.replied(kafka.NoError, func(code kafka.Error) {
		if code != kafka.NoError {
			reply(initError(code))
			return
		}
		reply(InitResult{ProducerID: next.producerID, Epoch: next.epoch})
	})
	return e.done()
}

// knows says whether a producer that names its id may be the one that has the transactional
// id: the producer id is the current one, or the one whose epochs were used up.
func (m entry) knows(req InitRequest) bool {
	return m.epoch == -1 || req.ProducerID == m.producerID || req.ProducerID == m.previousID && exhausted(req.Epoch)
}

// next is the state with a new epoch, of a new producer id where the epochs are used up. With
// wait there is no producer id to be had at once.
func (m entry) next(req InitRequest, nowMs int64, newID func() (int64, bool)) (next entry, code kafka.Error, wait bool) {
	named := req.ProducerID != kafka.NoProducerID
	next = m.begin(req.TimeoutMs, nowMs)
	switch {
	case m.epoch == -1 || exhausted(m.epoch) && (!named || req.Epoch == m.epoch):
		id, ok := newID()
		if !ok {
			return next, kafka.NoError, true
		}
		next.producerID, next.epoch, next.lastEpoch = id, 0, -1
		if m.epoch == -1 {
			next.previousID = id
		} else if named {
			next.lastEpoch = m.epoch
		}
	case !named:
		next.epoch, next.lastEpoch = m.epoch+1, -1
	case req.Epoch == m.epoch:
		next.epoch, next.lastEpoch = m.epoch+1, m.epoch
	case req.Epoch != m.lastEpoch:
		return next, kafka.ProducerFenced, false
	}
	// Else the producer asks again for what it has been given, and gets it.
	return next, kafka.NoError, false
}

// fence aborts an open transaction, with an epoch that its producer does not know. It says
// whether there was a producer id where one is needed.
func (e *event) fence(id string, m entry, done func(*event, error)) bool {
	nextID, ok := e.nextID(m)
	if ok {
		e.decide(id, m.end(false, Version2, nextID, e.nowMs), done)
	}
	return ok
}

// nextID is a new producer id where the epochs of this one are used up, else none.
func (e *event) nextID(m entry) (int64, bool) {
	if !exhausted(m.epoch) {
		return kafka.NoProducerID, true
	}
	return e.s.producerID()
}

// decide writes down how a transaction ends. When that is committed, done is told, and the
// markers are written.
func (e *event) decide(id string, m entry, done func(*event, error)) {
	e.put(id, m)
	e.after(func(e *event, err error) {
		switch {
		case err == nil:
			e.sendMarkers(id, m)
		case errors.Is(err, kafka.RequestTimedOut):
			// Not committed yet, but not taken back either: if it ever is, the markers follow.
			e.after(func(e *event, err error) {
				if err == nil {
					e.sendMarkers(id, m)
				}
			})
		}
		done(e, err)
	})
}
