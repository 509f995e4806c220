package group

import (
	"fmt"
	"slices"

	"github.com/varve-io/varve/broker/coordinator"
	"github.com/varve-io/varve/broker/coordinator/group/consumer"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/wire"
)

// The timers of a member of the consumer protocol; each carries its id. They are not those of
// classic members, so that a change of protocols that is taken back leaves those running.
const (
	sessionTimer   = "session "
	rebalanceTimer = "rebalance "
	rejoinTimer    = "rejoin "
	resyncTimer    = "resync "
)

// ConsumerHeartbeat has a member join a group of the consumer protocol, stay in it, or leave
// it. It is answered when what it changed is committed.
func (s *Shard) ConsumerHeartbeat(nowMs int64, c Client, req *wire.ConsumerGroupHeartbeatRequest, reply func(*wire.ConsumerGroupHeartbeatResponse)) coordinator.Step {
	e := s.event(nowMs)
	var resp *wire.ConsumerGroupHeartbeatResponse
	var err error
	if req.MemberEpoch < 0 {
		resp, err = e.leaveModern(req)
	} else {
		resp, err = (&heartbeat{e, c, req, s.env.Consumer(req.GroupID)}).beat()
	}
	if err != nil {
		resp = refusedHeartbeat(err)
	}
	e.after(func(_ *event, err error) {
		if err != nil {
			resp = refusedHeartbeat(codeOf(err))
		}
		reply(resp)
	})
	return e.done()
}

// refusedHeartbeat is an answer with an error.
func refusedHeartbeat(err error) *wire.ConsumerGroupHeartbeatResponse {
	resp := new(wire.ConsumerGroupHeartbeatResponse)
	resp.Default()
	text := err.Error()
	resp.ErrorCode, resp.ErrorMessage = int16(kafka.Code(err)), &text
	return resp
}

// heartbeat is one ConsumerGroupHeartbeat of a member that joins or stays.
type heartbeat struct {
	*event
	from Client
	req  *wire.ConsumerGroupHeartbeatRequest
	cfg  ConsumerConfig
}

func (h *heartbeat) beat() (*wire.ConsumerGroupHeartbeatResponse, error) {
	req, cfg, c := h.req, h.cfg, h.from
	id := req.MemberID
	if id == "" {
		id = h.s.env.NewID()
	}
	img := h.s.env.Image()
	g, old, err := h.admit(id)
	if err != nil {
		return nil, err
	}
	e := h.on(g)
	next := *old
	next.ClientID, next.Host, next.Classic = c.ID, c.Host, nil
	keep(&next.Instance, req.InstanceID)
	keep(&next.Rack, req.RackID)
	keep(&next.Assignor, req.ServerAssignor)
	if req.SubscribedTopicRegex != nil {
		next.Regex = *req.SubscribedTopicRegex
	}
	if req.RebalanceTimeoutMs != -1 {
		next.RebalanceTimeoutMs = req.RebalanceTimeoutMs
	}
	if req.SubscribedTopicNames != nil {
		next.Topics = ascending(req.SubscribedTopicNames)
	}
	names, regex := e.tell(old, &next)
	e.refreshExpressions(cfg)
	e.bump(img, names || regex == regexResolved)
	e.assign(img, cfg)
	m := e.reconcile(&next, img, assignmentOf(req.TopicPartitions), names || regex != regexSame)
	e.expectMember(m, cfg.SessionTimeoutMs)

	resp := &wire.ConsumerGroupHeartbeatResponse{MemberID: &m.ID, MemberEpoch: m.Epoch, HeartbeatIntervalMs: cfg.HeartbeatIntervalMs}
	full := req.RebalanceTimeoutMs != -1 && (req.SubscribedTopicNames != nil || req.SubscribedTopicRegex != nil) && req.TopicPartitions != nil
	if req.MemberEpoch == consumer.JoinEpoch || full || !m.Assigned.Same(old.Assigned) {
		resp.Assignment = &wire.ConsumerGroupHeartbeatResponseAssignment{}
		for _, t := range m.Assigned {
			resp.Assignment.TopicPartitions = append(resp.Assignment.TopicPartitions,
				wire.ConsumerGroupHeartbeatResponseTopicPartitions{TopicID: t.ID, Partitions: t.Partitions})
		}
	}
	return resp, nil
}

// keep sets what a request names and leaves what it does not.
func keep(to **string, said *string) {
	if said != nil {
		*to = said
	}
}

// admit finds the group and the member of a heartbeat, and makes them where it joins; or it
// says why it is refused, and has changed nothing.
func (h *heartbeat) admit(id string) (*group, *consumer.Member, error) {
	e, req, cfg := h.event, h.req, h.cfg
	g, ok := e.s.groups.Get(req.GroupID)
	join := req.MemberEpoch == consumer.JoinEpoch
	size, known := 0, false
	var up *upgrade
	var err error
	switch {
	case ok && g.modern != nil:
		_, known = g.modern.members.Get(id)
		size = g.modern.members.Len()
	case !join:
		return nil, nil, fmt.Errorf("there is no group %q of the consumer protocol: %w", req.GroupID, kafka.GroupIDNotFound)
	case ok && !g.empty():
		if up, err = e.s.prepareUpgrade(g, cfg); err != nil {
			return nil, nil, err
		}
		_, known = g.byID[id]
		size = len(g.members)
	}
	if size >= cfg.MaxSize && !known {
		return nil, nil, fmt.Errorf("the group has %d members, which is the most that group.consumer.max.size allows: %w", size, kafka.GroupMaxSizeReached)
	}
	m := &consumer.Member{ID: id, RebalanceTimeoutMs: -1}
	if ok && g.modern != nil {
		if m, err = g.modern.who(req, id); err != nil {
			return nil, nil, err
		}
	}
	if text := req.SubscribedTopicRegex; text != nil && *text != "" {
		var x expression
		if ok && g.modern != nil {
			x, _ = g.modern.expressions.Get(*text)
		}
		if x.members == 0 { // else it was looked at when its first member came
			if _, err := consumer.CompileRegex(*text); err != nil {
				return nil, nil, err
			}
		}
	}
	switch {
	case up != nil:
		g = e.upgrade(up)
		if m, err = g.modern.who(req, id); err != nil {
			return nil, nil, err // can't be: nothing is refused to who joins a group of classic members
		}
	case !ok || g.modern == nil:
		g = e.replaceEmpty(req.GroupID, g)
	}
	return g, e.on(g).takePlace(m, id), nil
}

// who is the member of a heartbeat; a static one that joins is the member whose place it takes.
func (m *modern) who(req *wire.ConsumerGroupHeartbeatRequest, id string) (*consumer.Member, error) {
	join := req.MemberEpoch == consumer.JoinEpoch
	if req.InstanceID == nil {
		member, ok := m.members.Get(id)
		switch {
		case ok:
			return member, checkEpoch(member, req)
		case join:
			return &consumer.Member{ID: id, RebalanceTimeoutMs: -1}, nil
		}
		return nil, fmt.Errorf("%q is no member of the group: %w", id, kafka.UnknownMemberID)
	}
	static := m.static(*req.InstanceID)
	switch {
	case join && static == nil:
		if member, ok := m.members.Get(id); ok {
			return member, nil
		}
		return &consumer.Member{ID: id, RebalanceTimeoutMs: -1}, nil
	case join && static.Classic == nil && static.Epoch != consumer.StaticLeaveEpoch:
		return nil, fmt.Errorf("instance %q is the member %q, which has not left: %w", *req.InstanceID, static.ID, kafka.UnreleasedInstanceID)
	case join:
		return static, nil
	}
	if err := m.checkStatic(*req.InstanceID, id); err != nil {
		return nil, err
	}
	return static, checkEpoch(static, req)
}

// checkStatic says whether a member is the one of an instance.
func (m *modern) checkStatic(instance, id string) error {
	switch static := m.static(instance); {
	case static == nil:
		return fmt.Errorf("instance %q is not in the group: %w", instance, kafka.UnknownMemberID)
	case static.ID != id:
		return fmt.Errorf("instance %q is the member %q now, not %q: %w", instance, static.ID, id, kafka.FencedInstanceID)
	}
	return nil
}

// checkEpoch fences a member that is not in the epoch that it should be in. One that comes
// with the epoch before may have missed the last answer; it does no harm as long as it owns
// nothing that it does not own.
func checkEpoch(m *consumer.Member, req *wire.ConsumerGroupHeartbeatRequest) error {
	if req.MemberEpoch == consumer.JoinEpoch || req.MemberEpoch == m.Epoch {
		return nil
	}
	if owned := assignmentOf(req.TopicPartitions); req.MemberEpoch < m.Epoch && req.MemberEpoch == m.Previous && owned != nil {
		subset := true
		for id, p := range owned.All() {
			subset = subset && m.Assigned.Has(id, p)
		}
		if subset {
			return nil
		}
	}
	return fmt.Errorf("member %q comes with epoch %d and is in %d; it has to give up all partitions and join again: %w",
		m.ID, req.MemberEpoch, m.Epoch, kafka.FencedMemberEpoch)
}

// takePlace gives a static member's place to the one that joins under a new id, with all that
// it was assigned. Any other member is what it was.
func (e *turn) takePlace(m *consumer.Member, id string) *consumer.Member {
	if m.ID == id && m.Epoch != consumer.StaticLeaveEpoch {
		return m
	}
	next := *m
	next.ID, next.Epoch, next.Previous = id, 0, 0
	target, _ := e.g.modern.targets.Get(m.ID)
	e.dropMember(m.ID) // its timers go off in vain
	e.putMember(&next)
	e.putTarget(id, target)
	e.putAssigned(&next)
	return &next
}

// What became of a member's regular expression.
type regexChange uint8

const (
	regexSame regexChange = iota
	regexNew              // what it matches is not known yet
	regexResolved
)

// tell takes over what a member says of itself, and answers whether its subscription has changed.
func (e *turn) tell(old, next *consumer.Member) (names bool, regex regexChange) {
	if _, ok := e.g.modern.members.Get(old.ID); !ok || !next.Said(old) {
		e.putMember(next)
	}
	names = !slices.Equal(old.Topics, next.Topics)
	if old.Regex == next.Regex {
		return names, regexSame
	}
	e.dropExpressions()
	x, _ := e.g.modern.expressions.Get(next.Regex)
	if x.resolved || next.Regex == "" {
		return names, regexResolved
	}
	return names, regexNew
}

// firstEpoch is that of a new group, as in Kafka. Its first subscription gives it the next one.
const firstEpoch = 1

// bump gives the group a new epoch if it must have one, or what it is subscribed to has changed.
func (e *turn) bump(img *metadata.Image, must bool) {
	now := e.g.modern.now()
	if !must && now.group != 0 && e.g.modern.checked == img {
		return
	}
	e.g.modern.checked = img
	e.after(func(_ *event, err error) {
		if err != nil {
			e.g.modern.checked = nil // what it led to was taken back
		}
	})
	hash := e.g.modern.hash(img)
	now.legacy = false
	now.group = max(firstEpoch, now.group)
	if must || hash != now.hash {
		now.group, now.hash = now.group+1, hash
	}
	e.putEpochs(now)
}

// assign makes a new target assignment if the last one is older than the group. Not at once,
// if that one was made just now: others may be about to join.
func (e *turn) assign(img *metadata.Image, cfg ConsumerConfig) {
	now := e.g.modern.now()
	if now.group <= now.assignment || now.assignmentMs != 0 && e.nowMs < now.assignmentMs+cfg.AssignmentIntervalMs {
		return
	}
	assignor, _ := consumer.Assignors(e.g.modern.assignor(cfg))
	spec := e.g.modern.spec(img)
	for i, target := range assignor(spec) {
		id := spec.Members[i].ID
		if before, ok := e.g.modern.targets.Get(id); !ok || !before.Same(target) {
			e.putTarget(id, target)
		}
	}
	now.assignment, now.assignmentMs = now.group, e.nowMs
	e.putEpochs(now)
}

// assignor is the name of the assignor that most members prefer, as far as they say; of equals
// the first by name.
func (m *modern) assignor(cfg ConsumerConfig) string { return preferred(m.members.All(), cfg) }

func preferred(members func(func(string, *consumer.Member) bool), cfg ConsumerConfig) string {
	votes := map[string]int{}
	for _, member := range members {
		if a := member.Assignor; a != nil && slices.Contains(cfg.Assignors, *a) {
			votes[*a]++
		}
	}
	best := cfg.Assignors[0]
	for name, n := range votes {
		if most := votes[best]; n > most || n == most && name < best {
			best = name
		}
	}
	return best
}

// spec is the group as an assignor sees it.
func (m *modern) spec(img *metadata.Image) *consumer.Spec {
	topics := m.topics(img)
	byID := slices.Clone(topics)
	slices.SortFunc(byID, func(a, b *metadata.Topic) int { return slices.Compare(a.ID[:], b.ID[:]) })
	index := make(map[string]int32, len(byID))
	s := &consumer.Spec{Homogeneous: true}
	for i, t := range byID {
		s.Topics = append(s.Topics, consumer.TopicSize{ID: t.ID, Partitions: int32(len(t.Partitions))})
		index[t.Name] = int32(i)
	}
	for _, id := range m.ids() {
		member, _ := m.members.Get(id)
		target, _ := m.targets.Get(id)
		x, _ := m.expressions.Get(member.Regex)
		sub := consumer.Subscriber{ID: id, Instance: member.Instance, Current: target}
		for _, names := range [][]string{member.Topics, x.topics} {
			for _, name := range names {
				if i, ok := index[name]; ok {
					sub.Topics = append(sub.Topics, i)
				}
			}
		}
		sub.Topics = ascending(sub.Topics)
		s.Homogeneous = s.Homogeneous && len(sub.Topics) == len(s.Topics)
		s.Members = append(s.Members, sub)
	}
	return s
}

// reconcile takes a member a step towards its target.
func (e *turn) reconcile(m *consumer.Member, img *metadata.Image, reported *consumer.Assignment, changed bool) *consumer.Member {
	now := e.g.modern.now()
	target, _ := e.g.modern.targets.Get(m.ID)
	next := consumer.Reconcile(m, consumer.Target{
		Epoch: now.assignment, Assignment: target, Subscribed: e.g.modern.subscribed(m, img), Reported: reported, SubscriptionChanged: changed,
		Owned: func(id kafka.UUID, p int32) bool { _, ok := e.g.modern.owners.Get(partitionID{id, p}); return ok },
	})
	if next == m {
		return m
	}
	e.putAssigned(next)
	if next.Classic == nil { // the others have a timer for the join that follows
		e.expectRevocation(next)
	}
	return next
}

// expectRevocation begins the time in which a member has to give up what it must, if it must.
func (e *turn) expectRevocation(m *consumer.Member) {
	id, epoch := m.ID, m.Epoch
	if m.State != consumer.Unrevoked {
		e.stopTimer(e.g, rebalanceTimer+id)
		return
	}
	e.timer(e.g, rebalanceTimer+id, int64(max(0, m.RebalanceTimeoutMs)), func(e *event, g *group) {
		if m, ok := g.modern.members.Get(id); ok && m.Epoch == epoch {
			e.on(g).fenceMembers([]*consumer.Member{m})
		}
	})
}

// expectMember begins the member's session anew.
func (e *turn) expectMember(m *consumer.Member, withinMs int64) {
	e.expectBefore(sessionTimer, m.ID, withinMs)
}

// expectBefore fences a member when a time is over.
func (e *turn) expectBefore(timer, id string, withinMs int64) {
	e.timer(e.g, timer+id, withinMs, func(e *event, g *group) {
		if m, ok := g.modern.members.Get(id); ok {
			e.on(g).fenceMembers([]*consumer.Member{m})
		}
	})
}

// leaveModern has a member leave. A static one may say that it will be back before its
// session ends: then it keeps what it is assigned.
func (e *event) leaveModern(req *wire.ConsumerGroupHeartbeatRequest) (*wire.ConsumerGroupHeartbeatResponse, error) {
	g, ok := e.s.groups.Get(req.GroupID)
	if !ok || g.modern == nil {
		return nil, fmt.Errorf("there is no group %q of the consumer protocol: %w", req.GroupID, kafka.GroupIDNotFound)
	}
	var m *consumer.Member
	if req.InstanceID == nil {
		if m, ok = g.modern.members.Get(req.MemberID); !ok {
			return nil, fmt.Errorf("%q is no member of the group: %w", req.MemberID, kafka.UnknownMemberID)
		}
	} else {
		if err := g.modern.checkStatic(*req.InstanceID, req.MemberID); err != nil {
			return nil, err
		}
		m = g.modern.static(*req.InstanceID)
	}
	id := m.ID
	if req.MemberEpoch == consumer.StaticLeaveEpoch && req.InstanceID != nil {
		next := *m
		next.Epoch, next.Assigned, next.Revoking = consumer.StaticLeaveEpoch, m.Assigned.Since(0), nil
		e.on(g).putAssigned(&next)
	} else {
		e.on(g).fenceMembers([]*consumer.Member{m})
	}
	return &wire.ConsumerGroupHeartbeatResponse{MemberID: &id, MemberEpoch: req.MemberEpoch}, nil
}

// fenceMembers takes members out. If only classic ones are left, the group becomes classic.
func (e *turn) fenceMembers(members []*consumer.Member) {
	if len(members) == 0 {
		return
	}
	if e.mayDowngrade(members) {
		e.downgrade(members, true)
		return
	}
	g := e.g
	e.after(func(e *event, err error) { // they are back if that was not written, and silent perhaps
		if now, _ := e.s.groups.Get(g.id); err != nil && now == g {
			for _, m := range members {
				if m, ok := g.modern.members.Get(m.ID); ok {
					e.on(g).beginSession(m)
				}
			}
		}
	})
	for _, m := range members {
		e.dropMember(m.ID)
		for _, t := range []string{sessionTimer, rebalanceTimer, rejoinTimer, resyncTimer} {
			e.stopTimer(e.g, t+m.ID)
		}
		delete(e.g.modern.rejoining, m.ID)
	}
	e.dropExpressions()
	now := e.g.modern.now()
	now.group, now.hash = now.group+1, e.g.modern.hash(e.s.env.Image())
	e.putEpochs(now)
}

// loadedModern begins the sessions of a group's members anew, when the shard is loaded.
func (e *turn) loadedModern() {
	for _, m := range e.g.modern.members.All() {
		e.beginSession(m)
	}
}

// beginSession sets the timers of a member by what it is.
func (e *turn) beginSession(m *consumer.Member) {
	if m.Classic != nil {
		e.expectMember(m, int64(m.Classic.SessionTimeoutMs))
		return
	}
	e.expectMember(m, e.s.env.Consumer(e.g.id).SessionTimeoutMs)
	e.expectRevocation(m)
}
