package group

import (
	"time"

	"github.com/varve-io/varve/broker/coordinator"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/wire"
)

// Shard is the groups of one partition of the offsets topic; a coordinator.Machine.
type Shard struct {
	versions *coordinator.Versions
	config   func() Config
	newID    func() string // for the ids of members
	groups   *coordinator.Map[string, *group]
	// open is the offsets of each producer's open transaction; some may be gone since.
	open     *coordinator.Map[int64, []groupPartition]
	order    int64 // the number of offsets that were committed, with a transaction or without
	expiring bool  // the timer of the expiry is set
}

// NewShard makes a Shard without groups. newID draws the random part of member ids.
func NewShard(v *coordinator.Versions, config func() Config, newID func() string) *Shard {
	return &Shard{
		versions: v, config: config, newID: newID,
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
		Key: coordinator.TimerKey{Name: expireTimer}, After: time.Duration(s.config().RetentionCheckIntervalMs) * time.Millisecond,
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
		for _, m := range g.members {
			e.expectHeartbeat(g, m)
		}
		if len(g.members) > s.config().MaxSize {
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
