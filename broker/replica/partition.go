package replica

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

// Partition is this broker's replica of one partition. It implements tiered.Replica.
type Partition struct {
	m       *Manager
	tp      kafka.TopicPartition
	topicID kafka.UUID

	// lead is what the image says. It is held for reading while a batch is appended, so
	// that no batch of an epoch is written after the epoch has ended here.
	lead struct {
		sync.RWMutex
		log      *commitlog.Log  // nil while offline
		room     *commitlog.Room // of its disk
		cfg      *config.Topic
		leader   int32
		epoch    int32
		isr      []int32
		replicas int       // how many the partition has, in sync or not
		remote   RemoteLog // nil unless this broker leads and the topic is tiered
		refused  error     // why nothing is served: offline, deleted, shut down
	}

	// heal is healed, unhealed or healing.
	heal atomic.Int32
	// displaced says that the log was not found in the directory that the image names.
	displaced atomic.Bool
	// checking says that a segment is being checked for damage.
	checking atomic.Bool

	mu struct {
		sync.Mutex
		// highWatermark is the end of what every in-sync replica has made durable.
		// Invariant: log start ≤ highWatermark ≤ log end; it never goes back.
		highWatermark int64
		// ends is the durable end of each follower, as it last told.
		ends map[int32]int64
		// pending is the acks=-1 batches above the high watermark, ascending by end.
		pending []*Pending
		// staged is the acks=1 batches of group mode that are not durable here yet, likewise.
		staged []*Pending
		// watchers is who waits for something to happen here: parked fetches, and members of
		// fetch sessions.
		watchers map[watcher]struct{}
	}
}

func newPartition(m *Manager, tp kafka.TopicPartition, topicID kafka.UUID) *Partition {
	p := &Partition{m: m, tp: tp, topicID: topicID}
	p.lead.leader, p.lead.epoch = -1, kafka.NoEpoch
	p.lead.refused = fmt.Errorf("partition %s is not open yet: %w", tp, kafka.NotLeaderOrFollower)
	return p
}

// TopicPartition names the partition.
func (p *Partition) TopicPartition() kafka.TopicPartition { return p.tp }

// TopicID is the id of its topic.
func (p *Partition) TopicID() kafka.UUID { return p.topicID }

// LeaderEpoch is the epoch of the leader that the image names.
func (p *Partition) LeaderEpoch() int32 {
	p.lead.RLock()
	defer p.lead.RUnlock()
	return p.lead.epoch
}

// leads says whether this broker serves the partition as its leader.
func (p *Partition) leads() bool {
	p.lead.RLock()
	defer p.lead.RUnlock()
	return p.lead.refused == nil && p.lead.leader == p.m.nodeID
}

// Config is what the topic asks for now.
func (p *Partition) Config() *config.Topic {
	p.lead.RLock()
	defer p.lead.RUnlock()
	return p.lead.cfg
}

// Log is the local log, nil while the partition is offline.
func (p *Partition) Log() *commitlog.Log {
	p.lead.RLock()
	defer p.lead.RUnlock()
	return p.lead.log
}

// HighWatermark is the end of what consumers may read.
func (p *Partition) HighWatermark() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.highWatermark
}

// StableEnd is the offset below which nothing changes any more: every in-sync replica has
// it on disk and no transaction is open in it. Uploads to the object store stay below it.
func (p *Partition) StableEnd() int64 {
	log := p.Log()
	if log == nil {
		return 0
	}
	hw := p.HighWatermark()
	return min(hw, log.LastStable(hw), log.Durable())
}

// update takes over what the image says of the partition. The log is opened on the first
// call, and on later ones while it is offline. Calls come one at a time.
func (p *Partition) update(part *metadata.Partition, cfg *config.Topic) error {
	p.lead.Lock()
	var openErr error
	if p.lead.log == nil {
		openErr = p.openLocked(part, cfg)
	} else {
		openErr = p.lead.log.SetConfig(LogConfig(cfg))
	}
	wasLeader, newEpoch := p.lead.leader == p.m.nodeID, part.LeaderEpoch != p.lead.epoch
	p.lead.cfg = cfg
	p.lead.leader, p.lead.epoch = part.Leader, part.LeaderEpoch
	p.lead.isr, p.lead.replicas = slices.Clone(part.ISR), len(part.Replicas)
	isLeader := p.lead.leader == p.m.nodeID && p.lead.log != nil
	if newEpoch {
		p.mu.Lock()
		p.mu.ends = nil // what followers told another leader counts for nothing
		p.mu.Unlock()
	}
	tier := isLeader && cfg.RemoteStorageEnable && p.m.lead != nil
	begin, end := tier && (newEpoch || p.lead.remote == nil), !tier && p.lead.remote != nil
	if begin {
		p.heal.Store(healing) // nothing is served until the tier has been asked
	}
	p.lead.Unlock()

	switch {
	case begin:
		p.joinTier()
	case end:
		p.leaveTier()
	}
	switch {
	case isLeader:
		if newEpoch {
			p.wakeAll() // a fetch that names the old epoch must hear of the new one
		}
		p.advance()
	case wasLeader:
		p.failPending(kafka.NotLeaderOrFollower)
		p.wakeAll()
	}
	return openErr
}

// openLocked finds or creates the log. The directory itself appears with the first append.
func (p *Partition) openLocked(part *metadata.Partition, cfg *config.Topic) error {
	log, err := p.m.openLog(p.tp, p.topicID, part, cfg)
	if err != nil {
		p.lead.refused = fmt.Errorf("partition %s is offline: %w", p.tp, errors.Join(kafka.KafkaStorageError, err))
		return err
	}
	if err := log.Damage(); err != nil {
		p.m.logger.Error("a log came back with less than it had on disk; it takes no appends before that is settled", "partition", p.tp.String(), "dir", log.Dir(), "error", err)
	}
	if i := slices.Index(part.Replicas, p.m.nodeID); i >= 0 && i < len(part.Dirs) && !part.Dirs[i].IsZero() {
		p.displaced.Store(part.Dirs[i] != p.m.dirs.DirOf(p.tp))
	}
	p.lead.log, p.lead.room, p.lead.refused = log, p.m.dirs.Room(log.Dir()), nil
	commitlog.OnDurable(log, p.advance)
	p.mu.Lock()
	p.mu.highWatermark = log.LocalStart()
	p.mu.Unlock()
	return nil
}

// joinTier begins the leader's work in the object store. No lock is held while the tier is
// told, because it looks at the partition.
func (p *Partition) joinTier() {
	remote := p.m.lead(p)
	p.lead.Lock()
	defer p.lead.Unlock()
	p.lead.remote = remote
	p.heal.Store(p.needsHealLocked())
}

// leaveTier ends it.
func (p *Partition) leaveTier() {
	p.lead.Lock()
	had := p.lead.remote != nil
	p.lead.remote = nil
	p.lead.Unlock()
	p.heal.Store(healed)
	if had {
		p.m.stop(p.topicID, p.tp.Partition)
	}
}

// servesLocked says whether this broker serves the partition to a client that knows the
// leader epoch clientEpoch (kafka.NoEpoch: none).
// Source: KIP-320; an epoch that differs outranks "not the leader".
func (p *Partition) servesLocked(clientEpoch int32) error {
	switch {
	case p.lead.refused != nil:
		return p.lead.refused
	case clientEpoch != kafka.NoEpoch && clientEpoch < p.lead.epoch:
		return kafka.FencedLeaderEpoch
	case clientEpoch != kafka.NoEpoch && clientEpoch > p.lead.epoch:
		return kafka.UnknownLeaderEpoch
	case p.lead.leader != p.m.nodeID:
		return kafka.NotLeaderOrFollower
	case p.heal.Load() != healed:
		return p.startHeal()
	}
	// Without this a log that could not be read looks empty, and its consumers would be told
	// that their offsets are out of range.
	if err := p.lead.log.Err(); err != nil {
		return storageError(err)
	}
	// After a clean shutdown the files are looked at on first use: only then does it show
	// that they are gone.
	if p.lead.remote != nil && p.lead.log.Damage() != nil {
		p.heal.CompareAndSwap(healed, unhealed)
		return p.startHeal()
	}
	return nil
}

// ObserveFollower notes how far a follower has made the log durable, and moves the high
// watermark if that was the last one to wait for.
func (p *Partition) ObserveFollower(id int32, durableEnd int64) {
	p.mu.Lock()
	if p.mu.ends == nil {
		p.mu.ends = map[int32]int64{}
	}
	p.mu.ends[id] = max(durableEnd, p.mu.ends[id])
	p.mu.Unlock()
	p.advance()
}

// committedEnd is the high watermark of a leader: the least durable end in the in-sync
// set, and never below where it was. A follower that has not told yet holds it back.
func committedEnd(current int64, self int32, durable int64, isr []int32, ends map[int32]int64) int64 {
	least := durable
	for _, id := range isr {
		if id != self {
			least = min(least, ends[id])
		}
	}
	return max(current, least)
}

// advance moves the high watermark to where it may be, and wakes who waited for that.
func (p *Partition) advance() {
	p.lead.RLock()
	acked := p.advanceLocked(0)
	p.lead.RUnlock()
	acked.resolve()
}

// acked is batches that the whole in-sync set has. They are resolved with no lock held,
// because what they notify may look at the partition.
type acked struct {
	batches []*Pending
	err     error
	durable []*Pending // those that wait for this broker only
}

func (a acked) resolve() {
	for _, w := range a.batches {
		w.resolve(a.err)
	}
	for _, w := range a.durable {
		w.resolve(nil)
	}
}

// advanceLocked is advance with p.lead held; bytes is the size of what was just appended.
// The caller resolves the answer when it has let go of p.lead.
func (p *Partition) advanceLocked(bytes int64) acked {
	if p.lead.log == nil || p.lead.leader != p.m.nodeID {
		return acked{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	old, durable := p.mu.highWatermark, p.lead.log.Durable()
	hw := committedEnd(old, p.m.nodeID, durable, p.lead.isr, p.mu.ends)
	p.mu.highWatermark = hw
	// With followers the watermark moves by other steps than the appends: the sizes are
	// not known, and a fetch that is woken looks for itself.
	unsized := hw > old && (bytes == 0 || len(p.lead.isr) > 1)
	p.notifyLocked(bytes, unsized)
	a := acked{batches: reached(&p.mu.pending, hw), durable: reached(&p.mu.staged, durable)}
	if len(p.lead.isr) < p.minInSyncLocked() {
		a.err = kafka.NotEnoughReplicasAfterAppend
	}
	return a
}

// reached takes the batches that end at or below end off a list.
func reached(list *[]*Pending, end int64) []*Pending {
	n := 0
	for n < len(*list) && (*list)[n].end <= end {
		n++
	}
	out := (*list)[:n:n]
	if *list = (*list)[n:]; len(*list) == 0 {
		*list = nil
	}
	return out
}

// wakeAll makes every parked fetch of the partition look again.
func (p *Partition) wakeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.notifyLocked(0, true)
}

// failPending answers the batches that wait for the in-sync set, or for a disk.
func (p *Partition) failPending(err error) {
	p.mu.Lock()
	pending := slices.Concat(p.mu.pending, p.mu.staged)
	p.mu.pending, p.mu.staged = nil, nil
	p.mu.Unlock()
	acked{batches: pending, err: err}.resolve()
}

// resign ends all service of the partition, for the reason given.
func (p *Partition) resign(why error) {
	p.lead.Lock()
	p.lead.refused = why
	p.lead.Unlock()
	p.leaveTier()
	p.failPending(why)
	p.wakeAll()
}
