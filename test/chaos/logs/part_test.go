package logs

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
)

// part is the flat model of a partition.
type part struct {
	tp  kafka.TopicPartition
	id  kafka.UUID
	log *commitlog.Log
	c   commitlog.Config

	all     []entry // every batch but for what was truncated, in order
	base    int64   // where the log began, at its first day or its last reset
	epoch   int32
	raised  int64 // the highest log start that was ever asked for
	since   int   // index of the first entry of this life
	resting bool  // it failed, and waits for the next start
	dark    bool  // the power failed since its last start

	// Guarded by world.mu, and as they were when the process ended.
	acked   int64    // nothing below it may be missing after a kill
	floor   int64    // nor after a power cut
	start   int64    // the log start may not be lower
	unclear bool     // it is being deleted or reset
	dirs    []string // where the metadata has the log, and where a move may have left it
}

// entry is one batch.
type entry struct {
	base, next int64
	raw        []byte
	recs       []record
	epoch      int32
	pid        int64 // 0 for a plain batch
	pepoch     int16
	seq        int32
	txn        bool
	marker     bool
	commit     bool
}

// record is one record; coveredMs is the time of the first cleaning that may have reached it.
type record struct {
	key, value string
	null       bool
	tsMs       int64
	coveredMs  int64
}

func (f *part) end() int64 {
	if len(f.all) == 0 {
		return f.base
	}
	return f.all[len(f.all)-1].next
}

// settings draws those that may change nothing that a client sees.
func (f *part) settings(r *rand.Rand) {
	f.c.SegmentBytes = int64(1500 + r.IntN(1<<(8+r.IntN(8))))
	f.c.IndexIntervalBytes = int64(r.IntN(1 << r.IntN(13)))
	f.c.SegmentIndexBytes = int64(commitlog.MinSegmentIndexBytes + r.IntN(1000))
	f.c.FileDeleteDelayMs = int64(r.IntN(3) * 500)
	f.c.SegmentMs = int64(1000 + r.IntN(1<<(10+r.IntN(20))))
	f.c.FlushMessages, f.c.FlushMs = math.MaxInt64, math.MaxInt64
	switch r.IntN(10) {
	case 0:
		f.c.FlushMessages = 1 + r.Int64N(5)
	case 1:
		f.c.FlushMs = r.Int64N(500)
	}
	if r.IntN(5) == 0 {
		f.c.Group = !f.c.Group
	}
}

// producer is what a log must know of a producer.
type producer struct {
	epoch    int16
	lastSeq  int32 // -1 = none in this epoch
	txnFirst int64 // -1 = none is open
}

// aborted is an entry of the transaction index.
type aborted struct{ pid, first, last int64 }

// producers derives the producers, and the transactions that ended in an abort.
func (f *part) producers() (map[int64]producer, []aborted) {
	out, gone := map[int64]producer{}, []aborted(nil)
	for _, e := range f.all {
		if e.pid == 0 {
			continue
		}
		p, ok := out[e.pid]
		if !ok || p.epoch != e.pepoch {
			first := int64(-1)
			if ok {
				first = p.txnFirst
			}
			p = producer{epoch: e.pepoch, lastSeq: -1, txnFirst: first}
		}
		switch {
		case e.marker:
			if p.txnFirst >= 0 && !e.commit {
				gone = append(gone, aborted{e.pid, p.txnFirst, e.base})
			}
			p.txnFirst = -1
		default:
			if p.lastSeq = e.seq + int32(len(e.recs)) - 1; e.txn && p.txnFirst < 0 {
				p.txnFirst = e.base
			}
		}
		out[e.pid] = p
	}
	return out, gone
}

// stable is the last stable offset.
func (f *part) stable() int64 {
	s := f.end()
	producers, _ := f.producers()
	for _, p := range producers {
		if p.txnFirst >= 0 {
			s = min(s, max(p.txnFirst, f.log.LogStart()))
		}
	}
	return s
}

// plain, idempotent and transactional producers, by id: 0, 1 and 2, 3 and 4.
const (
	producerIDs = 5
	firstTxnID  = 3
)

// build makes the next batch of a producer, a marker at times.
func (f *part) build(r *rand.Rand) entry {
	e := entry{base: f.end(), epoch: f.epoch, pid: r.Int64N(producerIDs)}
	producers, _ := f.producers()
	p, known := producers[e.pid]
	e.pepoch = p.epoch
	if known && p.txnFirst >= 0 && r.IntN(3) == 0 {
		return f.buildMarker(r, e)
	}
	if known {
		e.seq = p.lastSeq + 1
	}
	e.txn = e.pid >= firstTxnID && (known && p.txnFirst >= 0 || r.IntN(2) == 0)
	b := batch.Builder{Codec: []batch.Codec{batch.None, batch.None, batch.LZ4, batch.Snappy}[r.IntN(4)]}
	if e.pid > 0 {
		b.ProducerID, b.ProducerEpoch, b.BaseSequence = e.pid, e.pepoch, e.seq
	}
	if e.txn {
		b.Attributes = batch.Transactional
	}
	size := r.IntN(1 << r.IntN(12))
	for i := range 1 + r.IntN(4) {
		rec := record{key: fmt.Sprint("k", r.IntN(12)), null: f.c.Compact && r.IntN(6) == 0, tsMs: time.Now().UnixMilli() + int64(r.IntN(1000))}
		if !rec.null {
			filler := make([]byte, size)
			for j := range filler {
				filler[j] = byte('a' + r.IntN(26))
			}
			rec.value = fmt.Sprintf("%s/%x/%d.%d %s", f.tp, f.id[:1], e.base, i, filler)
			b.Append([]byte(rec.key), []byte(rec.value), nil, rec.tsMs)
		} else {
			b.Append([]byte(rec.key), nil, nil, rec.tsMs)
		}
		e.recs = append(e.recs, rec)
	}
	e.raw, e.next = b.Bytes(), e.base+int64(len(e.recs))
	return e
}

// buildMarker ends a transaction; as after a fencing, the marker may bring a new epoch.
func (f *part) buildMarker(r *rand.Rand, e entry) entry {
	kind := batch.Abort
	if e.commit = r.IntN(2) == 0; e.commit {
		kind = batch.Commit
	}
	if r.IntN(4) == 0 {
		e.pepoch++
	}
	e.marker, e.txn, e.next = true, true, e.base+1
	e.raw = batch.ControlBatch(kind, 0, e.pid, e.pepoch, time.Now().UnixMilli())
	return e
}

// cut takes the batches from index i on off.
func (f *part) cut(i int) {
	f.all = f.all[:i:i]
	f.since = min(f.since, i)
}

// at is the index of the batch that holds an offset, len(all) behind the end.
func (f *part) at(off int64) int {
	i, _ := slices.BinarySearchFunc(f.all, off, func(e entry, off int64) int {
		if e.next <= off {
			return -1
		}
		return 1
	})
	return i
}
