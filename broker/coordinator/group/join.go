package group

import (
	"github.com/varve-io/varve/broker/coordinator"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/wire"
)

// Client is where a request comes from.
type Client struct {
	ID, Host string
	Version  int16 // of the request
}

// joinReply answers a JoinGroup.
type joinReply = func(*wire.JoinGroupResponse)

func joinError(memberID string, code kafka.Error) *wire.JoinGroupResponse {
	return &wire.JoinGroupResponse{MemberID: memberID, ErrorCode: int16(code), GenerationID: -1}
}

// joining is one JoinGroup.
type joining struct {
	Client
	*wire.JoinGroupRequest
	reply joinReply
}

// refuse answers with an error.
func (j joining) refuse(e *event, memberID string, code kafka.Error) {
	e.reply(func() { j.reply(joinError(memberID, code)) })
}

// Join has a member join a group, or join it again. It is answered when the group is
// complete, or at once with an error.
func (s *Shard) Join(nowMs int64, c Client, req *wire.JoinGroupRequest, reply func(*wire.JoinGroupResponse)) coordinator.Step {
	e := s.event(nowMs)
	j := joining{c, req, reply}
	g, exists := s.groups.Get(req.GroupID)
	if exists && g.modern != nil {
		if !g.empty() {
			e.on(g).joinModern(j)
			return e.done()
		}
		if req.MemberID == "" && req.ProtocolType != "" && len(req.Protocols) > 0 {
			g = e.on(g).toEmptyClassic()
		} else {
			exists = false // as if it were not there: it is refused
		}
	}
	switch {
	case !exists && req.MemberID != "":
		j.refuse(e, req.MemberID, kafka.UnknownMemberID)
		return e.done()
	case !exists && (req.ProtocolType == "" || len(req.Protocols) == 0):
		j.refuse(e, "", kafka.InconsistentGroupProtocol)
		return e.done()
	case !exists:
		g = e.create(req.GroupID)
		e.record(groupRecord(g, nil)) // what follows may lose a member's id in a crash, but not the group
	}
	switch {
	case !g.accepts(req.MemberID, s.env.Config().MaxSize):
		g.remove(req.MemberID)
		j.refuse(e, "", kafka.GroupMaxSizeReached)
	case !g.supports(req.ProtocolType, req.Protocols):
		j.refuse(e, req.MemberID, kafka.InconsistentGroupProtocol)
	case req.MemberID == "":
		e.joinNew(g, j)
	default:
		e.joinAgain(g, j)
	}
	return e.done()
}

// accepts says whether the group has room for a member. While it rebalances, those count that
// have joined: the last ones to come are left out of a group that has become too large.
func (g *group) accepts(memberID string, limit int) bool {
	m := g.byID[memberID]
	switch g.state {
	case PreparingRebalance:
		return m != nil && m.join != nil || g.joining < limit
	case CompletingRebalance, Stable:
		return m != nil || len(g.members) < limit
	}
	return true
}

// joinNew has a member join that has no id yet.
func (e *event) joinNew(g *group, j joining) {
	if j.GroupInstanceID != nil {
		id := *j.GroupInstanceID + "-" + e.s.env.NewID()
		if old := g.instances[*j.GroupInstanceID]; old != nil {
			e.replaceStatic(g, old, id, j)
			return
		}
		e.addMember(g, id, j)
		return
	}
	id := j.Client.ID + "-" + e.s.env.NewID()
	if j.Version < 4 {
		e.addMember(g, id, j)
		return
	}
	// The client learns its id before it waits, so that a repetition is not another member
	// (KIP-394).
	g.pendingJoin[id] = true
	e.timer(g, memberTimer+id, int64(j.SessionTimeoutMs), func(e *event, g *group) { e.sessionEnded(g, id) })
	j.refuse(e, id, kafka.MemberIDRequired)
}

// joinAgain has a member join that has an id.
func (e *event) joinAgain(g *group, j joining) {
	if g.pendingJoin[j.MemberID] {
		if j.GroupInstanceID != nil { // static members are given no id beforehand
			j.refuse(e, j.MemberID, kafka.UnknownMemberID)
			return
		}
		e.addMember(g, j.MemberID, j)
		return
	}
	if code := g.validate(j.MemberID, j.GroupInstanceID); code != kafka.NoError {
		j.refuse(e, j.MemberID, code)
		return
	}
	m := g.byID[j.MemberID]
	same := m.matches(j.Protocols)
	switch {
	case g.state == CompletingRebalance && same, g.state == Stable && same && g.leader != m.id:
		// The answer to its first try was lost, or it asks for nothing new. A leader in a
		// stable group wants a rebalance: something has changed that the group doesn't know.
		resp := g.joined(m)
		e.reply(func() { j.reply(resp) })
	case g.state == Empty: // can't be: it has a member
		j.refuse(e, j.MemberID, kafka.UnknownMemberID)
	default:
		e.updateMember(g, m, j)
		e.rebalanceOrComplete(g)
	}
}

// joined is the answer to a member of a generation.
func (g *group) joined(m *member) *wire.JoinGroupResponse {
	resp := &wire.JoinGroupResponse{
		GenerationID: g.generation, ProtocolType: &g.protocolType, ProtocolName: g.protocol, Leader: g.leader, MemberID: m.id,
	}
	if g.leader == m.id {
		for _, other := range g.members {
			resp.Members = append(resp.Members, wire.JoinGroupResponseMember{
				MemberID: other.id, GroupInstanceID: other.instance, Metadata: other.metadata(g.protocol),
			})
		}
	}
	return resp
}

// addMember puts a new member into the group, where it waits for the others.
func (e *event) addMember(g *group, id string, j joining) {
	m := &member{
		id: id, instance: j.GroupInstanceID, clientID: j.Client.ID, host: j.Host, fresh: true, join: j.reply,
		sessionTimeoutMs: j.SessionTimeoutMs, rebalanceTimeoutMs: j.RebalanceTimeoutMs, protocols: j.Protocols,
	}
	if g.state == PreparingRebalance && g.previous == Empty {
		g.newMemberAdded = true
	}
	g.add(m, j.ProtocolType)
	// A client that waits sends no heartbeats, and one that has gone is not noticed while it
	// waits: the first join has a limit of its own, after which a client that is there tries again.
	e.expect(g, m, e.s.env.Config().NewMemberJoinTimeoutMs)
	e.rebalanceOrComplete(g)
}

// updateMember takes over what a member says when it joins again, and has it wait.
func (e *event) updateMember(g *group, m *member, j joining) {
	g.count(m, -1)
	m.protocols = j.Protocols
	g.count(m, 1)
	m.sessionTimeoutMs, m.rebalanceTimeoutMs = j.SessionTimeoutMs, j.RebalanceTimeoutMs
	g.waitInJoin(m, j.reply)
}

// replaceStatic gives the place of a static member to another client of its name, which may
// be the same one after a restart. While that changes nothing for the others, nothing is
// rebalanced. The one that was there before is fenced (KIP-345).
func (e *event) replaceStatic(g *group, m *member, id string, j joining) {
	before, wasLeader := *m, g.leader
	e.fence(g, m)
	e.rename(g, m, id)
	e.updateMember(g, m, j)
	e.expectHeartbeat(g, m)
	switch {
	case g.state == CompletingRebalance: // the leader assigns to the id that was
		e.prepareRebalance(g)
	case g.state != Stable:
		e.maybeCompleteJoin(g)
	case g.protocol == nil || g.choose() != *g.protocol:
		e.rebalanceOrComplete(g)
	default:
		e.record(groupRecord(g, (*member).assigned))
		e.after(func(e *event, err error) {
			// Else it was answered meanwhile, or waits for the next generation with the others.
			if now, _ := e.s.groups.Get(g.id); now == g && g.state == Stable && m.id == id && m.join != nil {
				e.replaced(g, m, j, err, before, wasLeader)
			}
		})
	}
}

// fence answers a static member that another one takes the place of.
func (e *event) fence(g *group, m *member) {
	if join := m.join; join != nil {
		resp := joinError(m.id, kafka.FencedInstanceID)
		g.waitInJoin(m, nil)
		e.reply(func() { join(resp) })
	}
	e.replySync(m, &wire.SyncGroupResponse{ErrorCode: int16(kafka.FencedInstanceID)})
}

// rename gives a static member another id.
func (e *event) rename(g *group, m *member, id string) {
	e.stopTimer(g, memberTimer+m.id)
	delete(g.byID, m.id)
	delete(g.pendingSync, m.id)
	if g.leader == m.id {
		g.leader = id
	}
	m.id, m.fresh = id, false
	g.byID[id] = m
}

// replaced ends the replacement of a static member without a rebalance, when its record is
// written; else everything is as it was before.
func (e *event) replaced(g *group, m *member, j joining, err error, before member, wasLeader string) {
	if err != nil {
		resp := joinError("", codeOf(err))
		g.count(m, -1)
		m.protocols, m.sessionTimeoutMs, m.rebalanceTimeoutMs = before.protocols, before.sessionTimeoutMs, before.rebalanceTimeoutMs
		g.count(m, 1)
		g.waitInJoin(m, nil)
		e.rename(g, m, before.id)
		e.expectHeartbeat(g, m)
		e.reply(func() { j.reply(resp) })
		return
	}
	g.waitInJoin(m, nil)
	resp := g.joined(m)
	if j.Version >= 9 {
		resp.SkipAssignment = g.leader == m.id
	} else {
		// A client that can't be told to skip the assignment must not take itself for the leader.
		resp.Members, resp.Leader = nil, wasLeader
	}
	e.reply(func() { j.reply(resp) })
}
