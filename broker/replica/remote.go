package replica

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/tracing"
	"github.com/varve-io/varve/tiered"
	"github.com/varve-io/varve/tiered/manifest"
)

// RemoteLog is the part of a partition in the object store: *tiered.Partition. Methods
// that take a context wait for the store.
type RemoteLog interface {
	// Wake has the uploads looked at soon, because a segment was closed. It never blocks.
	Wake()
	// View is what is known of the newest manifest, without asking the store.
	View() tiered.View
	// Manifest is the manifest that View describes, nil when there is none.
	Manifest() *manifest.Manifest
	// Load reads the newest manifest.
	Load(ctx context.Context) (tiered.View, error)
	// Tail reads the newest manifest and the state of the log at its end.
	Tail(ctx context.Context) (tiered.Tail, error)
	// Read reads whole batches from the one that holds off on.
	Read(ctx context.Context, off, maxBytes int64, minOne bool) (tiered.Read, error)
	// OffsetForTime finds the first record at or after a time.
	OffsetForTime(ctx context.Context, tsMs int64) (off, foundTsMs int64, epoch int32, ok bool, err error)
	// Claim makes this epoch the owner of the manifest.
	Claim(ctx context.Context) error
	// Expire raises the log start in the manifest.
	Expire(ctx context.Context, newStart int64) error
	// EvictLocal drops closed local segments that the manifest holds.
	EvictLocal(offset int64) (int, error)
}

// Whether a tiered partition may be served from its local log.
const (
	healed   int32 = iota // the local log is known to end at or behind what the store holds
	unhealed              // nobody has looked at the manifest yet
	healing               // the manifest is being read
)

// healRetry is the least time between two attempts to read the manifest of a partition
// that lost its files while the store is out of reach.
const healRetry = 500 * time.Millisecond

// needsHealLocked says whether the local log cannot vouch for all that the store may hold:
// its files, its disk or the disk's checkpoint may be lost, replaced or restored. A
// partition in its first leader epoch never had another leader, hence has no manifest.
// An empty log has no files, and a checkpoint from before its first record would not miss them.
// A log in another directory than the metadata's may be the old copy of one that went on there.
// A log that cannot be read at all is not healed: what it holds above the manifest's end
// would be lost. It refuses all work until somebody has looked at the damage.
func (p *Partition) needsHealLocked() int32 {
	log := p.lead.log
	if p.lead.epoch > 0 && log.Err() == nil && (log.Suspect() || log.End() == 0 || p.displaced.Load()) {
		return unhealed
	}
	return healed
}

// startHeal has the manifest read, unless that is under way, and is the error that clients
// see meanwhile: a retriable one.
func (p *Partition) startHeal() error {
	if p.heal.CompareAndSwap(unhealed, healing) && !p.m.remote.submit(p.healNow) {
		p.heal.CompareAndSwap(healing, unhealed)
	}
	return fmt.Errorf("partition %s waits for its manifest: %w", p.tp, kafka.KafkaStorageError)
}

// healNow reads the newest manifest and, when the local log ends below it, starts the log
// anew behind it: an offset that the store holds is never given to another record. After a
// crash in between, the log is as empty or short as before, and the next leader starts over.
func (p *Partition) healNow() {
	p.lead.RLock()
	remote, epoch := p.lead.remote, p.lead.epoch
	p.lead.RUnlock()
	if remote == nil {
		return // not the leader any more, or not tiered: the next leadership looks again
	}
	tail, err := remote.Tail(p.m.ctx)
	if err == nil {
		err = p.adopt(epoch, tail)
	}
	p.m.metrics.healed(err)
	if err != nil {
		p.m.logger.Warn("partition waits for its manifest", "partition", p.tp.String(), "error", err)
		time.AfterFunc(healRetry, func() { p.heal.CompareAndSwap(healing, unhealed) })
		return
	}
	p.advance()
	p.wakeAll()
}

// adopt opens the partition for service in the epoch, with a log that ends at or behind
// the manifest and that knows the leader epochs and producers up to there.
func (p *Partition) adopt(epoch int32, tail tiered.Tail) error {
	p.lead.Lock()
	defer p.lead.Unlock()
	if p.lead.epoch != epoch || p.lead.remote == nil {
		return nil
	}
	log := p.lead.log
	// A log without files that ends right at the manifest's end has lost its history all the same.
	lost := log.Damage() != nil && log.LocalStart() == log.End()
	if end := log.End(); end < tail.Next || lost && end == tail.Next {
		p.m.logger.Warn("the local log ends below what the object store holds: starting behind it",
			"partition", p.tp.String(), "localEnd", end, "remoteNext", tail.Next)
		if err := log.ResetTo(tail.Next); err != nil {
			return fmt.Errorf("start the log at %d: %w", tail.Next, err)
		}
		if err := log.Adopt(tail.Epochs, tail.ProducerSnapshot); err != nil {
			return fmt.Errorf("give the log its history up to %d: %w", tail.Next, err)
		}
	}
	if err := log.Damage(); err != nil {
		p.m.logger.Error("records behind the object store's part are lost; the log goes on at its end",
			"partition", p.tp.String(), "end", log.End(), "error", err)
	}
	log.Accept()
	p.mu.Lock()
	p.mu.highWatermark = min(p.mu.highWatermark, log.End()) // what is lost is not committed
	p.mu.Unlock()
	p.heal.Store(healed)
	return nil
}

// logStartLocked is the log start. It is not certain while a tiered partition with a past
// has not read its manifest: retention moves the start there first, and a crash may take
// what the local checkpoint knew of it. A start that was told once never goes back.
func (p *Partition) logStartLocked() (start int64, certain bool) {
	local := p.lead.log.LogStart()
	if p.lead.remote == nil {
		return local, true
	}
	switch v := p.lead.remote.View(); {
	case !v.Known:
		return local, local == 0 && p.lead.epoch == 0 || p.lead.log.End() == 0
	case v.Segments > 0:
		return v.Start, true
	default:
		return max(local, v.Start), true
	}
}

// want is a read that the local log cannot answer.
type want struct {
	index    int // of the partition in its fetch
	p        *Partition
	remote   RemoteLog
	log      *commitlog.Log
	off      int64
	maxBytes int64
	minOne   bool
	aborted  bool  // read_committed: the aborted transactions are wanted too
	local    error // the damage for which the local log cannot answer, nil = it does not reach down
	payer    StorePayer
	from     context.Context // of the fetch, which the read may outlive: for its span
}

// flight is a remote read that is under way. Of reads of one offset only one asks the
// store; the others wait for it and then find the bytes in the cache. So consumers that
// come back for what is still on its way take no further goroutine.
type flight struct {
	p   *Partition
	off int64
}

// readRemote answers w through done, on a goroutine of the remote pool, or at once with an
// error when too many reads wait. dropped says that nobody waits for the answer any more;
// the read goes on nevertheless once it has begun, to fill the cache.
func (m *Manager) readRemote(w want, dropped func() bool, done func(FetchResult)) {
	key := flight{w.p, w.off}
	m.flights.Lock()
	waiting, busy := m.flights.byOffset[key]
	if busy {
		waiting = append(waiting, func() {
			if !dropped() {
				m.readRemote(w, dropped, done)
			}
		})
	}
	m.flights.byOffset[key] = waiting
	m.flights.Unlock()
	if busy {
		return
	}
	if !m.remote.submit(func() { m.fly(key, w, done) }) {
		m.land(key)
		done(FetchResult{Err: errTooBusy})
	}
}

var errTooBusy = fmt.Errorf("too many reads from the object store wait: %w", kafka.KafkaStorageError)

func (m *Manager) fly(key flight, w want, done func(FetchResult)) {
	ctx := tracing.Follow(m.ctx, w.from)
	if w.payer != nil {
		ctx = tiered.WithPayer(ctx, w.payer.Pay)
	}
	res := w.read(ctx)
	m.metrics.remoteRead(res.Err)
	if res.Err != nil && kafka.Code(res.Err) != kafka.OffsetOutOfRange {
		m.logger.Warn("read from the object store failed", "partition", w.p.tp.String(), "offset", w.off, "error", res.Err)
	}
	m.land(key)
	done(res)
}

// land ends a flight and starts those who waited for it.
func (m *Manager) land(key flight) {
	m.flights.Lock()
	waiting := m.flights.byOffset[key]
	delete(m.flights.byOffset, key)
	m.flights.Unlock()
	for _, next := range waiting {
		next()
	}
}

// read asks the store, after the manifest if that is not known yet.
func (w want) read(ctx context.Context) FetchResult {
	v := w.remote.View()
	if !v.Known {
		var err error
		if v, err = w.remote.Load(ctx); err != nil {
			return FetchResult{Err: fmt.Errorf("read the manifest of %s: %w", w.p.tp, err)}
		}
	}
	if v.Segments == 0 || w.off < v.Start || w.off >= v.Next {
		if w.local != nil {
			return FetchResult{Err: w.local}
		}
		return FetchResult{Err: kafka.OffsetOutOfRange}
	}
	if !w.aborted {
		r, err := w.remote.Read(ctx, w.off, w.maxBytes, w.minOne)
		if err != nil {
			return FetchResult{Err: err}
		}
		return FetchResult{Records: r.Ranges}
	}
	return w.readCommitted(ctx)
}

// readCommitted is the read with its aborted transactions. One in these records may have been
// aborted above the store's part: the manifest of the read and the local log must meet, or a
// marker that was tiered and evicted meanwhile is in neither list.
func (w want) readCommitted(ctx context.Context) FetchResult {
	for next := int64(kafka.NoOffset); ; {
		r, err := w.remote.Read(ctx, w.off, w.maxBytes, w.minOne)
		if err != nil {
			return FetchResult{Err: err}
		}
		local, err := w.log.AbortedTxns(r.Base, r.UpperBound)
		if log := w.p.Log(); errors.Is(err, commitlog.ErrClosed) && log != nil && log != w.log {
			w.log = log // it has moved to another log dir
			r.Release()
			continue
		}
		if err != nil {
			r.Release()
			return FetchResult{Err: storageError(err)}
		}
		// A manifest that does not grow misses nothing: what is gone above it was never tiered.
		if w.log.LocalStart() <= r.Next || r.Next == next {
			return FetchResult{Records: r.Ranges, Aborted: mergeAborted(r.Aborted, local)}
		}
		next = r.Next
		r.Release()
	}
}

// mergeAborted is both lists as one, ascending, without what is in both.
func mergeAborted(remote, local []commitlog.AbortedTxn) []commitlog.AbortedTxn {
	out := slices.Concat(remote, local)
	slices.SortFunc(out, func(a, b commitlog.AbortedTxn) int {
		return cmp.Or(cmp.Compare(a.FirstOffset, b.FirstOffset), cmp.Compare(a.ProducerID, b.ProducerID))
	})
	return slices.CompactFunc(out, func(a, b commitlog.AbortedTxn) bool {
		return a.FirstOffset == b.FirstOffset && a.ProducerID == b.ProducerID
	})
}

// transient says whether a remote read that failed may succeed when it is tried again.
func transient(err error) bool {
	return err != nil && !errors.Is(err, kafka.ErrCorrupt) && kafka.Code(err) != kafka.OffsetOutOfRange
}
