package replica

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// FetchParams is what a fetch asks for.
type FetchParams struct {
	MaxWait       time.Duration
	MinBytes      int64
	MaxBytes      int64
	ReadCommitted bool // stop at the last stable offset, and name the aborted transactions
	Partitions    []FetchPartition
	Refuse        func(*FetchPartition) error // says why the client may not read a partition; nil refuses nothing
	Payer         StorePayer                  // nil: nobody counts what the object store sends
}

// StorePayer pays for what the object store sends for a fetch.
type StorePayer interface {
	// MayPay says whether the store may be asked. It is called before the fetch is answered; after
	// a no the fetch is answered at once, without the records that are in the store alone.
	MayPay() bool
	// Pay counts bytes that came. Any goroutine may call it, also after the answer.
	Pay(bytes int64)
}

// FetchPartition is one partition of a fetch.
type FetchPartition struct {
	Topic              string
	TopicID            kafka.UUID
	ByID               bool // TopicID counts, not Topic
	Index              int32
	Offset             int64
	MaxBytes           int64
	CurrentLeaderEpoch int32 // kafka.NoEpoch skips the check
	LastFetchedEpoch   int32 // epoch of the last record the client has, kafka.NoEpoch for none
}

// FetchResult is the answer for one partition. The offsets are -1 where the partition
// could not be found or is not served here. Whoever gets it releases Records.
type FetchResult struct {
	Err           error
	HighWatermark int64
	LastStable    int64
	LogStart      int64
	Aborted       []commitlog.AbortedTxn
	Records       []vfs.Range
	// Diverging is set instead of Records when the client's log departs from this one.
	Diverging *EpochEnd

	remote bool // Records come from the object store
}

// EpochEnd is the end of a leader epoch in the log: what a client must cut its log to.
type EpochEnd struct {
	Epoch int32
	End   int64
}

// bytes is the size of the records.
func (r *FetchResult) bytes() int64 {
	var n int64
	for _, rng := range r.Records {
		n += rng.Len
	}
	return n
}

// release lets go of the records.
func (r *FetchResult) release() {
	for _, rng := range r.Records {
		rng.Release()
	}
	r.Records = nil
}

// fetch is one fetch on its way. It is busy on exactly one goroutine, or parked with every
// partition that it asks for until bytes, a change of leader, its deadline or the end of
// its client comes, or answered.
type fetch struct {
	m        *Manager
	ctx      context.Context
	params   *FetchParams
	done     func([]FetchResult)
	deadline time.Time

	// Only the goroutine that the fetch is busy on touches these.
	parts   []*Partition // nil where errs says why
	errs    []error
	results []FetchResult
	seen    []seen
	watched bool
	session *sessionFetch // nil for a fetch that names all of its partitions
	timer   *time.Timer
	unbind  func() bool // detaches from ctx

	mu struct {
		sync.Mutex
		state     fetchState
		got       int64 // bytes that came since the partitions were last read
		need      int64 // bytes that would complete the parked fetch
		look      bool  // something changed that only a new look can judge
		expired   bool
		cancelled bool
		remote    int // remote reads that have not answered
	}
}

type fetchState int8

const (
	busy fetchState = iota
	parked
	answered
)

// seen is where a partition stood when it was read.
type seen struct {
	highWatermark int64
	logStart      int64
	epoch         int32
	nothing       bool // there was nothing for the client to read
}

// Fetch reads the partitions and calls done once, with one result for each of them in
// their order: at once when there is enough or something to tell, else when MinBytes have
// come, MaxWait has passed, or a partition changed its leader. done gets nil when ctx
// ended first: nobody waits for the answer. It may run on this goroutine or another one,
// and must not block. params belongs to the fetch until then.
func (m *Manager) Fetch(ctx context.Context, params *FetchParams, done func([]FetchResult)) {
	n := len(params.Partitions)
	f := &fetch{
		m: m, ctx: ctx, params: params, done: done, deadline: time.Now().Add(params.MaxWait),
		parts: make([]*Partition, n), errs: make([]error, n), results: make([]FetchResult, n), seen: make([]seen, n),
	}
	for i := range params.Partitions {
		f.parts[i], f.errs[i] = f.find(&params.Partitions[i])
	}
	f.attempt()
}

// find looks up a partition, unless the client may not read it.
func (f *fetch) find(fp *FetchPartition) (*Partition, error) {
	if f.params.Refuse != nil {
		if err := f.params.Refuse(fp); err != nil {
			return nil, err
		}
	}
	return f.m.find(fp)
}

// find looks up a partition as a request names it.
func (m *Manager) find(fp *FetchPartition) (*Partition, error) {
	if fp.ByID {
		return m.ByID(fp.TopicID, fp.Index)
	}
	return m.Partition(fp.Topic, fp.Index)
}

// attempt reads, and answers or parks. It runs while the fetch is busy.
func (f *fetch) attempt() {
	for {
		f.mu.Lock()
		f.mu.got, f.mu.look = 0, false
		cancelled := f.mu.cancelled
		f.mu.Unlock()
		if cancelled {
			f.answer(nil)
			return
		}
		if f.session != nil {
			f.session.gather(f)
		}
		pass := f.read()
		switch {
		case len(pass.wants) > 0:
			f.goRemote(pass)
			return
		case f.satisfied(pass):
			f.answer(f.results)
			return
		case f.park(pass):
			return
		}
		f.release()
	}
}

// pass is what one reading of all partitions came to.
type pass struct {
	bytes int64
	tell  bool // an error or a divergence: the client hears of it at once
	more  bool // a range ends at a segment's edge with committed data behind it
	wants []want
	held  bool // the store would have to be asked, and the client may not have that now
}

// read reads all partitions from the local log, within the fetch's budget.
func (f *fetch) read() pass {
	var ps pass
	left := f.params.MaxBytes
	for i := range f.params.Partitions {
		res := &f.results[i]
		if f.parts[i] == nil {
			*res = FetchResult{Err: f.errs[i], HighWatermark: -1, LastStable: -1, LogStart: -1}
			ps.tell = true
			continue
		}
		req := readRequest{
			fp: &f.params.Partitions[i], committed: f.params.ReadCommitted,
			maxBytes: min(left, f.params.Partitions[i].MaxBytes), minOne: ps.bytes == 0 && len(ps.wants) == 0,
		}
		out := f.parts[i].read(req)
		*res, f.seen[i] = out.res, out.seen
		ps.tell = ps.tell || res.Err != nil || res.Diverging != nil
		ps.more = ps.more || out.more
		if out.asks && (ps.held || !f.mayPay()) {
			ps.held = true
			continue
		}
		if out.asks {
			ps.wants = append(ps.wants, want{
				index: i, p: f.parts[i], remote: out.store, log: out.log, off: req.fp.Offset,
				maxBytes: req.maxBytes, minOne: req.minOne, aborted: req.committed, local: out.local, payer: f.params.Payer, from: f.ctx,
			})
			// What the store will send is not known yet: its share is set aside.
			left -= req.maxBytes
		}
		n := res.bytes()
		ps.bytes += n
		left = max(0, left-n)
	}
	return ps
}

// mayPay says whether the store may be asked for the fetch.
func (f *fetch) mayPay() bool { return f.params.Payer == nil || f.params.Payer.MayPay() }

// satisfied says whether the fetch is answered with what was read.
func (f *fetch) satisfied(ps pass) bool {
	f.mu.Lock()
	expired := f.mu.expired
	f.mu.Unlock()
	return expired || ps.tell || ps.more || ps.held || ps.bytes >= f.params.MinBytes || f.params.MaxWait <= 0 || f.session == nil && len(f.params.Partitions) == 0
}

// park leaves the fetch with its partitions. It says no when one of them has moved on
// since it was read, or the time is up; then the fetch is still busy.
func (f *fetch) park(ps pass) bool {
	f.release()
	moved := false
	if !f.watched {
		f.watched = true
		for i, p := range f.parts {
			moved = f.session == nil && p.watch(f, f.seen[i]) || moved
		}
		f.timer = time.AfterFunc(time.Until(f.deadline), f.expire)
		f.unbind = context.AfterFunc(f.ctx, f.cancel)
		f.m.metrics.parked.Add(1)
	}
	if f.session != nil {
		moved = f.session.rest(f, true)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.need = f.params.MinBytes - ps.bytes
	if moved || f.mu.look || f.mu.expired || f.mu.cancelled || f.mu.got >= f.mu.need {
		return false
	}
	f.mu.state = parked
	return true
}

// arrived implements watcher.
func (f *fetch) arrived(bytes int64, look bool) (keep bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.got += bytes
	f.mu.look = f.mu.look || look
	if f.mu.state == parked && (f.mu.look || f.mu.got >= f.mu.need) {
		f.mu.state = busy
		if !f.m.wakers.submit(f.attempt) {
			f.mu.state = parked // shutting down: the deadline answers it
		}
	}
	return true
}

// expire answers a parked fetch with what there is.
func (f *fetch) expire() {
	f.mu.Lock()
	f.mu.expired = true
	resume := f.mu.state == parked
	if resume {
		f.mu.state = busy
	}
	f.mu.Unlock()
	if resume {
		f.attempt()
	}
}

// cancel ends a parked fetch whose client has gone.
func (f *fetch) cancel() {
	f.mu.Lock()
	f.mu.cancelled = true
	resume := f.mu.state == parked
	if resume {
		f.mu.state = busy
	}
	f.mu.Unlock()
	if resume {
		f.attempt()
	}
}

// release lets go of what was read.
func (f *fetch) release() {
	for i := range f.results {
		f.results[i].release()
	}
}

// answer ends the fetch. It runs while the fetch is busy.
func (f *fetch) answer(results []FetchResult) {
	f.mu.Lock()
	f.mu.state = answered
	f.mu.Unlock()
	if f.watched {
		f.timer.Stop()
		f.unbind()
		if f.session == nil {
			for _, p := range f.parts {
				p.unwatch(f)
			}
		}
		f.m.metrics.parked.Add(-1)
	}
	for i := range results {
		n := results[i].bytes()
		if results[i].remote {
			f.m.metrics.remoteBytes.Add(n)
		} else {
			f.m.metrics.localBytes.Add(n)
		}
		if p := f.parts[i]; p != nil {
			p.traffic.fetched(n, results[i].Err)
		}
	}
	f.done(results)
}

// goRemote has the store asked for what the local log does not have, and answers when all
// of it came or remote.fetch.max.wait.ms has passed. What comes later stays in the cache.
func (f *fetch) goRemote(ps pass) {
	f.mu.Lock()
	f.mu.remote = len(ps.wants)
	f.mu.Unlock()
	var once sync.Once
	finish := func() { once.Do(func() { f.remoteAnswered(ps) }) }
	wait := time.Duration(f.m.node().RemoteFetchMaxWaitMs) * time.Millisecond
	timer := time.AfterFunc(wait, finish)
	for _, w := range ps.wants {
		f.m.readRemote(w, f.isAnswered, func(res FetchResult) {
			if f.take(w.index, res) {
				timer.Stop()
				finish()
			}
		})
	}
}

func (f *fetch) isAnswered() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.state == answered
}

// take notes what a remote read brought, and says whether it was the last one. What comes
// after the answer is let go.
func (f *fetch) take(i int, res FetchResult) (last bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.state == answered {
		res.release()
		return false
	}
	out := &f.results[i]
	out.Records, out.Aborted, out.Err, out.remote = res.Records, res.Aborted, res.Err, true
	f.mu.remote--
	return f.mu.remote == 0
}

// remoteAnswered ends the remote phase. A store that fails looks like one that is slow: the
// client gets an empty answer and comes back. When the failure was quick and there is
// nothing else to tell, the answer waits for the fetch's own deadline, so that clients
// whose data is out of reach do not come back at once.
func (f *fetch) remoteAnswered(ps pass) {
	f.mu.Lock()
	f.mu.state = answered // from here on, what comes late is let go
	f.mu.Unlock()
	failed, empty := false, !ps.tell && ps.bytes == 0
	for _, w := range ps.wants {
		res := &f.results[w.index]
		switch {
		case transient(res.Err):
			res.Err, failed = nil, true
		case errors.Is(res.Err, kafka.ErrCorrupt):
			res.Err, empty = errors.Join(kafka.CorruptMessage, res.Err), false
		}
		empty = empty && res.Err == nil && len(res.Records) == 0
	}
	if wait := time.Until(f.deadline); failed && empty && wait > 0 {
		f.answerLater(wait)
		return
	}
	f.answer(f.results)
}

// answerLater answers what has no records after a while, which the client may have set to
// weeks, or as soon as the client has gone or the broker stops.
func (f *fetch) answerLater(wait time.Duration) {
	ctx, cancel := context.WithTimeout(f.ctx, wait)
	unbind := context.AfterFunc(f.m.ctx, cancel)
	context.AfterFunc(ctx, func() {
		unbind()
		cancel()
		if f.ctx.Err() != nil {
			f.answer(nil)
			return
		}
		f.answer(f.results)
	})
}
