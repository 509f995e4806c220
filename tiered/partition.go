package tiered

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varve-io/varve/broker/fault"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/tiered/manifest"
)

// errNothing ends a copy job that found no segment to upload.
var errNothing = errors.New("nothing to upload")

// errStillThere ends a clean-up that found an object under a name it had just removed.
var errStillThere = errors.New("still there after its deletion")

// Partition is the remote part of one partition, as its leader in one epoch sees it.
type Partition struct {
	m      *Manager
	id     manifest.ID
	tp     kafka.TopicPartition
	epoch  int32
	r      Replica
	ctx    context.Context // ends with the leadership
	cancel context.CancelFunc

	token   chan struct{} // held by the one job that runs; guards the fields below it
	machine machine
	object  *object // being uploaded
	cleaned turnOf
	swept   turnOf
	looked  bool // for what earlier epochs left behind

	since time.Time // of the leadership

	head atomic.Pointer[state] // nil: the bucket has not been read

	mu struct {
		sync.Mutex
		queued    bool // waits for a worker
		failures  int  // in a row
		notBefore time.Time
		failing   time.Time // since when; zero = not
		lagBytes  int64     // eligible for upload at the last look
		lagCount  int
		fenced    bool // reported
		diverged  bool // reported
	}
}

// turnOf remembers when a recurring job ran last, and on which version of the manifest.
type turnOf struct {
	at      time.Time
	version uint64
}

// due says whether the job is to run again: not too often, and not without cause. It
// notes that it does.
func (t *turnOf) due(every time.Duration, version uint64, cause bool) bool {
	now := time.Now()
	if now.Sub(t.at) < every || version == t.version && !cause {
		return false
	}
	*t = turnOf{now, version}
	return true
}

// state is what is published of the machine.
type state struct {
	manifest *manifest.Manifest // nil: no version exists
	owned    bool
	fenced   bool
}

func newPartition(m *Manager, r Replica) *Partition {
	p := &Partition{m: m, tp: r.TopicPartition(), epoch: r.LeaderEpoch(), r: r, token: make(chan struct{}, 1), since: time.Now(),
		id: manifest.ID{ClusterID: m.cluster, TopicID: r.TopicID(), Partition: r.TopicPartition().Partition}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.machine = machine{id: p.id, epoch: p.epoch, inc: m.o.Incarnation, nonce: rand.Uint64(), keep: uint64(m.o.KeepManifests)}
	return p
}

// View is what is known of the newest manifest.
type View struct {
	// Known is false until the bucket has been read in this epoch; then nothing else holds.
	Known bool
	// Start is the log start offset by the manifest.
	Start int64
	// Next is the lowest offset that no remote record has or had. A log without local files
	// starts here, and so does one that ends below it.
	Next int64
	// HighestRemote is the last offset ever committed, kafka.NoOffset if none.
	HighestRemote int64
	Segments      int
	Bytes         int64 // log bytes of the live segments
	Pending       int   // objects that await deletion
	Version       uint64
	OwnerEpoch    int32
	// Owned says that the manifest was claimed in this epoch: only then may retention act.
	Owned bool
	// Fenced says that another owner has claimed it; this Partition writes no more.
	Fenced bool
}

// view makes a View of a state.
func (s *state) view() View {
	if s == nil {
		return View{HighestRemote: kafka.NoOffset, OwnerEpoch: kafka.NoEpoch}
	}
	v := View{Known: true, HighestRemote: kafka.NoOffset, OwnerEpoch: kafka.NoEpoch, Owned: s.owned, Fenced: s.fenced}
	if h := s.manifest; h != nil {
		v.Start, v.Next, v.HighestRemote = h.Start, max(h.Start, h.Next), h.Next-1
		v.Segments, v.Bytes, v.Pending = len(h.Segments), h.LogBytes(), len(h.Pending)
		v.Version, v.OwnerEpoch = h.Version, h.OwnerEpoch
	}
	return v
}

// View is what is known, without asking the bucket.
func (p *Partition) View() View { return p.head.Load().view() }

// TopicPartition names the partition.
func (p *Partition) TopicPartition() kafka.TopicPartition { return p.tp }

// Manifest is the newest version known, nil if none is. It must not be changed.
func (p *Partition) Manifest() *manifest.Manifest {
	if s := p.head.Load(); s != nil {
		return s.manifest
	}
	return nil
}

// Load reads the newest manifest. It needs no claim and changes nothing in the bucket.
func (p *Partition) Load(ctx context.Context) (View, error) {
	err := p.do(ctx, job{kind: jobLoad})
	return p.View(), err
}

// Claim makes this epoch the owner of the manifest, which every writing job does by
// itself. Errors: ErrFenced.
func (p *Partition) Claim(ctx context.Context) error { return p.do(ctx, job{kind: jobClaim}) }

// Expire raises the log start offset in the manifest; segments wholly below it become
// pending. It claims first. The caller raises the local start after success only.
func (p *Partition) Expire(ctx context.Context, newStart int64) error {
	return p.do(ctx, job{kind: jobExpire, offset: newStart})
}

// Truncate cuts the remote part at newEnd, on a segment's bound below it: what an unclean
// election or a shorter log has made history of another lineage. The cut objects are kept
// for Options.DivergedGrace.
func (p *Partition) Truncate(ctx context.Context, newEnd int64) error {
	return p.do(ctx, job{kind: jobTruncate, offset: newEnd})
}

// SetCopyState pauses or resumes uploads in the manifest (KIP-950).
func (p *Partition) SetCopyState(ctx context.Context, s manifest.CopyState) error {
	return p.do(ctx, job{kind: jobCopyState, state: s})
}

// CleanUp removes what is due now: expired objects past their grace, old manifest
// versions, and, when it is called a second time, orphans.
func (p *Partition) CleanUp(ctx context.Context) error {
	return errors.Join(p.do(ctx, p.deleteJob()), p.do(ctx, p.m.cleanJob()), p.do(ctx, p.m.orphanJob()))
}

func (p *Partition) deleteJob() job {
	return job{kind: jobDelete, graceMs: p.r.Config().TierDeleteGraceMs, longMs: p.m.o.DivergedGrace.Milliseconds()}
}

func (m *Manager) cleanJob() job {
	return job{kind: jobClean, graceMs: m.o.ManifestWindow.Milliseconds()}
}

func (m *Manager) orphanJob() job {
	return job{kind: jobOrphans, graceMs: m.o.OrphanGrace.Milliseconds()}
}

// EvictLocal drops closed local segments wholly below offset and answers how many went.
// Whatever the caller asks, nothing goes that the committed manifest of this epoch does not hold.
func (p *Partition) EvictLocal(offset int64) (int, error) {
	s := p.head.Load()
	if s == nil || s.manifest == nil || !s.owned {
		return 0, nil
	}
	if err := fault.Err("tier.evict"); err != nil {
		return 0, err
	}
	return p.r.Log().EvictBelow(min(offset, s.manifest.Next))
}

// acquire takes the right to run a job.
func (p *Partition) acquire(ctx context.Context) error {
	select {
	case p.token <- struct{}{}:
		if p.ctx.Err() == nil {
			return nil
		}
		<-p.token
	case <-ctx.Done():
		return ctx.Err()
	case <-p.ctx.Done():
	}
	return fmt.Errorf("tier of %s: no longer led in epoch %d: %w", p.tp, p.epoch, kafka.NotLeaderOrFollower)
}

// do runs one job to its end, after whatever the last one left open.
func (p *Partition) do(ctx context.Context, j job) error {
	if err := p.acquire(ctx); err != nil {
		return err
	}
	defer func() { <-p.token }()
	return p.doLocked(ctx, j)
}

// doLocked is do with the token in hand.
func (p *Partition) doLocked(ctx context.Context, j job) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	if p.machine.stuck() {
		if err := p.drive(ctx, p.machine.resume()); p.machine.stuck() {
			return fmt.Errorf("tier of %s: %w", p.tp, err)
		}
	}
	if j.kind != jobLoad && !p.machine.claimed && !p.machine.fenced {
		if err := p.m.claims.wait(ctx, 1); err != nil {
			return err
		}
	}
	j.nowMs = p.m.o.Now().UnixMilli()
	if j.kind != jobExpire && j.kind != jobTruncate {
		j.offset = p.r.Log().LogStart()
	}
	claimed := p.machine.claimed
	err := p.traced(ctx, j)
	if j.kind != jobLoad && !claimed && (err != nil || p.machine.claimed) {
		p.m.metrics.claimed(p.machine.claimed)
	}
	if err != nil && !errors.Is(err, errNothing) {
		return fmt.Errorf("tier of %s: %w", p.tp, err)
	}
	return err
}

// drive does what the machine says until it says no more.
func (p *Partition) drive(ctx context.Context, c command) error {
	for c.op != opNone {
		c = p.machine.step(p.exec(ctx, c))
	}
	p.dropObject()
	p.publish()
	return p.machine.err
}

// publish lets readers and the local log see what the machine knows for certain.
func (p *Partition) publish() {
	m := &p.machine
	if !m.known {
		return
	}
	old := p.head.Load()
	if old != nil && (old.manifest == m.head && old.owned == m.claimed && old.fenced == m.fenced || m.head == nil) {
		return
	}
	if m.claimed && (old == nil || old.manifest != m.head) {
		fault.Point("tier.after-commit")
	}
	if h := m.head; h != nil {
		p.r.Log().SetHighestRemote(h.Next - 1)
		if h.Start > p.r.Log().LogStart() {
			if err := p.r.Log().SetStart(min(h.Start, p.r.Log().End())); err != nil {
				p.m.o.Logger.Warn("raise the log start to the manifest's", "partition", p.tp.String(), "error", err)
			}
		}
	}
	p.head.Store(&state{manifest: m.head, owned: m.claimed, fenced: m.fenced})
	if m.fenced {
		p.reportFenced()
	}
}

// reportFenced says once, and loudly, that this process may write no more.
func (p *Partition) reportFenced() {
	p.mu.Lock()
	first := !p.mu.fenced
	p.mu.fenced = true
	p.mu.Unlock()
	if !first {
		return
	}
	p.m.metrics.fenced.Inc()
	p.m.o.Logger.Error("fenced: another broker, or a copy of this one's data directory, owns the partition in the bucket; nothing more is uploaded or deleted",
		"partition", p.tp.String(), "node", p.m.o.NodeID, "epoch", p.epoch, "incarnation", p.m.o.Incarnation.String(), "error", p.machine.err)
	if f := p.m.o.Events.Fenced; f != nil {
		f(p.tp, p.machine.err)
	}
}
