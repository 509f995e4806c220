// Package txn is the transaction coordinator: transactional ids, their producers and their
// transactions.
//
// It owns the state of each transactional id, the fencing of its earlier producers, the
// partitions of an open transaction, its end, the writing of the markers until every partition
// has its own, time-outs and expiry, and the records in which Kafka stores them. It does not
// own the log, timers and the order of events (broker/coordinator), what a marker does in a
// partition (broker/commitlog) and to a group's offsets (broker/coordinator/group), nor
// versions and errors of requests as clients see them (broker/api).
//
// A Shard is a step function: state and event in; state, records, replies and timers out. It
// does no I/O and reads no clock, and belongs to its coordinator.Runtime. A Coordinator may be
// used from any goroutine.
//
// A transaction is decided when the record of its end (PrepareCommit, PrepareAbort) is
// committed. After a crash the markers of a decided transaction are written again, also into
// partitions that have theirs already, where a second one changes nothing.
//
// Rules: Kafka's transaction coordinator; KIP-98, KIP-360 (epochs), KIP-664 (tools), KIP-890
// (version 2). Format: docs/formats/transaction-state.md.
package txn

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/varve-io/varve/broker/kafka"
)

// Config is the settings of transactions. All times are in milliseconds.
type Config struct {
	MaxTimeoutMs          int64 // the longest time-out that a producer may ask for
	ExpirationMs          int64 // of an id that is not used
	AbortCheckIntervalMs  int64 // how often transactions that have timed out are looked for
	ExpireCheckIntervalMs int64 // how often ids that have expired are
}

// The versions of transactions (KIP-890). Since version 2 each transaction has an epoch of
// its own, and partitions are added by the requests that write into them.
const (
	Version0 int8 = 0
	Version2 int8 = 2
)

// State is where a transactional id is in its life, by the number that Kafka stores.
type State int8

// The states. An id that does not exist is Dead.
const (
	Empty State = iota
	Ongoing
	PrepareCommit
	PrepareAbort
	CompleteCommit
	CompleteAbort
	Dead
	PrepareEpochFence
)

var stateNames = [...]string{"Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort", "Dead", "PrepareEpochFence"}

// String is Kafka's name of the state.
func (s State) String() string { return stateNames[s] }

// stateNamed finds a state by its name.
func stateNamed(name string) (State, bool) {
	i := slices.Index(stateNames[:], name)
	return State(i), i >= 0
}

// decided says whether the transaction has ended and not every partition may know it.
func (s State) decided() bool { return s == PrepareCommit || s == PrepareAbort }

// entry is the state of a transactional id. It is never changed in place.
type entry struct {
	producerID int64
	previousID int64 // the producer id before the last change
	nextID     int64 // of the next transaction, where the epochs of this one are used up
	epoch      int16 // of the producer; -1: none was given out yet
	lastEpoch  int16 // before it was bumped for a producer that named it; -1: none
	timeoutMs  int32
	state      State
	partitions []kafka.TopicPartition // of the transaction, ascending
	startMs    int64                  // of the transaction, -1 without one
	updatedMs  int64
	version    int8 // of the transaction
}

// exhausted says whether an epoch is the last that a producer gets: one more is kept, with
// which it can be fenced.
func exhausted(epoch int16) bool { return epoch >= math.MaxInt16-1 }

// to begins a change of the state.
func (m entry) to(s State, nowMs int64) entry {
	m.previousID, m.state, m.updatedMs = m.producerID, s, nowMs
	return m
}

// begin is the state without a transaction, for a producer that begins.
func (m entry) begin(timeoutMs int32, nowMs int64) entry {
	m = m.to(Empty, nowMs)
	m.timeoutMs, m.partitions, m.startMs = timeoutMs, nil, -1
	return m
}

// add is the state with more partitions in the transaction.
func (m entry) add(partitions []kafka.TopicPartition, version int8, nowMs int64) entry {
	if m.state != Ongoing {
		m.startMs = nowMs
	}
	m = m.to(Ongoing, nowMs)
	m.version = version
	m.partitions = slices.Concat(m.partitions, partitions)
	slices.SortFunc(m.partitions, compareTP)
	m.partitions = slices.Compact(m.partitions)
	return m
}

// end is the state with the end of the transaction decided.
func (m entry) end(commit bool, version int8, nextID int64, nowMs int64) entry {
	started := m.state == Ongoing
	if m = m.to(PrepareAbort, nowMs); commit {
		m.state = PrepareCommit
	}
	if version >= Version2 {
		m.lastEpoch = m.epoch
		if m.epoch < math.MaxInt16 {
			m.epoch++
		}
		m.nextID = nextID
	}
	if !started { // an abort of nothing, which bumps the epoch
		m.startMs = nowMs
	}
	m.version = version
	return m
}

// complete is the state when every partition has its marker.
func (m entry) complete(nowMs int64) entry {
	to, nextID := CompleteAbort, m.nextID
	if m.state == PrepareCommit {
		to = CompleteCommit
	}
	m = m.to(to, nowMs)
	if m.version >= Version2 && nextID != kafka.NoProducerID {
		m.producerID, m.epoch = nextID, 0
	}
	m.nextID, m.partitions = kafka.NoProducerID, nil
	return m
}

// has says whether the transaction includes a partition.
func (m entry) has(tp kafka.TopicPartition) bool {
	_, ok := slices.BinarySearchFunc(m.partitions, tp, compareTP)
	return ok
}

// hasAll says whether it includes all of them.
func (m entry) hasAll(partitions []kafka.TopicPartition) bool {
	return !slices.ContainsFunc(partitions, func(tp kafka.TopicPartition) bool { return !m.has(tp) })
}

func compareTP(a, b kafka.TopicPartition) int {
	return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}
