package group

import (
	"github.com/varve-io/varve/broker/coordinator/group/consumer"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/wire"
)

// Members of the classic protocol in a group of the consumer protocol. The coordinator is
// their leader: they join and get the epoch that they are in as generation, sync and get what
// they own, and are told in a heartbeat to join again when there is news.

// joinModern has a classic member join the group, or join it again.
func (e *turn) joinModern(j joining) {
	code := e.mayJoinModern(j)
	if code != kafka.NoError {
		j.refuse(e.event, j.MemberID, code)
		return
	}
	id := j.MemberID
	if id == "" {
		id = e.s.env.NewID()
		if j.GroupInstanceID == nil && j.Version >= 4 {
			j.refuse(e.event, id, kafka.MemberIDRequired)
			return
		}
	}
	_, sub, err := parseSubscription(j.Protocols[0].Metadata)
	if err != nil {
		j.refuse(e.event, id, kafka.UnknownServerError)
		return
	}
	old, code := e.g.modern.joiner(j, id)
	if code != kafka.NoError {
		j.refuse(e.event, id, code)
		return
	}
	down := j.GroupInstanceID != nil && e.g.modern.static(*j.GroupInstanceID) != nil && e.mayReplaceDown(e.g.modern.static(*j.GroupInstanceID))
	old = e.takeClassicPlace(old, id)
	img, cfg := e.s.env.Image(), e.s.env.Consumer(e.g.id)
	next := *old
	keep(&next.Instance, j.GroupInstanceID)
	keep(&next.Rack, emptyAsNil(sub.RackID))
	next.RebalanceTimeoutMs, next.Topics, next.Regex = j.RebalanceTimeoutMs, ascending(sub.Topics), ""
	next.ClientID, next.Host, next.Classic = j.Client.ID, j.Host, classicOf(j.SessionTimeoutMs, j.Protocols)

	names, regex := e.tell(old, &next)
	changed := names || regex != regexSame
	e.bump(img, changed)
	owned := reportedBy(&sub, img)
	m := &next
	if down {
		if !changed {
			m = e.reconcile(m, img, owned, false)
		}
		e.downgrade(nil, changed)
	} else {
		e.assign(img, cfg)
		m = e.reconcile(m, img, owned, changed)
	}
	resp := &wire.JoinGroupResponse{
		MemberID: m.ID, GenerationID: m.Epoch, ProtocolType: &e.g.protocolType, ProtocolName: &m.Classic.Protocols[0].Name,
	}
	g := e.g
	e.after(func(e *event, err error) {
		if err != nil {
			j.reply(joinError(m.ID, codeOf(err)))
			return
		}
		j.reply(resp)
		if now, _ := e.s.groups.Get(g.id); now == g && !down {
			e.stopTimer(g, rejoinTimer+m.ID)
			delete(g.modern.rejoining, m.ID)
			e.on(g).expectMember(m, int64(m.Classic.SessionTimeoutMs))
			e.on(g).expectBefore(resyncTimer, m.ID, int64(j.RebalanceTimeoutMs))
		}
	})
}

// mayJoinModern says whether the group takes a classic member.
func (e *turn) mayJoinModern(j joining) kafka.Error {
	cfg := e.s.env.Consumer(e.g.id)
	_, known := e.g.modern.members.Get(j.MemberID)
	switch {
	case !cfg.Upgrade && !cfg.Downgrade:
		return kafka.InconsistentGroupProtocol
	case e.g.modern.members.Len() >= cfg.MaxSize && !known:
		return kafka.GroupMaxSizeReached
	case !e.g.modern.supports(j.ProtocolType, j.Protocols):
		return kafka.InconsistentGroupProtocol
	}
	return kafka.NoError
}

// supports says whether a protocol is one that all classic members support.
func (m *modern) supports(protocolType string, protocols []wire.JoinGroupRequestProtocol) bool {
	if protocolType != consumerProtocol {
		return false
	}
	supported, classics := map[string]int{}, 0
	for _, member := range m.members.All() {
		if member.Classic == nil {
			continue
		}
		classics++
		for _, p := range member.Classic.Protocols {
			supported[p.Name]++
		}
	}
	for _, p := range protocols {
		if supported[p.Name] == classics {
			return true
		}
	}
	return false
}

// joiner is the member that a classic client joins as.
func (m *modern) joiner(j joining, id string) (*consumer.Member, kafka.Error) {
	fresh := &consumer.Member{ID: id, RebalanceTimeoutMs: -1}
	if j.GroupInstanceID == nil {
		if member, ok := m.members.Get(id); ok {
			return member, kafka.NoError
		}
		return fresh, kafka.NoError
	}
	static := m.static(*j.GroupInstanceID)
	switch {
	case j.MemberID == "" && static == nil:
		return fresh, kafka.NoError
	case j.MemberID == "":
		return static, kafka.NoError
	}
	if err := m.checkStatic(*j.GroupInstanceID, id); err != nil {
		return nil, kafka.Code(err)
	}
	return static, kafka.NoError
}

// takeClassicPlace is takePlace for a classic member, whose epoch is no sign of having left.
func (e *turn) takeClassicPlace(m *consumer.Member, id string) *consumer.Member {
	if m.ID == id {
		return m
	}
	return e.takePlace(m, id)
}

// mayReplaceDown says whether the group becomes classic when a classic member takes the place
// of a static one: of the only one of the consumer protocol.
func (e *turn) mayReplaceDown(static *consumer.Member) bool {
	return static.Classic == nil && e.g.modern.classics() == e.g.modern.members.Len()-1 &&
		e.g.modern.members.Len() <= e.s.env.Config().MaxSize && e.s.env.Consumer(e.g.id).Downgrade
}

// reportedBy is what a classic consumer says it owns. A client that can't say so owns nothing,
// because it gives up everything before it joins.
func reportedBy(sub *wire.ConsumerProtocolSubscription, img *metadata.Image) *consumer.Assignment {
	var topics []consumer.TopicPartitions
	for _, t := range sub.OwnedPartitions {
		topics = append(topics, namedPartitions(img, t.Topic, t.Partitions, 0)...)
	}
	out := consumer.Normal(topics)
	return &out
}

// classicMember is the classic member that a request comes from.
func (m *modern) classicMember(id string, instance *string, generation int32) (*consumer.Member, kafka.Error) {
	member, ok := m.members.Get(id)
	if instance != nil {
		if err := m.checkStatic(*instance, id); err != nil {
			return nil, kafka.Code(err)
		}
	}
	switch {
	case !ok || member.Classic == nil || len(member.Classic.Protocols) == 0:
		return nil, kafka.UnknownMemberID
	case member.Epoch != generation:
		return nil, kafka.IllegalGeneration
	}
	return member, kafka.NoError
}

// syncModern tells a classic member what it owns.
func (e *turn) syncModern(req *wire.SyncGroupRequest, reply func(*wire.SyncGroupResponse)) {
	refuse := func(code kafka.Error) { e.reply(func() { reply(&wire.SyncGroupResponse{ErrorCode: int16(code)}) }) }
	m, code := e.g.modern.classicMember(req.MemberID, req.GroupInstanceID, req.GenerationID)
	if code != kafka.NoError {
		refuse(code)
		return
	}
	protocol := m.Classic.Protocols[0].Name
	switch {
	case req.ProtocolType != nil && *req.ProtocolType != consumerProtocol, req.ProtocolName != nil && *req.ProtocolName != protocol:
		refuse(kafka.InconsistentGroupProtocol)
		return
	case e.g.modern.now().group > m.Epoch && m.State != consumer.Unrevoked:
		// There is news already. One that has to give something up does that first.
		e.expectRejoin(m)
		refuse(kafka.RebalanceInProgress)
		return
	}
	resp := &wire.SyncGroupResponse{ProtocolType: req.ProtocolType, ProtocolName: req.ProtocolName, Assignment: classicAssignment(m, e.s.env.Image())}
	g := e.g
	e.after(func(e *event, err error) {
		if err != nil {
			reply(&wire.SyncGroupResponse{ErrorCode: int16(codeOf(err))})
			return
		}
		reply(resp)
		if now, _ := e.s.groups.Get(g.id); now == g {
			e.stopTimer(g, resyncTimer+m.ID)
			e.on(g).expectMember(m, int64(m.Classic.SessionTimeoutMs))
		}
	})
}

// heartbeatModern keeps a classic member's session, and tells it whether to join again: when
// the group is ahead of it, when it has to give something up, or when what it waits for is free.
func (e *turn) heartbeatModern(req *wire.HeartbeatRequest) kafka.Error {
	m, code := e.g.modern.classicMember(req.MemberID, req.GroupInstanceID, req.GenerationID)
	if code != kafka.NoError {
		return code
	}
	e.expectMember(m, int64(m.Classic.SessionTimeoutMs))
	if m.Epoch < e.g.modern.now().group || m.State == consumer.Unrevoked || m.State == consumer.Unreleased && !e.g.modern.waits(m) {
		e.expectRejoin(m)
		return kafka.RebalanceInProgress
	}
	return kafka.NoError
}

// waits says whether something that the member is to own is in the hands of another one.
func (m *modern) waits(member *consumer.Member) bool {
	target, _ := m.targets.Get(member.ID)
	for id, p := range target.All() {
		if _, owned := m.owners.Get(partitionID{id, p}); owned && !member.Assigned.Has(id, p) {
			return true
		}
	}
	return false
}

// expectRejoin begins the time in which a classic member has to join again, when it is first told so.
func (e *turn) expectRejoin(m *consumer.Member) {
	if e.g.modern.rejoining[m.ID] {
		return
	}
	if e.g.modern.rejoining == nil {
		e.g.modern.rejoining = map[string]bool{}
	}
	e.g.modern.rejoining[m.ID] = true
	e.expectBefore(rejoinTimer, m.ID, int64(max(0, m.RebalanceTimeoutMs)))
}

// leaveClassic takes members out, of whatever protocol, by id or instance.
func (e *turn) leaveClassic(members []wire.LeaveGroupRequestMember) []wire.LeaveGroupResponseMember {
	out := make([]wire.LeaveGroupResponseMember, len(members))
	var leaving []*consumer.Member
	seen := map[string]bool{}
	for i, who := range members {
		out[i] = wire.LeaveGroupResponseMember{MemberID: who.MemberID, GroupInstanceID: who.GroupInstanceID}
		m, ok := e.g.modern.members.Get(who.MemberID)
		code := kafka.NoError
		if who.GroupInstanceID != nil {
			m = e.g.modern.static(*who.GroupInstanceID)
			if ok = m != nil; ok && who.MemberID != "" && m.ID != who.MemberID {
				code = kafka.FencedInstanceID
			}
		}
		if !ok {
			code = kafka.UnknownMemberID
		}
		out[i].ErrorCode = int16(code)
		if code == kafka.NoError && !seen[m.ID] {
			seen[m.ID] = true
			leaving = append(leaving, m)
		}
	}
	e.fenceMembers(leaving)
	return out
}
