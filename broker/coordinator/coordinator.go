// Package coordinator runs state machines whose state lives in the partitions of an internal
// topic: one machine per partition, a shard, on the partition's leader.
//
// It owns the loading of a shard from its log, the order of its events, the batches they
// write, the wait for the high watermark, the timers, and the roll-back of what could not be
// written. It does not own the meaning of events and records, which is the Machine's (groups,
// transactions), nor the log, which is the partition's. Nothing is on disk but the log.
//
// A shard handles one event at a time. An event changes the speculative state at once and
// answers, with the records that say so, when the high watermark has passed them; readers see
// the committed state (Versions, Map). Events that arrive together share one batch. Do, Lead
// and Resign may be called from any goroutine and wait for nothing but the page cache; a shard
// without work holds no goroutine. Machines and their Maps are used by the Runtime alone.
//
// After a crash a shard is what its log says. Format: docs/formats/consumer-offsets.md.
package coordinator

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/replica"
)

// Record is a record of the internal topic; without a value it is a tombstone.
type Record struct{ Key, Value []byte }

// Event is something that happens to a machine at a time of the wall clock, in milliseconds.
type Event func(nowMs int64) Step

// Step is what an event came to, beside the change of state. The zero Step is nothing.
type Step struct {
	// Records say what has changed. They are written in one batch.
	Records []Record
	// Txn makes the records part of a client's transaction. They are in a batch of their own.
	Txn *Txn
	// Marker ends a client's transaction in the log of the shard; there are no records beside it.
	Marker *replica.Marker
	// Divisible allows to spread the records over several batches where one is too small; a
	// crash may then keep the first of them only.
	Divisible bool
	// Replies are given at once, before the records are written.
	Replies []func()
	// Done, if any, is told when the records are committed (nil), or that they never will be as
	// far as anybody knows. Without records it waits for those that earlier events wrote.
	Done func(nowMs int64, err error) Step
	// Timers are set and stopped.
	Timers []Timer
}

// Txn is a client's transaction that records belong to.
type Txn struct {
	ProducerID int64
	Epoch      int16
	// Verification is the log's, see replica.Verify; nil where the transaction is open there.
	Verification *commitlog.Verification
}

// TimerKey names a timer of a shard; what the words mean is the machine's business.
type TimerKey struct{ Scope, Name string }

// Timer sets the timer of a key, in place of the one it may have, or stops it when Fire is nil.
type Timer struct {
	Key   TimerKey
	After time.Duration
	Fire  Event
}

// Machine is the state of one shard and the meaning of its records. A step function: it does
// no I/O and reads no clock.
type Machine interface {
	// Replay changes the state by a record of the log. An error ends the loading.
	Replay(r Record) error
	// Loaded is the event that ends the loading.
	Loaded(nowMs int64) Step
	// Unloaded ends the machine: whoever waits is answered with err by the replies.
	Unloaded(err error) (replies []func())
}

// Transactional is a Machine whose records may belong to transactions of clients. One that is
// not passes them over.
type Transactional interface {
	// ReplayTxn is Replay for a record of a transaction, which may be open still.
	ReplayTxn(producerID int64, r Record) error
	// ReplayMarker ends the transaction of a producer.
	ReplayMarker(producerID int64, commit bool) error
}

// Log is the partition under a shard, led by this broker in one epoch: a replica.OwnLog.
type Log interface {
	// Bounds are the first offset and the end.
	Bounds() (start, end int64)
	// Read reads whole batches from off on, at least one; none starts at end or above. The last
	// one may be cut off.
	Read(off, end int64) ([]byte, error)
	// MaxBatchBytes is the size of the largest batch that Append takes.
	MaxBatchBytes() int
	// Append writes a batch at the end and returns the new end. Errors carry kafka codes.
	Append(batch []byte) (end int64, err error)
	// AppendVerified is Append for a batch of a client's transaction.
	AppendVerified(batch []byte, v *commitlog.Verification) (end int64, err error)
	// WriteMarker ends a client's transaction and returns the new end.
	WriteMarker(m replica.Marker) (end int64, err error)
	// Epoch is the leader epoch that the log is written in.
	Epoch() int32
	// WhenCommitted calls f once when the high watermark reaches end, or with the reason why
	// this leader will not see that. True: it has already, and f is not called.
	WhenCommitted(end int64, f func(error)) bool
}

// Options is what a Runtime is made of.
type Options[M Machine] struct {
	// Name is that of the machines' kind, in logs and metrics.
	Name string
	// New makes the empty machine of a shard that is led in an epoch. Its Maps are built on v.
	New func(shard, epoch int32, v *Versions) M
	// CommitTimeout is how long an event waits for the high watermark.
	CommitTimeout func() time.Duration
	Now           func() time.Time
	Logger        *slog.Logger
	Registerer    prometheus.Registerer // nil: metrics are kept and not exported
}

// loaders is how many shards load at once.
const loaders = 4

// Runtime holds the shards of one internal topic that this broker leads.
type Runtime[M Machine] struct {
	o       Options[M]
	metrics *metrics
	loading chan struct{} // a place for each loader

	mu struct {
		sync.Mutex
		shards map[int32]*shard[M]
		closed bool
		wg     sync.WaitGroup // loaders
	}
}

// New makes a Runtime without shards; Lead brings them.
func New[M Machine](o Options[M]) *Runtime[M] {
	r := &Runtime[M]{o: o, loading: make(chan struct{}, loaders)}
	r.mu.shards = map[int32]*shard[M]{}
	r.metrics = newMetrics(o.Name, o.Registerer, r.counts)
	return r
}

// Lead begins a shard on its log, which this broker leads from now on in a new epoch; a shard
// of an earlier epoch ends. An empty log is loaded at once, any other in the background.
func (r *Runtime[M]) Lead(index int32, log Log) {
	s := newShard(r, index, log)
	r.mu.Lock()
	if r.mu.closed {
		r.mu.Unlock()
		return
	}
	old := r.mu.shards[index]
	r.mu.shards[index] = s
	r.mu.Unlock()
	if old != nil {
		old.end(errMoved)
	}
	s.start()
}

var errMoved = fmt.Errorf("the leadership of the coordinator's partition has moved: %w", kafka.NotCoordinator)

// Resign ends a shard, if there is one.
func (r *Runtime[M]) Resign(index int32) {
	r.mu.Lock()
	s := r.mu.shards[index]
	delete(r.mu.shards, index)
	r.mu.Unlock()
	if s != nil {
		s.end(errMoved)
	}
}

// Do has a shard handle an event. refuse is called instead when it can't: NotCoordinator where
// there is no such shard, CoordinatorLoadInProgress while it loads. Either may happen before
// Do returns, on this goroutine, or later on another one; event and what it replies must not block.
func (r *Runtime[M]) Do(index int32, event func(m M, nowMs int64) Step, refuse func(error)) {
	r.mu.Lock()
	s := r.mu.shards[index]
	r.mu.Unlock()
	if s == nil {
		refuse(fmt.Errorf("no shard %d of the %s coordinator here: %w", index, r.o.Name, kafka.NotCoordinator))
		return
	}
	s.post(task{event: func(nowMs int64) Step { return event(s.machine, nowMs) }, refuse: refuse}, true)
}

// Shards lists the shards that this broker leads, loading ones too.
func (r *Runtime[M]) Shards() []int32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.mu.shards))
}

// Close ends all shards: whoever waits is answered with NotCoordinator.
func (r *Runtime[M]) Close() {
	r.mu.Lock()
	r.mu.closed = true
	shards := r.mu.shards
	r.mu.shards = nil
	r.mu.Unlock()
	for _, s := range shards {
		s.end(errClosed)
	}
	r.mu.wg.Wait()
}

var errClosed = fmt.Errorf("the broker is shutting down: %w", kafka.NotCoordinator)

// drop ends a shard from within.
func (r *Runtime[M]) drop(s *shard[M], why error) {
	r.mu.Lock()
	if r.mu.shards[s.index] == s {
		delete(r.mu.shards, s.index)
	}
	r.mu.Unlock()
	s.end(why)
}

// replace puts a fresh shard in the place of one that has failed, unless it has been replaced already.
func (r *Runtime[M]) replace(failed *shard[M]) {
	r.mu.Lock()
	if r.mu.shards[failed.index] != failed {
		r.mu.Unlock()
		return
	}
	s := newShard(r, failed.index, failed.log)
	r.mu.shards[failed.index] = s
	r.mu.Unlock()
	s.start()
}

// counts is how many shards there are in each state.
func (r *Runtime[M]) counts() (up, busy, down int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.mu.shards {
		switch s.status() {
		case active:
			up++
		case loading:
			busy++
		default:
			down++
		}
	}
	return up, busy, down
}
