package commitlog

import (
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/fault"
	"github.com/varve-io/varve/broker/kafka"
)

// dupBatches is how many batches of a producer are remembered to recognise a retry:
// an idempotent client has at most five requests in flight (protocol line I1).
const dupBatches = 5

// batchMeta is what is remembered of one appended batch.
type batchMeta struct {
	lastSeq     int32
	offsetDelta int32
	lastOffset  int64
	timestampMs int64
}

func (m batchMeta) firstOffset() int64 { return m.lastOffset - int64(m.offsetDelta) }

// firstSeq undoes the wrap of sequences at 2^31-1.
func (m batchMeta) firstSeq() int32 {
	if m.lastSeq >= m.offsetDelta {
		return m.lastSeq - m.offsetDelta
	}
	return int32(int64(m.lastSeq) - int64(m.offsetDelta) + math.MaxInt32 + 1)
}

// producerEntry is the state of one producer id.
type producerEntry struct {
	batches          [dupBatches]batchMeta // the last n, oldest first
	n                uint8
	epoch            int16 // -1 = none seen
	coordinatorEpoch int32
	txnFirst         int64 // first offset of the open transaction, -1 = none
	lastMs           int64 // record time of the last batch; goes into the snapshot
	seenMs           int64 // wall clock of the last batch, or of the load
}

func (e *producerEntry) push(m batchMeta) {
	if e.n == dupBatches {
		copy(e.batches[:], e.batches[1:])
		e.n--
	}
	e.batches[e.n] = m
	e.n++
}

func (e *producerEntry) lastSeq() int32 {
	if e.n == 0 {
		return -1
	}
	return e.batches[e.n-1].lastSeq
}

func (e *producerEntry) setEpoch(epoch int16) {
	if e.epoch != epoch {
		e.epoch = epoch
		e.n = 0
	}
}

// txnSpan is a transaction that is open (last < 0), or whose marker at last is not yet
// below the high watermark.
type txnSpan struct {
	first, last int64
	producerID  int64
}

// producerState is ProducerStateManager: who wrote last with which sequence, and which
// transactions are open. Only the holder of Log.appendMu reads or changes it; what
// readers need of it (open transactions) is published under Log.mu.
type producerState struct {
	byID      map[int64]*producerEntry // nil before the first one, which most partitions never see
	txns      []txnSpan                // ascending in first
	end       int64                    // state covers the log up to here
	verifying map[int64]*Verification  // by producer; see there
}

func newProducerState(end int64) *producerState {
	return &producerState{end: end}
}

// duplicate finds the batch among the last five of its producer and epoch (I1).
func (s *producerState) duplicate(h *batch.Header) (batchMeta, bool) {
	e := s.byID[h.ProducerID]
	if e == nil || e.epoch != h.ProducerEpoch {
		return batchMeta{}, false
	}
	last := h.LastSequence()
	for i, m := range e.batches[:e.n] {
		if fault.Planted(fault.BugRetryNotKnown) && i < int(e.n)-1 {
			continue
		}
		if m.firstSeq() == h.BaseSequence && m.lastSeq == last {
			return m, true
		}
	}
	return batchMeta{}, false
}

// check applies I2 and I3 to a data batch of a client: the epoch may not go back, a new
// epoch starts at sequence 0, and within an epoch sequences follow each other, wrapping
// from 2^31-1 to 0. A producer without state may start anywhere. What a coordinator writes for
// a producer has no sequence.
func (s *producerState) check(h *batch.Header, from OriginKind) error {
	e := s.byID[h.ProducerID]
	if e == nil || e.epoch < 0 {
		return nil
	}
	switch last := e.lastSeq(); {
	case h.ProducerEpoch < e.epoch:
		return fmt.Errorf("producer %d: epoch %d is older than %d: %w", h.ProducerID, h.ProducerEpoch, e.epoch, kafka.InvalidProducerEpoch)
	case from == FromCoordinator:
		return nil
	case h.ProducerEpoch > e.epoch && h.BaseSequence != 0:
		return fmt.Errorf("producer %d: sequence %d does not start epoch %d: %w", h.ProducerID, h.BaseSequence, h.ProducerEpoch, kafka.OutOfOrderSequenceNumber)
	case h.ProducerEpoch == e.epoch && !inSequence(last, h.BaseSequence):
		return fmt.Errorf("producer %d: sequence %d does not follow %d: %w", h.ProducerID, h.BaseSequence, last, kafka.OutOfOrderSequenceNumber)
	case e.txnFirst >= 0 && !h.IsTransactional():
		return fmt.Errorf("producer %d has an open transaction: %w", h.ProducerID, kafka.InvalidTxnState)
	}
	return nil
}

func inSequence(last, next int32) bool {
	return int64(next) == int64(last)+1 || next == 0 && last == math.MaxInt32
}

// entry finds or adds the producer.
func (s *producerState) entry(id int64) *producerEntry {
	e := s.byID[id]
	if e == nil {
		if s.byID == nil {
			s.byID = map[int64]*producerEntry{}
		}
		e = &producerEntry{epoch: -1, coordinatorEpoch: -1, txnFirst: -1, lastMs: kafka.NoTimestamp}
		s.byID[id] = e
	}
	return e
}

// data applies an appended data batch whose offsets are final. It checks nothing: the
// batch is in the log.
func (s *producerState) data(h *batch.Header, nowMs int64) {
	e := s.entry(h.ProducerID)
	e.setEpoch(h.ProducerEpoch)
	e.push(batchMeta{
		lastSeq: h.LastSequence(), offsetDelta: h.LastOffsetDelta,
		lastOffset: h.LastOffset(), timestampMs: h.MaxTimestampMs,
	})
	e.lastMs, e.seenMs = h.MaxTimestampMs, nowMs
	if h.IsTransactional() && e.txnFirst < 0 {
		delete(s.verifying, h.ProducerID)
		e.txnFirst = h.BaseOffset
		s.txns = append(s.txns, txnSpan{first: h.BaseOffset, last: -1, producerID: h.ProducerID})
	}
}

// endMarker is the content of a transaction marker's control record.
type endMarker struct {
	commit           bool
	coordinatorEpoch int32
}

// checkMarker fences markers of an older producer or coordinator epoch (I9). Since version 2 a
// transaction ends with a higher epoch than it had: a marker of the same epoch is a late one,
// unless it repeats the end of the last transaction. Source: KIP-1228.
func (s *producerState) checkMarker(h *batch.Header, m endMarker, txnVersion int8) error {
	e := s.byID[h.ProducerID]
	switch {
	case e == nil:
		return nil
	case h.ProducerEpoch < e.epoch, txnVersion >= 2 && h.ProducerEpoch == e.epoch && e.txnFirst >= 0 && e.epoch != math.MaxInt16:
		return fmt.Errorf("producer %d: marker of epoch %d is older than %d: %w", h.ProducerID, h.ProducerEpoch, e.epoch, kafka.InvalidProducerEpoch)
	case m.coordinatorEpoch < e.coordinatorEpoch:
		return fmt.Errorf("producer %d: marker of coordinator epoch %d is older than %d: %w", h.ProducerID, m.coordinatorEpoch, e.coordinatorEpoch, kafka.TransactionCoordinatorFenced)
	}
	return nil
}

// marker applies an appended end-of-transaction marker. It answers the entry for the
// transaction index when the marker aborted a transaction that was open here.
func (s *producerState) marker(h *batch.Header, m endMarker, nowMs int64) (AbortedTxn, bool) {
	delete(s.verifying, h.ProducerID)
	e := s.entry(h.ProducerID)
	e.setEpoch(h.ProducerEpoch)
	e.coordinatorEpoch = m.coordinatorEpoch
	e.lastMs, e.seenMs = h.MaxTimestampMs, nowMs
	if e.txnFirst < 0 {
		return AbortedTxn{}, false
	}
	t := AbortedTxn{ProducerID: h.ProducerID, FirstOffset: e.txnFirst, LastOffset: h.BaseOffset, LastStable: h.BaseOffset + 1}
	e.txnFirst = -1
	for i := range s.txns {
		switch span := &s.txns[i]; {
		case span.last >= 0: // finished
		case span.first == t.FirstOffset && span.producerID == h.ProducerID:
			span.last = h.BaseOffset
		default:
			t.LastStable = min(t.LastStable, span.first)
		}
	}
	return t, !m.commit
}

// settle forgets finished transactions whose marker lies below highWatermark.
func (s *producerState) settle(highWatermark int64) {
	s.txns = slices.DeleteFunc(s.txns, func(t txnSpan) bool { return t.last >= 0 && t.last < highWatermark })
}

// expire forgets producers that wrote nothing for idleMs, by the later of their record
// time and the wall clock, but never one with an open transaction (I4).
func (s *producerState) expire(nowMs, idleMs int64) {
	for id, e := range s.byID {
		if e.txnFirst < 0 && nowMs-max(e.lastMs, e.seenMs) >= idleMs {
			delete(s.byID, id)
		}
	}
	for id, v := range s.verifying {
		if nowMs-v.startedMs >= producerSweepMs {
			delete(s.verifying, id)
		}
	}
}

// load replaces the state by a decoded snapshot that covers the log up to end.
func (s *producerState) load(entries []ProducerSnapshotEntry, end, nowMs int64) {
	*s = *newProducerState(end)
	if len(entries) > 0 {
		s.byID = make(map[int64]*producerEntry, len(entries))
	}
	for _, p := range entries {
		e := &producerEntry{
			epoch: p.Epoch, coordinatorEpoch: p.CoordinatorEpoch, txnFirst: p.TxnFirstOffset,
			lastMs: p.TimestampMs, seenMs: nowMs,
		}
		if p.LastOffset >= 0 {
			e.push(batchMeta{lastSeq: p.LastSequence, offsetDelta: p.OffsetDelta, lastOffset: p.LastOffset, timestampMs: p.TimestampMs})
		}
		s.byID[p.ProducerID] = e
		if p.TxnFirstOffset >= 0 {
			s.txns = append(s.txns, txnSpan{first: p.TxnFirstOffset, last: -1, producerID: p.ProducerID})
		}
	}
	sort.Slice(s.txns, func(i, j int) bool { return s.txns[i].first < s.txns[j].first })
}

// older puts a batch from before the snapshot in front of its producer's remembered
// ones. A snapshot holds only the last batch of each producer; without this a retry of
// the four before it would be refused after a restart.
func (s *producerState) older(h *batch.Header) {
	e := s.byID[h.ProducerID]
	if e == nil || e.epoch != h.ProducerEpoch || e.n == dupBatches || e.n == 0 || h.LastOffset() >= e.batches[0].firstOffset() {
		return
	}
	copy(e.batches[1:], e.batches[:e.n])
	e.batches[0] = batchMeta{lastSeq: h.LastSequence(), offsetDelta: h.LastOffsetDelta, lastOffset: h.LastOffset(), timestampMs: h.MaxTimestampMs}
	e.n++
}

// snapshot lists the state ascending in producer id.
func (s *producerState) snapshot() []ProducerSnapshotEntry {
	out := make([]ProducerSnapshotEntry, 0, len(s.byID))
	for id, e := range s.byID {
		p := ProducerSnapshotEntry{
			ProducerID: id, Epoch: e.epoch, LastSequence: -1, LastOffset: -1,
			TimestampMs: e.lastMs, CoordinatorEpoch: e.coordinatorEpoch, TxnFirstOffset: e.txnFirst,
		}
		if e.n > 0 {
			m := e.batches[e.n-1]
			p.LastSequence, p.LastOffset, p.OffsetDelta = m.lastSeq, m.lastOffset, m.offsetDelta
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b ProducerSnapshotEntry) int {
		if a.ProducerID < b.ProducerID {
			return -1
		}
		return 1
	})
	return out
}
