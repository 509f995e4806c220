package group

import (
	"slices"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/wire"
)

// rebalanceOrComplete begins a rebalance, or ends the one that is under way if nobody is missing.
func (e *event) rebalanceOrComplete(g *group) {
	if g.canRebalance() {
		e.prepareRebalance(g)
	} else {
		e.maybeCompleteJoin(g)
	}
}

// maybeCompleteJoin ends the wait for members if nobody is missing. The first rebalance of an
// empty group waits for its delay, so that those who start together are in one generation.
func (e *event) maybeCompleteJoin(g *group) {
	if g.state == PreparingRebalance && g.previous != Empty && g.allJoined() {
		e.completeJoin(g)
	}
}

// prepareRebalance has all members join again.
func (e *event) prepareRebalance(g *group) {
	if g.state == CompletingRebalance {
		for _, m := range g.members {
			m.assignment = nil
		}
		e.propagate(g, kafka.RebalanceInProgress)
	}
	e.stopSync(g)
	initial := g.state == Empty
	g.transition(PreparingRebalance, e.nowMs)
	switch {
	case initial:
		delay := e.s.env.Config().InitialRebalanceDelayMs
		e.initialDelay(g, delay, max(0, g.rebalanceTimeoutMs()-delay))
	case g.allJoined():
		e.completeJoin(g)
	default:
		e.timer(g, joinTimer, g.rebalanceTimeoutMs(), (*event).completeJoin)
	}
}

// initialDelay waits for more members of a group that was empty, as long as they come and at
// most for the rebalance timeout.
func (e *event) initialDelay(g *group, delayMs, leftMs int64) {
	e.timer(g, joinTimer, delayMs, func(e *event, g *group) {
		if !g.newMemberAdded || leftMs == 0 {
			e.completeJoin(g)
			return
		}
		g.newMemberAdded = false
		e.initialDelay(g, min(e.s.env.Config().InitialRebalanceDelayMs, leftMs), max(0, leftMs-delayMs))
	})
}

// completeJoin begins the next generation with those who have joined. Static members stay,
// dynamic ones that did not come are out.
func (e *event) completeJoin(g *group) {
	if g.state != PreparingRebalance {
		return
	}
	e.stopTimer(g, joinTimer)
	e.removeMissing(g)
	if !g.electJoined() && len(g.members) > 0 {
		// Only static members, and none of them there: wait until their sessions end.
		e.timer(g, joinTimer, g.rebalanceTimeoutMs(), (*event).completeJoin)
		return
	}
	g.generation++
	clear(g.pendingSync)
	g.newMemberAdded = false
	if len(g.members) == 0 {
		g.protocol = nil
		g.subscribe()
		g.transition(Empty, e.nowMs)
		e.record(groupRecord(g, nil)) // if it is lost, the generation before comes back and times out
		return
	}
	protocol := g.choose()
	g.protocol = &protocol
	g.subscribe()
	g.transition(CompletingRebalance, e.nowMs)
	for _, m := range g.members {
		if join := m.join; join != nil {
			resp := g.joined(m)
			g.waitInJoin(m, nil)
			e.reply(func() { join(resp) })
		}
		e.expectHeartbeat(g, m)
		m.fresh = false
		g.pendingSync[m.id] = true
	}
	generation := g.generation
	e.timer(g, syncTimer, g.rebalanceTimeoutMs(), func(e *event, g *group) { e.syncEnded(g, generation) })
}

// removeMissing takes out the dynamic members that have not joined.
func (e *event) removeMissing(g *group) {
	g.members = slices.DeleteFunc(g.members, func(m *member) bool {
		if m.join != nil || m.instance != nil {
			return false
		}
		g.forget(m)
		e.stopTimer(g, memberTimer+m.id)
		return true
	})
	g.elect()
}

// electJoined makes a member the leader that has joined; false when nobody has.
func (g *group) electJoined() bool {
	if leader := g.byID[g.leader]; leader != nil && leader.join != nil {
		return true
	}
	for _, m := range g.members {
		if m.join != nil {
			g.leader = m.id
			return true
		}
	}
	return false
}

// stopSync ends the wait for members to sync.
func (e *event) stopSync(g *group) {
	clear(g.pendingSync)
	e.stopTimer(g, syncTimer)
}

// syncEnded has a rebalance without the members that have joined and did not sync in time.
func (e *event) syncEnded(g *group, generation int32) {
	if g.generation != generation || len(g.pendingSync) == 0 || g.state != CompletingRebalance && g.state != Stable {
		return
	}
	missing := g.pendingSync
	g.pendingSync = map[string]bool{}
	g.members = slices.DeleteFunc(g.members, func(m *member) bool {
		if !missing[m.id] {
			return false
		}
		g.forget(m)
		e.stopTimer(g, memberTimer+m.id)
		return true
	})
	g.elect()
	e.prepareRebalance(g)
}

// propagate answers all who wait for their assignment.
func (e *event) propagate(g *group, code kafka.Error) {
	for _, m := range g.members {
		resp := &wire.SyncGroupResponse{ErrorCode: int16(code), Assignment: m.assignment}
		if code == kafka.NoError {
			resp.ProtocolType, resp.ProtocolName = &g.protocolType, g.protocol
		}
		if e.replySync(m, resp) {
			e.expectHeartbeat(g, m) // its session did not count while it waited
		}
	}
}

// replySync answers a member that waits in a sync, and says whether it did.
func (e *event) replySync(m *member, resp *wire.SyncGroupResponse) bool {
	sync := m.sync
	if m.sync = nil; sync == nil {
		return false
	}
	e.reply(func() { sync(resp) })
	return true
}

// assigned is what the leader told the member.
func (m *member) assigned() []byte { return m.assignment }
