package group

import (
	"encoding/binary"
	"fmt"

	"github.com/varve-io/varve/broker/coordinator"
	"github.com/varve-io/varve/broker/coordinator/group/consumer"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/wire"
)

// replaceEmpty makes a group of the consumer protocol, in the place of one that has no members
// or of none. The offsets stay.
func (e *event) replaceEmpty(id string, old *group) *group {
	g := newModernGroup(e.s.versions, id, old)
	if old != nil {
		e.record(coordinator.Record{Key: groupRecordKey(id)})
	}
	e.s.groups.Set(id, g)
	e.expireLater()
	return g
}

// toEmptyClassic makes a classic group in the place of one that has no members. The offsets stay.
func (e *turn) toEmptyClassic() *group {
	g := newGroup(e.s.versions, e.g.id, e.nowMs)
	g.offsets = e.g.offsets
	e.tombstones()
	e.s.groups.Set(g.id, g)
	e.record(groupRecord(g, nil))
	return g
}

// upgrade is a classic group on its way to the consumer protocol: nothing is changed yet.
type upgrade struct {
	from    *group
	members []*consumer.Member
}

// prepareUpgrade reads the members of a classic group as those of a group of the consumer
// protocol, or says why they can't be.
func (s *Shard) prepareUpgrade(g *group, cfg ConsumerConfig) (*upgrade, error) {
	refuse := func(why string) error {
		return fmt.Errorf("the classic group %q can't become one of the consumer protocol: %s: %w", g.id, why, kafka.GroupIDNotFound)
	}
	switch {
	case !cfg.Upgrade:
		return nil, refuse("group.consumer.migration.policy does not allow it")
	case g.protocolType != consumerProtocol:
		return nil, refuse("its members are not consumers")
	case len(g.members) > cfg.MaxSize:
		return nil, refuse("it has more members than group.consumer.max.size")
	}
	protocol := g.protocol
	if protocol == nil && len(g.members) > 0 {
		chosen := g.choose()
		protocol = &chosen
	}
	img := s.env.Image()
	up := &upgrade{from: g}
	for _, m := range g.members {
		_, sub, err := parseSubscription(m.metadata(protocol))
		if err != nil {
			return nil, refuse("what the member " + m.id + " subscribes to can't be read")
		}
		owns, custom, err := parseAssignment(m.assignment, img, g.generation)
		switch {
		case err != nil:
			return nil, refuse("what the member " + m.id + " is assigned can't be read")
		case custom:
			return nil, refuse("a custom assignor is in use, whose user data would be lost")
		}
		next := &consumer.Member{
			ID: m.id, Instance: m.instance, Rack: emptyAsNil(sub.RackID), ClientID: m.clientID, Host: m.host,
			RebalanceTimeoutMs: m.rebalanceTimeoutMs, Topics: ascending(sub.Topics), Epoch: g.generation, Previous: g.generation,
			Assigned: owns, Classic: classicOf(m.sessionTimeoutMs, m.protocols),
		}
		up.members = append(up.members, next)
	}
	return up, nil
}

func emptyAsNil(s *string) *string {
	if s != nil && *s == "" {
		return nil
	}
	return s
}

func classicOf(sessionTimeoutMs int32, protocols []wire.JoinGroupRequestProtocol) *consumer.Classic {
	c := &consumer.Classic{SessionTimeoutMs: sessionTimeoutMs}
	for _, p := range protocols {
		c.Protocols = append(c.Protocols, consumer.Protocol{Name: p.Name, Metadata: p.Metadata})
	}
	return c
}

// upgrade makes a classic group one of the consumer protocol, with its members as they are. Who
// waits for a rebalance is told that there is another one, for which it comes again: the
// member that brought this about changes what there is to assign.
func (e *event) upgrade(up *upgrade) *group {
	for _, m := range up.from.members {
		if join, id := m.join, m.id; join != nil {
			up.from.waitInJoin(m, nil)
			e.reply(func() { join(joinError(id, kafka.RebalanceInProgress)) })
		}
		e.replySync(m, &wire.SyncGroupResponse{ErrorCode: int16(kafka.RebalanceInProgress)})
	}
	e.record(coordinator.Record{Key: groupRecordKey(up.from.id)})
	g := newModernGroup(e.s.versions, up.from.id, up.from)
	e.s.groups.Set(g.id, g)
	for _, m := range up.members {
		e.on(g).putMember(m)
		e.on(g).expectMember(m, int64(m.Classic.SessionTimeoutMs))
	}
	now := epochs{group: up.from.generation, hash: g.modern.hash(e.s.env.Image())}
	e.on(g).putEpochs(now)
	for _, m := range up.members {
		e.on(g).putTarget(m.ID, m.Assigned)
	}
	now.assignment = now.group
	e.on(g).putEpochs(now)
	for _, m := range up.members {
		e.on(g).putAssigned(m)
	}
	return g
}

// mayDowngrade says whether the group becomes classic when members leave: who is left speaks
// the classic protocol alone.
func (e *turn) mayDowngrade(leaving []*consumer.Member) bool {
	left := e.g.modern.members.Len() - len(leaving)
	leavingClassics := 0
	for _, m := range leaving {
		if m.Classic != nil {
			leavingClassics++
		}
	}
	// Without a member of the consumer protocol that leaves, the group would have been classic before.
	return left > 0 && leavingClassics < len(leaving) && e.g.modern.classics()-leavingClassics == left &&
		left <= e.s.env.Config().MaxSize && e.s.env.Consumer(e.g.id).Downgrade
}

// downgrade makes the group a classic one of the members that are left, in its epoch as
// generation, with their assignments. It rebalances, if what there is to assign has changed.
func (e *turn) downgrade(leaving []*consumer.Member, rebalance bool) {
	e.tombstones()
	img := e.s.env.Image()
	gone := map[string]bool{}
	for _, m := range leaving {
		gone[m.ID] = true
	}
	next := newGroup(e.s.versions, e.g.id, e.nowMs)
	next.offsets = e.g.offsets
	next.state, next.generation = Stable, e.g.modern.now().group
	for _, id := range e.g.modern.ids() {
		m, _ := e.g.modern.members.Get(id)
		if gone[id] {
			continue
		}
		c := &member{
			id: id, instance: m.Instance, clientID: m.ClientID, host: m.Host, rebalanceTimeoutMs: m.RebalanceTimeoutMs,
			sessionTimeoutMs: m.Classic.SessionTimeoutMs, assignment: classicAssignment(m, img),
		}
		for _, p := range m.Classic.Protocols {
			c.protocols = append(c.protocols, wire.JoinGroupRequestProtocol{Name: p.Name, Metadata: p.Metadata})
		}
		next.add(c, consumerProtocol)
	}
	protocol := next.choose()
	next.protocol = &protocol
	next.subscribe()
	e.s.groups.Set(e.g.id, next)
	e.record(groupRecord(next, (*member).assigned))
	for _, m := range next.members {
		e.expectHeartbeat(next, m)
	}
	if rebalance {
		e.prepareRebalance(next)
	}
}

// parseSubscription reads what a classic consumer tells the leader.
func parseSubscription(b []byte) (version int16, sub wire.ConsumerProtocolSubscription, err error) {
	sub.Default()
	version, rest, err := open(b)
	if err != nil {
		return 0, sub, err
	}
	if version < 0 {
		return 0, sub, fmt.Errorf("a subscription of version %d: %w", version, kafka.ErrCorrupt)
	}
	r := wire.NewReader(rest)
	if err := sub.Read(&r, min(version, newestConsumerProtocol)); err != nil { // newer ones have more behind that
		return 0, sub, fmt.Errorf("%w: %w", kafka.ErrCorrupt, err)
	}
	return version, sub, nil
}

// newestConsumerProtocol is the newest version of what classic consumers and leaders tell each
// other that is known here.
const newestConsumerProtocol = 3

// parseAssignment reads what a leader told a classic consumer, of topics that exist. custom:
// there is something beside it that only a custom assignor understands.
func parseAssignment(b []byte, img *metadata.Image, epoch int32) (a consumer.Assignment, custom bool, err error) {
	if len(b) == 0 {
		return nil, false, nil
	}
	version, rest, err := open(b)
	if err != nil || version < 0 {
		return nil, false, fmt.Errorf("an assignment of version %d: %w", version, kafka.ErrCorrupt)
	}
	var v wire.ConsumerProtocolAssignment
	r := wire.NewReader(rest)
	if err := v.Read(&r, min(version, newestConsumerProtocol)); err != nil {
		return nil, false, fmt.Errorf("%w: %w", kafka.ErrCorrupt, err)
	}
	var topics []consumer.TopicPartitions
	for _, t := range v.AssignedPartitions {
		topics = append(topics, namedPartitions(img, t.Topic, t.Partitions, epoch)...)
	}
	return consumer.Normal(topics), len(v.UserData) > 0, nil
}

// namedPartitions is partitions of a topic by name; nothing where there is no such topic.
func namedPartitions(img *metadata.Image, topic string, partitions []int32, epoch int32) []consumer.TopicPartitions {
	t := img.Topic(topic)
	if t == nil {
		return nil
	}
	since := make([]int32, len(partitions))
	for i := range since {
		since[i] = epoch
	}
	return []consumer.TopicPartitions{{ID: t.ID, Partitions: partitions, Epochs: since}}
}

// classicAssignment is what a member owns, as a leader would tell a classic consumer, in the
// version that this one speaks.
func classicAssignment(m *consumer.Member, img *metadata.Image) []byte {
	version := int16(0)
	if len(m.Classic.Protocols) > 0 {
		if b := m.Classic.Protocols[0].Metadata; len(b) >= 2 {
			version = min(max(0, int16(binary.BigEndian.Uint16(b))), newestConsumerProtocol)
		}
	}
	v := &wire.ConsumerProtocolAssignment{}
	for _, a := range m.Assigned {
		if t := img.TopicByID(a.ID); t != nil {
			v.AssignedPartitions = append(v.AssignedPartitions, wire.ConsumerProtocolAssignmentTopicPartition{Topic: t.Name, Partitions: a.Partitions})
		}
	}
	return message(v, version)
}
