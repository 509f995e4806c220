package coordinator

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
)

// status is where a shard is in its life.
type status uint8

const (
	loading status = iota
	active
	failed // it could not be loaded
	ended
)

// task is an event that waits for its turn. Without refuse nobody waits for it: it is
// dropped where the shard has ended.
type task struct {
	event  Event
	refuse func(error)
}

// shard is one machine on its log, in one leader epoch.
type shard[M Machine] struct {
	r     *Runtime[M]
	index int32
	log   Log
	gone  chan struct{} // closed when the shard ends

	// The machine and what follows belongs to whoever runs the queue, or loads.
	machine  M
	versions Versions
	timers   map[TimerKey]*time.Timer
	open     pending
	written  int64      // the position behind the changes whose records are in the log
	waiting  []*flushed // above the high watermark, oldest first
	round    []task     // what is being worked on
	torn     error      // the log holds a part of a step whose changes were taken back

	mu struct {
		sync.Mutex
		status  status
		why     error // of failed and ended
		queue   []task
		running bool // somebody runs the queue, or loads
	}
}

// pending is the batch that events are writing.
type pending struct {
	batch batch.Builder
	bytes int
	done  []func(int64, error) Step
}

// flushed is a batch in the log that waits for the high watermark.
type flushed struct {
	end   int64
	upTo  int64 // the position behind its changes
	done  []func(int64, error) Step
	timer *time.Timer
}

func newShard[M Machine](r *Runtime[M], index int32, log Log) *shard[M] {
	s := &shard[M]{r: r, index: index, log: log, gone: make(chan struct{}), timers: map[TimerKey]*time.Timer{}}
	s.machine = r.o.New(index, log.Epoch(), &s.versions)
	s.mu.running = true // until it is loaded
	return s
}

func (s *shard[M]) status() status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.status
}

func (s *shard[M]) nowMs() int64 { return s.r.o.Now().UnixMilli() }

// post gives the shard something to do. With inline it may be done on this goroutine.
func (s *shard[M]) post(t task, inline bool) {
	s.mu.Lock()
	var err error
	switch s.mu.status {
	case loading:
		err = fmt.Errorf("shard %d of the %s coordinator: %w", s.index, s.r.o.Name, kafka.CoordinatorLoadInProgress)
	case failed, ended:
		err = s.mu.why
	case active:
		s.mu.queue = append(s.mu.queue, t)
	}
	run := err == nil && !s.mu.running
	s.mu.running = s.mu.running || run
	s.mu.Unlock()
	switch {
	case err != nil && t.refuse != nil:
		t.refuse(err)
	case run && inline:
		s.run(inlineRounds)
	case run:
		go s.run(-1)
	}
}

// inlineRounds is how often a caller looks into the queue for what others have put there
// meanwhile, before a goroutine of the shard's own takes over.
const inlineRounds = 2

// run works the queue off, for so many rounds (-1: all). What is in the queue at the
// beginning of a round shares a batch.
func (s *shard[M]) run(rounds int) {
	defer func() {
		if v := recover(); v != nil {
			s.panicked(v)
		}
	}()
	for ; rounds != 0; rounds-- {
		s.mu.Lock()
		s.round = s.mu.queue
		if s.mu.queue = nil; len(s.round) == 0 {
			s.mu.running = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		for len(s.round) > 0 {
			t := s.round[0]
			s.round = s.round[1:]
			before := s.versions.position()
			s.take(t.event(s.nowMs()), before)
			if s.torn != nil {
				s.reload()
			}
		}
		for s.open.batch.Count() > 0 {
			s.flush(s.versions.position())
		}
	}
	go s.run(-1)
}

// take does what an event asks for; before is the position before its changes.
func (s *shard[M]) take(st Step, before int64) {
	for _, t := range st.Timers {
		s.setTimer(t)
	}
	for _, reply := range st.Replies {
		reply()
	}
	switch {
	case st.Marker != nil, st.Txn != nil && len(st.Records) > 0:
		s.writeAlone(st, before)
	case len(st.Records) > 0:
		s.write(st, before)
	case st.Done == nil:
	case s.open.batch.Count() > 0:
		s.open.done = append(s.open.done, st.Done)
	case len(s.waiting) > 0:
		last := s.waiting[len(s.waiting)-1]
		last.done = append(last.done, st.Done)
	default:
		s.finish(st.Done, nil)
	}
}

// finish tells an event how its records fared, and does what it asks for then.
func (s *shard[M]) finish(done func(int64, error) Step, err error) {
	if done == nil {
		return
	}
	before := s.versions.position()
	s.take(done(s.nowMs(), err), before)
}

// recordOverhead bounds what a record takes in a batch beside its key and value, in bytes.
const recordOverhead = 32

// write puts the records of a step into the open batch. One that has no room left is flushed
// first, without the changes of this step.
func (s *shard[M]) write(st Step, before int64) {
	limit := s.log.MaxBatchBytes() - batch.HeaderSize
	size := 0
	for _, r := range st.Records {
		size += recordOverhead + len(r.Key) + len(r.Value)
	}
	if s.open.bytes > 0 && s.open.bytes+size > limit {
		if err := s.flush(before); err != nil {
			s.finish(st.Done, err) // its changes were taken back with those that they build on
			return
		}
	}
	divide := st.Divisible && size > limit
	now := s.nowMs()
	for _, r := range st.Records {
		size := recordOverhead + len(r.Key) + len(r.Value)
		if divide && s.open.bytes > 0 && s.open.bytes+size > limit {
			if err := s.flush(before); err != nil {
				s.finish(st.Done, err)
				s.torn = err
				return
			}
		}
		s.open.batch.Append(r.Key, r.Value, nil, now)
		s.open.bytes += size
	}
	s.open.done = append(s.open.done, st.Done)
}

// flush appends the open batch; upTo is the position behind the changes that it tells of. On
// an error everything since the last batch is taken back.
func (s *shard[M]) flush(upTo int64) error {
	open := s.open
	s.open = pending{}
	end, err := s.log.Append(open.batch.Bytes())
	if err != nil {
		s.r.metrics.failures.WithLabelValues("append").Inc()
		s.r.o.Logger.Warn("coordinator: records were not written, their changes are taken back",
			"coordinator", s.r.o.Name, "shard", s.index, "records", open.batch.Count(), "error", err)
	}
	return s.appended(end, err, upTo, open.done)
}

// writeAlone writes what belongs to a client's transaction, which shares no batch. That the
// log refuses it, as the transaction is over or its producer fenced, is the client's affair.
func (s *shard[M]) writeAlone(st Step, before int64) {
	if s.open.batch.Count() > 0 {
		if err := s.flush(before); err != nil {
			s.finish(st.Done, err)
			return
		}
	}
	var end int64
	var err error
	if st.Marker != nil {
		end, err = s.log.WriteMarker(*st.Marker)
	} else {
		b := batch.Builder{ProducerID: st.Txn.ProducerID, ProducerEpoch: st.Txn.Epoch, BaseSequence: -1, Attributes: batch.Transactional}
		now := s.nowMs()
		for _, r := range st.Records {
			b.Append(r.Key, r.Value, nil, now)
		}
		end, err = s.log.AppendVerified(b.Bytes(), st.Txn.Verification)
	}
	_ = s.appended(end, err, s.versions.position(), []func(int64, error) Step{st.Done}) // st.Done has been told
}

// appended ends an append, of a batch that tells of the changes up to a position.
func (s *shard[M]) appended(end int64, err error, upTo int64, done []func(int64, error) Step) error {
	if err != nil {
		s.versions.rollback(s.written)
		for _, d := range done {
			s.finish(d, err)
		}
		return err
	}
	s.written = upTo
	f := &flushed{end: end, upTo: upTo, done: done}
	s.waiting = append(s.waiting, f)
	if s.log.WhenCommitted(end, func(err error) {
		s.post(task{event: func(int64) Step { s.settle(end, err); return Step{} }}, false)
	}) {
		s.settle(end, nil)
		return nil
	}
	f.timer = time.AfterFunc(s.r.o.CommitTimeout(), func() {
		s.post(task{event: func(int64) Step { s.giveUp(f); return Step{} }}, false)
	})
	return nil
}

// settle ends the wait of the batches below end: they are committed, or this leader is none any more.
func (s *shard[M]) settle(end int64, err error) {
	if err != nil {
		if len(s.waiting) > 0 && s.waiting[len(s.waiting)-1].end >= end {
			s.r.drop(s, errors.Join(kafka.NotCoordinator, err))
		}
		return
	}
	for len(s.waiting) > 0 && s.waiting[0].end <= end {
		f := s.waiting[0]
		if s.waiting = s.waiting[1:]; len(s.waiting) == 0 {
			s.waiting = nil
		}
		if f.timer != nil {
			f.timer.Stop()
		}
		s.versions.commit(f.upTo)
		for _, done := range f.done {
			s.finish(done, nil)
		}
	}
}

// giveUp answers events whose records the in-sync set has not taken in time. What they have
// changed stays: it may still be committed.
func (s *shard[M]) giveUp(f *flushed) {
	done := f.done
	if f.done = nil; len(done) == 0 {
		return
	}
	s.r.metrics.failures.WithLabelValues("timeout").Inc()
	for _, d := range done {
		s.finish(d, kafka.RequestTimedOut)
	}
}

// setTimer sets or stops a timer.
func (s *shard[M]) setTimer(t Timer) {
	if old := s.timers[t.Key]; old != nil {
		old.Stop()
		delete(s.timers, t.Key)
	}
	if t.Fire == nil {
		return
	}
	var set *time.Timer
	fire := task{event: func(nowMs int64) Step {
		if s.timers[t.Key] != set { // stopped or set again since it went off
			return Step{}
		}
		delete(s.timers, t.Key)
		return t.Fire(nowMs)
	}}
	// Whatever it does waits for the queue, which this goroutine is working off.
	set = time.AfterFunc(t.After, func() { s.post(fire, false) })
	s.timers[t.Key] = set
}

// end ends the shard for the reason given: what is in the queue is refused, what waits is answered.
func (s *shard[M]) end(why error) {
	s.mu.Lock()
	if s.mu.status == ended {
		s.mu.Unlock()
		return
	}
	s.mu.status, s.mu.why = ended, why
	close(s.gone)
	refused := s.mu.queue
	s.mu.queue = []task{{event: func(int64) Step { s.unload(why); return Step{} }}}
	run := !s.mu.running
	s.mu.running = true
	s.mu.Unlock()
	refuse(refused, why)
	if run {
		s.run(-1)
	}
}

func refuse(tasks []task, why error) {
	for _, t := range tasks {
		if t.refuse != nil {
			t.refuse(why)
		}
	}
}

// unload answers everyone who waits. Nothing of what they ask for then is done any more.
func (s *shard[M]) unload(why error) {
	for _, t := range s.timers {
		t.Stop()
	}
	s.timers = map[TimerKey]*time.Timer{}
	dones := s.open.done
	for _, f := range s.waiting {
		if f.timer != nil {
			f.timer.Stop()
		}
		dones = append(dones, f.done...)
	}
	s.open, s.waiting = pending{}, nil
	for _, done := range dones {
		if done != nil {
			answer(done(s.nowMs(), why).Replies)
		}
	}
	answer(s.machine.Unloaded(why))
}

func answer(replies []func()) {
	for _, reply := range replies {
		reply()
	}
}

// panicked gives the shard up whose machine has panicked: its state is not to be trusted.
func (s *shard[M]) panicked(v any) {
	s.r.metrics.failures.WithLabelValues("panic").Inc()
	s.r.o.Logger.Error("coordinator: a shard has panicked; it is loaded again", "coordinator", s.r.o.Name, "shard", s.index,
		"panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	s.reload()
}

// reload ends the shard in the midst of its work and has another one read the log.
func (s *shard[M]) reload() {
	why := fmt.Errorf("shard %d of the %s coordinator loads again: %w", s.index, s.r.o.Name, kafka.NotCoordinator)
	s.mu.Lock()
	left := append(s.round, s.mu.queue...)
	s.round, s.torn = nil, nil
	again := s.mu.status != ended
	if again {
		s.mu.status, s.mu.why = ended, why
		close(s.gone)
	}
	s.mu.queue, s.mu.running = nil, false
	s.mu.Unlock()
	refuse(left, why)
	func() {
		defer func() { _ = recover() }() // a machine that has panicked may do so again
		s.unload(why)
	}()
	if again {
		s.r.replace(s)
	}
}
