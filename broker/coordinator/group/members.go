package group

import (
	"github.com/varve-io/varve/broker/coordinator"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/wire"
)

// expectHeartbeat begins the member's session anew.
func (e *event) expectHeartbeat(g *group, m *member) { e.expect(g, m, int64(m.sessionTimeoutMs)) }

func (e *event) expect(g *group, m *member, withinMs int64) {
	id := m.id
	e.timer(g, memberTimer+id, withinMs, func(e *event, g *group) { e.sessionEnded(g, id) })
}

// sessionEnded takes out a member that was not heard of, or an id that nobody has used.
func (e *event) sessionEnded(g *group, id string) {
	if g.pendingJoin[id] {
		g.remove(id)
		if g.state == PreparingRebalance && g.allJoined() {
			e.completeJoin(g)
		}
		return
	}
	m := g.byID[id]
	if m == nil || m.alive() {
		return
	}
	e.removeMember(g, m)
	switch {
	case g.state == Stable || g.state == CompletingRebalance:
		e.prepareRebalance(g)
	case g.state == PreparingRebalance && g.allJoined():
		e.completeJoin(g)
	}
}

// removeMember takes a member out; if it waits, it is told to join as a new one.
func (e *event) removeMember(g *group, m *member) {
	if join := m.join; join != nil {
		g.waitInJoin(m, nil)
		e.reply(func() { join(joinError("", kafka.UnknownMemberID)) })
	}
	e.replySync(m, &wire.SyncGroupResponse{ErrorCode: int16(kafka.UnknownMemberID)})
	g.remove(m.id)
}

// Sync hands the leader's assignment in, or asks for the member's share of it. It is answered
// when the assignment is committed.
func (s *Shard) Sync(nowMs int64, req *wire.SyncGroupRequest, reply func(*wire.SyncGroupResponse)) coordinator.Step {
	e := s.event(nowMs)
	if g, ok := s.groups.Get(req.GroupID); ok && g.modern != nil && !g.empty() {
		e.on(g).syncModern(req, reply)
		return e.done()
	}
	g, code := e.syncing(req)
	switch {
	case code != kafka.NoError:
		e.reply(func() { reply(&wire.SyncGroupResponse{ErrorCode: int16(code)}) })
	case g.state == Stable:
		e.synced(g, req.MemberID)
		resp := &wire.SyncGroupResponse{
			ProtocolType: &g.protocolType, ProtocolName: g.protocol, Assignment: g.byID[req.MemberID].assignment,
		}
		e.reply(func() { reply(resp) })
	default: // CompletingRebalance
		m := g.byID[req.MemberID]
		// A repetition takes the place of the first try, whose connection has gone.
		e.replySync(m, &wire.SyncGroupResponse{ErrorCode: int16(kafka.RebalanceInProgress)})
		m.sync = reply
		e.synced(g, m.id)
		if g.leader == m.id {
			e.storeAssignment(g, req)
		}
	}
	return e.done()
}

// syncing checks a SyncGroup.
func (e *event) syncing(req *wire.SyncGroupRequest) (*group, kafka.Error) {
	g, ok := e.s.groups.Get(req.GroupID)
	if !ok || g.empty() {
		return nil, kafka.UnknownMemberID
	}
	if code := g.validate(req.MemberID, req.GroupInstanceID); code != kafka.NoError {
		return nil, code
	}
	differs := func(a *string, b string) bool { return a != nil && *a != b }
	switch {
	case req.GenerationID != g.generation:
		return nil, kafka.IllegalGeneration
	case differs(req.ProtocolType, g.protocolType), g.protocol != nil && differs(req.ProtocolName, *g.protocol):
		return nil, kafka.InconsistentGroupProtocol
	case g.state == PreparingRebalance:
		return nil, kafka.RebalanceInProgress
	}
	return g, kafka.NoError
}

// synced notes that a member has synced in this generation.
func (e *event) synced(g *group, id string) {
	delete(g.pendingSync, id)
	if len(g.pendingSync) == 0 {
		e.stopTimer(g, syncTimer)
	}
}

// storeAssignment writes the generation down, and hands the assignments out when that is
// committed.
func (e *event) storeAssignment(g *group, req *wire.SyncGroupRequest) {
	assignment := make(map[string][]byte, len(req.Assignments))
	for _, a := range req.Assignments {
		assignment[a.MemberID] = a.Assignment
	}
	e.record(groupRecord(g, func(m *member) []byte { return assignment[m.id] }))
	generation := g.generation
	e.after(func(e *event, err error) {
		if now, _ := e.s.groups.Get(g.id); now != g || g.state != CompletingRebalance || g.generation != generation {
			return // somebody has joined meanwhile
		}
		if err != nil {
			for _, m := range g.members {
				m.assignment = nil
			}
			e.propagate(g, codeOf(err))
			e.prepareRebalance(g)
			return
		}
		for _, m := range g.members {
			m.assignment = assignment[m.id]
		}
		e.propagate(g, kafka.NoError)
		g.transition(Stable, e.nowMs)
	})
}

// Heartbeat keeps a member's session, and tells it whether to join again.
func (s *Shard) Heartbeat(nowMs int64, req *wire.HeartbeatRequest, reply func(kafka.Error)) coordinator.Step {
	e := s.event(nowMs)
	code := e.heartbeat(req)
	e.reply(func() { reply(code) })
	return e.done()
}

func (e *event) heartbeat(req *wire.HeartbeatRequest) kafka.Error {
	g, ok := e.s.groups.Get(req.GroupID)
	if !ok {
		return kafka.UnknownMemberID
	}
	if g.modern != nil {
		return e.on(g).heartbeatModern(req)
	}
	if code := g.validate(req.MemberID, req.GroupInstanceID); code != kafka.NoError {
		return code
	}
	if req.GenerationID != g.generation {
		return kafka.IllegalGeneration
	}
	e.expectHeartbeat(g, g.byID[req.MemberID])
	if g.state == PreparingRebalance {
		return kafka.RebalanceInProgress
	}
	return kafka.NoError
}

// Leave takes members out of a group, by id or, for static ones, by instance.
func (s *Shard) Leave(nowMs int64, groupID string, members []wire.LeaveGroupRequestMember, reply func([]wire.LeaveGroupResponseMember, kafka.Error)) coordinator.Step {
	e := s.event(nowMs)
	g, ok := s.groups.Get(groupID)
	if ok && g.modern != nil {
		out := e.on(g).leaveClassic(members)
		e.after(func(_ *event, err error) { reply(out, codeOf(err)) })
		return e.done()
	}
	out := make([]wire.LeaveGroupResponseMember, len(members))
	left := false
	for i, m := range members {
		code := kafka.UnknownMemberID
		if ok {
			code = e.leave(g, m)
		}
		left = left || code == kafka.NoError
		out[i] = wire.LeaveGroupResponseMember{MemberID: m.MemberID, GroupInstanceID: m.GroupInstanceID, ErrorCode: int16(code)}
	}
	if left {
		switch g.state {
		case Stable, CompletingRebalance:
			e.prepareRebalance(g)
		case PreparingRebalance:
			e.maybeCompleteJoin(g)
		}
	}
	e.after(func(_ *event, err error) { reply(out, codeOf(err)) })
	return e.done()
}

// leave takes one member out.
func (e *event) leave(g *group, who wire.LeaveGroupRequestMember) kafka.Error {
	id := who.MemberID
	switch {
	case id == "": // an administrator names a static member
		if who.GroupInstanceID == nil || g.instances[*who.GroupInstanceID] == nil {
			return kafka.UnknownMemberID
		}
		id = g.instances[*who.GroupInstanceID].id
	case g.pendingJoin[id]:
		g.remove(id)
		e.stopTimer(g, memberTimer+id)
		return kafka.NoError
	default:
		if code := g.validate(id, who.GroupInstanceID); code != kafka.NoError {
			return code
		}
	}
	e.stopTimer(g, memberTimer+id)
	e.removeMember(g, g.byID[id])
	return kafka.NoError
}
