package group

import (
	"time"

	"github.com/varve-io/varve/broker/coordinator"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/wire"
)

// Shard is the groups of one partition of the offsets topic; a coordinator.Machine.
type Shard struct {
	versions *coordinator.Versions
	env      Env
	groups   *coordinator.Map[string, *group]
	// open is the offsets of each producer's open transaction; some may be gone since.
	open     *coordinator.Map[int64, []groupPartition]
	order    int64 // the number of offsets that were committed, with a transaction or without
	expiring bool  // the timer of the expiry is set
	loading  offsetReader
}

// Env is what a Shard knows of the world. Its functions may be called from any goroutine.
type Env struct {
	Config func() Config
	// Consumer is the settings of a group as one of the consumer protocol.
	Consumer func(groupID string) ConsumerConfig
	// NewID draws ids of members, or the random part of them.
	NewID func() string
	// Image is the metadata, never nil.
	Image func() *metadata.Image
	// TopicsVersion is the version of the last image with new topics.
	TopicsVersion func() int64
	// Match has Matched called some time later, with what regular expressions match. It does not block.
	Match func(groupID string, expressions []string)
}

// NewShard makes a Shard without groups.
func NewShard(v *coordinator.Versions, env Env) *Shard {
	return &Shard{
		versions: v, env: env,
		groups: coordinator.NewMap[string, *group](v), open: coordinator.NewMap[int64, []groupPartition](v),
	}
}

// event is one step in the making.
type event struct {
	s      *Shard
	nowMs  int64
	step   coordinator.Step
	afters []func(*event, error)
}

func (s *Shard) event(nowMs int64) *event { return &event{s: s, nowMs: nowMs} }

// done is the step.
func (e *event) done() coordinator.Step {
	if afters := e.afters; len(afters) > 0 {
		s := e.s
		e.step.Done = func(nowMs int64, err error) coordinator.Step {
			next := s.event(nowMs)
			for _, f := range afters {
				f(next, err)
			}
			return next.done()
		}
	}
	return e.step
}

// after has f run when the records of the event are committed, or never will be.
func (e *event) after(f func(*event, error)) { e.afters = append(e.afters, f) }

// reply has f run at once.
func (e *event) reply(f func()) { e.step.Replies = append(e.step.Replies, f) }

func (e *event) record(r coordinator.Record) { e.step.Records = append(e.step.Records, r) }

// The timers of a group. A member's carries its id.
const (
	joinTimer   = "join"
	syncTimer   = "sync"
	memberTimer = "member "
	expireTimer = "expire" // of the shard: its scope is empty
)

// timer sets a timer of a group. It is void when the group has gone meanwhile.
func (e *event) timer(g *group, name string, afterMs int64, f func(*event, *group)) {
	s := e.s
	e.step.Timers = append(e.step.Timers, coordinator.Timer{
		Key: coordinator.TimerKey{Scope: g.id, Name: name}, After: time.Duration(afterMs) * time.Millisecond,
		Fire: func(nowMs int64) coordinator.Step {
			next := s.event(nowMs)
			if now, _ := s.groups.Get(g.id); now == g {
				f(next, g)
			}
			return next.done()
		},
	})
}

func (e *event) stopTimer(g *group, name string) {
	e.step.Timers = append(e.step.Timers, coordinator.Timer{Key: coordinator.TimerKey{Scope: g.id, Name: name}})
}

// create makes a group without members.
func (e *event) create(id string) *group {
	g := newGroup(e.s.versions, id, e.nowMs)
	e.s.groups.Set(id, g)
	e.expireLater()
	return g
}

// deleteGroup deletes a group without members, and its offsets.
func (e *event) deleteGroup(g *group) {
	for tp := range g.offsets.All() {
		e.deleteOffset(g, tp)
	}
	for tp := range g.pending.All() {
		e.deleteOffset(g, tp)
	}
	e.s.groups.Delete(g.id)
	if g.modern != nil {
		e.on(g).tombstones()
		return
	}
	e.record(coordinator.Record{Key: groupRecordKey(g.id)})
}

// expireLater sees to it that expired offsets are looked for while there are groups.
func (e *event) expireLater() {
	s := e.s
	if s.expiring || s.groups.Len() == 0 {
		return
	}
	s.expiring = true
	e.step.Timers = append(e.step.Timers, coordinator.Timer{
		Key: coordinator.TimerKey{Name: expireTimer}, After: time.Duration(s.env.Config().RetentionCheckIntervalMs) * time.Millisecond,
		Fire: func(nowMs int64) coordinator.Step {
			next := s.event(nowMs)
			s.expiring = false
			next.expire()
			next.expireLater()
			return next.done()
		},
	})
}

// Loaded implements coordinator.Machine: the members' sessions begin anew.
func (s *Shard) Loaded(nowMs int64) coordinator.Step {
	e := s.event(nowMs)
	for _, g := range s.groups.All() {
		if g.modern != nil {
			e.on(g).loadedModern()
			continue
		}
		for _, m := range g.members {
			e.expectHeartbeat(g, m)
		}
		if len(g.members) > s.env.Config().MaxSize {
			e.prepareRebalance(g)
		}
	}
	e.expireLater()
	return e.done()
}

// Unloaded implements coordinator.Machine: whoever waits has to look for the coordinator.
func (s *Shard) Unloaded(err error) (replies []func()) {
	code := int16(codeOf(err))
	for _, g := range s.groups.All() {
		for _, m := range g.members {
			if m.join != nil {
				join, id := m.join, m.id
				replies = append(replies, func() { join(joinError(id, kafka.Error(code))) })
			}
			if m.sync != nil {
				sync := m.sync
				replies = append(replies, func() { sync(&wire.SyncGroupResponse{ErrorCode: code}) })
			}
			m.join, m.sync = nil, nil
		}
	}
	return replies
}

// codeOf is the error that members are told when a record could not be written, or the shard
// can't be asked.
func codeOf(err error) kafka.Error { return coordinator.Code(err) }
