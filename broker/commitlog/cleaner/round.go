package cleaner

import (
	"context"
	"errors"
	"fmt"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/fault"
	"github.com/varve-io/varve/broker/kafka"
)

// stats is what a round did.
type stats struct {
	mapBytes, readBytes, writtenBytes int64
	records, kept                     int64
	keyless                           int64 // records without key: they go, as in Kafka
	undecodable                       int64 // batches kept as they are, because they don't decode
	segments, rewritten, made         int   // looked at, replaced, in their place
	mapUse                            float64
}

// round cleans one log once. It belongs to one goroutine.
type round struct {
	log    *commitlog.Log
	plan   plan
	policy Policy
	nowMs  int64
	pay    func(bytes int) error // waits until so many bytes may be read or written
	room   []byte                // for reading
	write  int                   // bytes written at a time
	keys   *offsetMap
	latest int64 // the map holds every key up to this offset
	txns   *txns
	last   map[int64]lastRecord // by producer
	out    []byte
	stats  stats
}

// lastRecord is what must stay of a producer so that its state survives.
type lastRecord struct {
	offset int64 // of its last data batch, -1 = none since its epoch began
	epoch  int16
}

// errFull ends the reading of keys.
var errFull = errors.New("the key map is full")

// run answers up to where the log is clean now.
func (r *round) run() (cleaned int64, err error) {
	producers, err := commitlog.Producers(r.log)
	if err != nil {
		return 0, err
	}
	r.last = make(map[int64]lastRecord, len(producers))
	for _, p := range producers {
		r.last[p.ProducerID] = lastRecord{offset: p.LastOffset, epoch: p.Epoch}
	}
	if err := r.readKeys(); err != nil {
		return 0, err
	}
	r.stats.mapUse = float64(r.keys.keys) / float64(r.keys.n)
	cleaned = r.latest + 1
	if cleaned <= r.plan.first {
		return 0, fmt.Errorf("one batch has more keys than the map of %d: raise log.cleaner.dedupe.buffer.size: %w", r.keys.limit, kafka.InvalidConfig)
	}
	n := 0
	for n < len(r.plan.segments) && r.plan.segments[n].Base < cleaned {
		n++
	}
	r.txns = newTxns()
	for _, g := range groups(r.plan.segments[:n], r.policy) {
		if err := r.group(g); err != nil {
			return 0, err
		}
	}
	return cleaned, nil
}

// readKeys fills the map from the dirty part. When it is full the round ends there: the rest
// is another round's.
func (r *round) readKeys() error {
	r.txns, r.latest = newTxns(), r.plan.first-1
	for _, s := range r.plan.segments {
		if s.Next <= r.plan.first {
			continue
		}
		if err := r.addAborted(s); err != nil {
			return err
		}
		err := commitlog.ScanSegment(r.log, s.Base, r.plan.first, r.room, r.readBatchKeys)
		if errors.Is(err, errFull) {
			return nil
		}
		if err != nil {
			return err
		}
		r.latest = s.Next - 1
	}
	return nil
}

func (r *round) addAborted(s commitlog.CompactionSegment) error {
	list, err := r.log.AbortedTxns(s.Base, s.Next)
	if err == nil {
		r.txns.add(list)
	}
	return err
}

func (r *round) readBatchKeys(b []byte, h batch.Header) error {
	if err := r.pay(len(b)); err != nil {
		return err
	}
	r.stats.mapBytes += int64(len(b))
	switch {
	case h.IsControl():
		r.txns.marker(b, h)
	case r.txns.data(h):
	default:
		full := false
		// What does not decode has no keys to tell of; it is counted when it is kept.
		_ = batch.Keys(b, batch.Limits{}, func(k batch.Kept) {
			switch {
			case k.Key == nil || k.Offset < r.plan.first:
			case r.keys.full():
				full = true
			default:
				r.keys.put(k.Key, k.Offset)
			}
		})
		if full {
			return errFull
		}
	}
	r.latest = h.LastOffset()
	return nil
}

// group cleans segments into one. A segment that is alone and loses nothing is left as it is:
// nothing is written before the first batch that changes.
func (r *round) group(g []commitlog.CompactionSegment) error {
	var bases []int64
	for _, s := range g {
		bases = append(bases, s.Base)
	}
	r.stats.segments += len(g)
	w := &groupWriter{r: r, bases: bases}
	err := w.fill(g)
	if w.rewrite == nil {
		return err
	}
	if err != nil {
		w.rewrite.Discard()
		return err
	}
	if err := w.rewrite.Swap(); err != nil {
		return err
	}
	r.stats.rewritten += len(g)
	r.stats.made++
	return nil
}

// groupWriter writes what is left of a group.
type groupWriter struct {
	r       *round
	bases   []int64
	rewrite *commitlog.Rewrite
	aborted []commitlog.AbortedTxn // of before there was a rewrite
}

func (w *groupWriter) fill(g []commitlog.CompactionSegment) error {
	if len(g) > 1 {
		if err := w.begin(); err != nil {
			return err
		}
	}
	for _, s := range g {
		if err := w.r.addAborted(s); err != nil {
			return err
		}
		if err := commitlog.ScanSegment(w.r.log, s.Base, s.Base, w.r.room, w.batch); err != nil {
			return err
		}
	}
	return nil
}

func (w *groupWriter) begin() (err error) {
	w.rewrite, err = commitlog.NewRewrite(w.r.log, w.bases, w.r.write)
	for _, t := range w.aborted {
		if err == nil {
			w.rewrite.AddAborted(t)
		}
	}
	return err
}

// batch takes in the next batch of the group.
func (w *groupWriter) batch(b []byte, h batch.Header) error {
	r := w.r
	if err := r.pay(len(b)); err != nil {
		return err
	}
	r.stats.readBytes += int64(len(b))
	left, entry := r.retain(b, h)
	if entry != nil && !fault.Planted(fault.BugAbortedNotCarried) {
		w.aborted = append(w.aborted, *entry)
		if w.rewrite != nil {
			w.rewrite.AddAborted(*entry)
		}
	}
	same := left != nil && &left[0] == &b[0]
	switch {
	case w.rewrite == nil && same:
		return nil
	case w.rewrite == nil:
		left = append([]byte(nil), left...) // begin, and what it copies, need the buffers
		if err := w.catchUp(h.BaseOffset); err != nil {
			return err
		}
	}
	if len(left) == 0 {
		return nil
	}
	h, err := batch.ParseHeader(left)
	if err != nil {
		return fmt.Errorf("BUG: a compacted batch: %w", err)
	}
	return w.append(left, h)
}

func (w *groupWriter) append(b []byte, h batch.Header) error {
	if err := w.r.pay(len(b)); err != nil {
		return err
	}
	w.r.stats.writtenBytes += int64(len(b))
	return w.rewrite.Append(b, h)
}

// errReached ends catchUp.
var errReached = errors.New("caught up")

// catchUp begins to write, with the batches below offset, which stay as they are.
func (w *groupWriter) catchUp(offset int64) error {
	if err := w.begin(); err != nil {
		return err
	}
	err := commitlog.ScanSegment(w.r.log, w.bases[0], w.bases[0], make([]byte, len(w.r.room)), func(b []byte, h batch.Header) error {
		if h.BaseOffset >= offset {
			return errReached
		}
		w.r.stats.readBytes += int64(len(b))
		return w.append(b, h)
	})
	if errors.Is(err, errReached) {
		return nil
	}
	return err
}

// retain answers what is left of a batch: b itself, another one that is good until the next
// call, or nil. For the marker of an abort some of whose data is left it also answers what
// the transaction index says. Source: Cleaner.cleanInto.
func (r *round) retain(b []byte, h batch.Header) (left []byte, entry *commitlog.AbortedTxn) {
	var gone bool // the batch is not needed any more
	horizonMs, hasHorizon := h.DeleteHorizonMs()
	rules := batch.Retention{HorizonMs: r.nowMs + r.policy.DeleteRetentionMs}
	if h.IsControl() {
		var done bool
		done, entry = r.txns.marker(b, h)
		rules.Marker = done
		gone = done && hasHorizon && horizonMs <= r.nowMs
	} else {
		gone = r.txns.data(h)
	}
	r.stats.records += int64(h.Count)
	if !gone && h.Count > 0 && !h.IsControl() && h.BaseOffset > r.latest {
		r.stats.kept += int64(h.Count) // the map does not know its keys
		return b, entry
	}
	rules.Keep = func(k batch.Kept) bool {
		return h.IsControl() || r.keep(k, hasHorizon && horizonMs <= r.nowMs)
	}
	if !gone { // what goes need not decode
		got, err := batch.Retain(r.out[:0], b, rules)
		if err != nil {
			r.stats.undecodable++
			return b, entry
		}
		r.stats.kept += int64(got.Kept)
		if got.Batch != nil {
			if &got.Batch[0] != &b[0] {
				r.out = got.Batch[:0]
			}
			return got.Batch, entry
		}
	}
	switch {
	case !r.needed(h):
		return nil, entry
	case h.Count == 0, h.IsControl(): // of a marker the epoch counts, which is read with its record
		return b, entry
	}
	r.out = batch.Hollow(r.out[:0], h)
	return r.out, entry
}

// keep says whether a record of the map's range stays.
func (r *round) keep(k batch.Kept, deletesOver bool) bool {
	if k.Offset > r.latest {
		return true
	}
	if k.Key == nil {
		r.stats.keyless++
		return false
	}
	return k.Offset >= r.keys.get(k.Key) && !(k.Null && (deletesOver || fault.Planted(fault.BugTombstoneEarly)))
}

// needed says whether a batch stays even without records: it is the last one of its producer,
// or the last one of the range, whose last offset must stay known.
func (r *round) needed(h batch.Header) bool {
	if h.LastOffset()+1 == r.plan.limit {
		return true
	}
	if !h.HasProducerID() || fault.Planted(fault.BugProducerBatchLost) {
		return false
	}
	p, ok := r.last[h.ProducerID]
	if !ok {
		return false
	}
	if p.offset >= 0 {
		return h.LastOffset() == p.offset
	}
	return h.IsControl() && h.ProducerEpoch == p.epoch
}

// newRound prepares a round. maxKeyBytes and ioBytes are one round's share of the settings.
func newRound(ctx context.Context, c *Cleaner, j *job, s Settings) *round {
	p := j.plan
	share := int64(max(s.Threads, 1))
	io := int(min(max(s.IOBufferBytes/share/2, minIOBytes), maxIOBytes))
	return &round{
		log: j.part.Log, plan: p, policy: j.part.Policy, nowMs: c.o.Now().UnixMilli(),
		pay:  func(n int) error { return c.throttle.take(ctx, n, c.o.Settings().MaxBytesPerSecond) },
		room: make([]byte, io), write: io,
		keys: newOffsetMap(s.DedupeBytes/share, s.LoadFactor, p.limit-p.first),
	}
}

// A round reads and writes by at least so much, and by no more.
const (
	minIOBytes = 64 << 10
	maxIOBytes = 8 << 20
)
