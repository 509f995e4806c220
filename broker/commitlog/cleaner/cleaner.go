// Package cleaner compacts logs: of the records with one key it keeps the newest, as
// Kafka's LogCleaner does (cleanup.policy=compact).
//
// It owns the choice of what to clean, the map of keys, what stays of a batch (KIP-58,
// KIP-98, KIP-354, KIP-534), the rate, and the checkpoint of how far each log is clean. It
// does not own files: commitlog reads the old segments, writes the new ones and swaps them.
// Nor does it know who leads a partition; each replica's log is cleaned where it lies.
//
// Run is called once; the other methods may be called from any goroutine. There is one
// goroutine for all logs, and one more for each log that is being cleaned; a log that has
// nothing to clean costs a look at what is in memory. Locks: Cleaner.writeMu, then
// Cleaner.mu; neither is held over the work on a log. Format page: docs/formats/log.md.
package cleaner

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// Partition is a replica whose log is compacted.
type Partition struct {
	Log *commitlog.Log
	// StableEnd is the offset below which nothing changes any more: the high watermark, or the
	// first offset of an open transaction. It may read the log's files.
	StableEnd func() int64
	Policy    Policy
}

// Settings are the broker's, Kafka's log.cleaner.*.
type Settings struct {
	Threads           int     // logs cleaned at once; 0 = none
	DedupeBytes       int64   // of all key maps together
	LoadFactor        float64 // how full a key map may become
	IOBufferBytes     int64   // of all read and write buffers together
	MaxBytesPerSecond float64 // read and written together
	Backoff           time.Duration
}

// Options is what a Cleaner is made of.
type Options struct {
	FS         vfs.FS
	Partitions func() iter.Seq[Partition] // the compacted partitions of this moment
	Settings   func() Settings
	Now        func() time.Time // wall clock, for lags and horizons
	Logger     *slog.Logger
	Registerer prometheus.Registerer // may be nil
}

// Cleaner compacts the logs of one broker.
type Cleaner struct {
	o        Options
	metrics  *metrics
	throttle throttle

	writeMu sync.Mutex // one writer of checkpoints

	mu struct {
		sync.Mutex
		logs map[*commitlog.Log]*logState
		dirs map[string]map[kafka.TopicPartition]int64 // what was read from the checkpoints
		look uint64                                    // number of the last look at all logs
	}
}

// logState is what is remembered of a compacted log.
type logState struct {
	cleaned int64 // as the checkpoint is to say it
	busy    bool
	failed  error // it is not cleaned any more
	retryMs int64 // not before
	look    uint64
}

// New makes a Cleaner; Run starts it.
func New(o Options) *Cleaner {
	c := &Cleaner{o: o}
	c.mu.logs = map[*commitlog.Log]*logState{}
	c.mu.dirs = map[string]map[kafka.TopicPartition]int64{}
	c.metrics = newMetrics(c, o.Registerer)
	return c
}

// Run cleans, the filthiest log first, until ctx ends and what was under way is given up.
func (c *Cleaner) Run(ctx context.Context) {
	done := make(chan struct{})
	active := 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			for ; active > 0; active-- {
				<-done
			}
			return
		case <-done:
			active--
		case <-timer.C:
		}
		for active < c.o.Settings().Threads && ctx.Err() == nil {
			j := c.pick()
			if j == nil {
				break
			}
			active++
			go func() {
				c.clean(ctx, j)
				done <- struct{}{}
			}()
		}
		timer.Reset(max(c.o.Settings().Backoff, time.Millisecond))
	}
}

// CleanOne cleans the filthiest log on the caller's goroutine. It answers false when none
// is due.
func (c *Cleaner) CleanOne(ctx context.Context) bool {
	j := c.pick()
	if j == nil {
		return false
	}
	c.clean(ctx, j)
	return true
}

// job is a log that was picked.
type job struct {
	part  Partition
	plan  plan
	state *logState
}

// looksPerRun is how many logs whose files nobody has read since the start are read in one
// look, to find out what of them is dirty.
const looksPerRun = 32

// pick looks at all compacted logs and takes the filthiest of those that are due; nil when
// none is.
func (c *Cleaner) pick() *job {
	nowMs := c.o.Now().UnixMilli()
	c.metrics.lastRunMs.Store(nowMs)
	c.mu.Lock()
	c.mu.look++
	look := c.mu.look
	c.mu.Unlock()
	var best *job
	maxDirty, reads := 0.0, looksPerRun
	for p := range c.o.Partitions() {
		st := c.state(p.Log, look)
		if st == nil {
			continue
		}
		j, err := c.consider(st, p, nowMs, &reads)
		if err != nil {
			c.fail(st, p, err)
			continue
		}
		if j == nil {
			continue
		}
		maxDirty = max(maxDirty, j.plan.ratio())
		if j.plan.due(p.Policy) && (best == nil || j.plan.ratio() > best.plan.ratio()) {
			best = j
		}
	}
	c.metrics.maxDirty.set(maxDirty)
	c.forget(look)
	if best == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if best.state.busy {
		return nil
	}
	best.state.busy = true
	return best
}

// state finds what is remembered of a log; nil when it is not to be cleaned now. A log that
// was not there before is told what the checkpoint of its directory says.
func (c *Cleaner) state(log *commitlog.Log, look uint64) *logState {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.mu.logs[log]
	if st == nil {
		dir := log.Dir()
		if _, read := c.mu.dirs[dir]; !read {
			c.mu.dirs[dir] = c.readCheckpoint(dir)
		}
		st = &logState{}
		if commitlog.CleanedKept(log) {
			st.cleaned = c.mu.dirs[dir][log.TopicPartition()]
		}
		if v, ok := commitlog.ViewCompaction(log, false); ok {
			st.cleaned = max(st.cleaned, v.Cleaned) // it came from another directory in this life
		}
		delete(c.mu.dirs[dir], log.TopicPartition()) // a later log of that name is another one
		c.mu.logs[log] = st
		commitlog.SetCleaned(log, st.cleaned)
	}
	st.look = look
	if st.busy || st.failed != nil || c.o.Now().UnixMilli() < st.retryMs {
		return nil
	}
	return st
}

// forget drops what is remembered of logs that were not among the partitions of a look, and
// writes the checkpoints without them: a later topic of that name starts anew.
func (c *Cleaner) forget(look uint64) {
	gone := map[string]bool{}
	c.mu.Lock()
	for log, st := range c.mu.logs {
		if st.look < look && !st.busy {
			delete(c.mu.logs, log)
			if st.cleaned > 0 && errors.Is(log.Err(), commitlog.ErrClosed) {
				gone[log.Dir()] = true
			}
		}
	}
	c.mu.Unlock()
	for dir := range gone {
		c.writeCheckpoint(dir)
	}
}

// consider plans the cleaning of a log, nil when there is nothing to think about. Files are
// read for the first look only, and for so many logs at a time.
func (c *Cleaner) consider(st *logState, p Partition, nowMs int64, reads *int) (*job, error) {
	v, ok := commitlog.ViewCompaction(p.Log, false)
	if ok && !v.Loaded {
		if v.Start == v.End || v.Cleaned >= v.End || *reads == 0 {
			return nil, nil
		}
		*reads--
		v, ok = commitlog.ViewCompaction(p.Log, true)
	}
	if !ok || len(v.Segments) < 2 {
		return nil, nil
	}
	pl, err := makePlan(v, p.Policy, p.StableEnd(), nowMs, func(base int64) (int64, error) { return commitlog.FirstTimestamp(p.Log, base) })
	if errors.Is(err, kafka.OffsetOutOfRange) { // the log changed meanwhile
		return nil, nil
	}
	c.mu.Lock()
	st.cleaned = min(st.cleaned, v.Cleaned) // a truncation has moved it
	c.mu.Unlock()
	return &job{part: p, plan: pl, state: st}, err
}

// retryAfter is how long a log waits whose cleaning found no room, or no descriptor.
const retryAfter = time.Minute

// clean cleans one log and says how it went.
func (c *Cleaner) clean(ctx context.Context, j *job) {
	s := c.o.Settings()
	r := newRound(ctx, c, j, s)
	began := time.Now()
	cleaned, err := r.run()
	elapsed := time.Since(began)
	c.count(r, elapsed)
	tp := j.part.Log.TopicPartition().String()
	if err == nil {
		commitlog.SetCleaned(j.part.Log, cleaned)
		c.mu.Lock()
		j.state.cleaned = cleaned
		c.mu.Unlock()
		if c.writeCheckpoint(j.part.Log.Dir()) {
			commitlog.KeepCleaned(j.part.Log)
		}
		c.metrics.rounds.WithLabelValues("cleaned").Inc()
		c.o.Logger.Info("compacted a log", "partition", tp, "from", j.plan.first, "to", cleaned, "segments", r.stats.segments,
			"rewritten", r.stats.rewritten, "into", r.stats.made, "records", r.stats.records, "kept", r.stats.kept,
			"readBytes", r.stats.mapBytes+r.stats.readBytes, "writtenBytes", r.stats.writtenBytes, "mapUse", r.stats.mapUse, "elapsed", elapsed)
		if r.stats.undecodable > 0 || r.stats.keyless > 0 {
			c.o.Logger.Warn("compaction met batches that do not decode, which it keeps, or records without key, which it drops",
				"partition", tp, "batches", r.stats.undecodable, "records", r.stats.keyless)
		}
	} else {
		c.fail(j.state, j.part, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	j.state.busy = false
}

func (c *Cleaner) count(r *round, elapsed time.Duration) {
	c.metrics.read.Add(float64(r.stats.mapBytes + r.stats.readBytes))
	c.metrics.written.Add(float64(r.stats.writtenBytes))
	c.metrics.undecodable.Add(float64(r.stats.undecodable))
	c.metrics.keyless.Add(float64(r.stats.keyless))
	c.metrics.lastSeconds.set(elapsed.Seconds())
}

// fail decides what becomes of a log that could not be cleaned.
func (c *Cleaner) fail(st *logState, p Partition, err error) {
	tp := p.Log.TopicPartition().String()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, commitlog.ErrChanged), errors.Is(err, commitlog.ErrClosed), errors.Is(err, kafka.OffsetOutOfRange):
		c.metrics.rounds.WithLabelValues("interrupted").Inc()
	case errors.Is(err, kafka.KafkaStorageError) && !errors.Is(err, kafka.ErrCorrupt):
		st.retryMs = c.o.Now().Add(retryAfter).UnixMilli()
		c.metrics.rounds.WithLabelValues("postponed").Inc()
		c.o.Logger.Warn("compaction waits; it is tried again", "partition", tp, "after", retryAfter, "error", err)
	default:
		st.failed = fmt.Errorf("partition %s is not compacted any more: %w", tp, err)
		c.metrics.rounds.WithLabelValues("failed").Inc()
		c.o.Logger.Error("a log can't be compacted and grows until the broker is restarted; it is served as before", "partition", tp, "error", err)
	}
}

// uncleanable counts the logs whose cleaning failed.
func (c *Cleaner) uncleanable() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, st := range c.mu.logs {
		if st.failed != nil {
			n++
		}
	}
	return n
}
