package group

import (
	"cmp"
	"slices"

	"github.com/varve-io/varve/broker/coordinator"
	"github.com/varve-io/varve/broker/coordinator/group/consumer"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/wire"
)

// The versions of the keys of groups of the consumer protocol. All values are of version 0.
const (
	modernGroupKey      = 3
	legacyTopicsKey     = 4
	modernMemberKey     = 5
	modernTargetKey     = 6
	memberTargetKey     = 7
	memberAssignmentKey = 8
	expressionKey       = 16
)

// putEpochs sets the epochs of the group and of its target, and writes down what has changed.
func (e *turn) putEpochs(now epochs) {
	before := e.g.modern.now()
	e.g.modern.set(now)
	if before.group != now.group || before.hash != now.hash {
		e.record(coordinator.Record{
			Key:   message(&wire.ConsumerGroupMetadataKey{GroupID: e.g.id}, modernGroupKey),
			Value: message(&wire.ConsumerGroupMetadataValue{Epoch: now.group, MetadataHash: now.hash}, 0),
		})
	}
	if before.assignment != now.assignment || before.assignmentMs != now.assignmentMs {
		e.record(coordinator.Record{
			Key:   message(&wire.ConsumerGroupTargetAssignmentMetadataKey{GroupID: e.g.id}, modernTargetKey),
			Value: message(&wire.ConsumerGroupTargetAssignmentMetadataValue{AssignmentEpoch: now.assignment, AssignmentTimestamp: now.assignmentMs}, 0),
		})
	}
	if before.legacy && !now.legacy {
		e.record(coordinator.Record{Key: message(&wire.ConsumerGroupPartitionMetadataKey{GroupID: e.g.id}, legacyTopicsKey)})
	}
}

// putMember takes over what a member says of itself.
func (e *turn) putMember(m *consumer.Member) {
	e.g.modern.put(m)
	v := &wire.ConsumerGroupMemberMetadataValue{
		InstanceID: m.Instance, RackID: m.Rack, ClientID: m.ClientID, ClientHost: m.Host, SubscribedTopicNames: m.Topics,
		SubscribedTopicRegex: &m.Regex, RebalanceTimeoutMs: m.RebalanceTimeoutMs, ServerAssignor: m.Assignor,
	}
	if m.Classic != nil {
		v.ClassicMemberMetadata = &wire.ConsumerGroupMemberMetadataValueClassicMemberMetadata{SessionTimeoutMs: m.Classic.SessionTimeoutMs}
		for _, p := range m.Classic.Protocols {
			v.ClassicMemberMetadata.SupportedProtocols = append(v.ClassicMemberMetadata.SupportedProtocols,
				wire.ConsumerGroupMemberMetadataValueClassicProtocol{Name: p.Name, Metadata: p.Metadata})
		}
	}
	e.record(coordinator.Record{Key: memberKey(e.g.id, m.ID), Value: message(v, 0)})
}

// putAssigned takes over what a member owns and which epoch it is in.
func (e *turn) putAssigned(m *consumer.Member) {
	e.g.modern.put(m)
	e.record(coordinator.Record{Key: assignedKey(e.g.id, m.ID), Value: message(&wire.ConsumerGroupCurrentMemberAssignmentValue{
		MemberEpoch: m.Epoch, PreviousMemberEpoch: m.Previous, State: int8(m.State),
		AssignedPartitions: storedAssignment(m.Assigned), PartitionsPendingRevocation: storedAssignment(m.Revoking),
	}, 0)})
}

func storedAssignment(a consumer.Assignment) []wire.ConsumerGroupCurrentMemberAssignmentValueTopicPartitions {
	out := make([]wire.ConsumerGroupCurrentMemberAssignmentValueTopicPartitions, 0, len(a))
	for _, t := range a {
		out = append(out, wire.ConsumerGroupCurrentMemberAssignmentValueTopicPartitions{TopicID: t.ID, Partitions: t.Partitions, AssignmentEpochs: t.Epochs})
	}
	return out
}

// putTarget sets what a member is to own.
func (e *turn) putTarget(id string, a consumer.Assignment) {
	e.g.modern.targets.Set(id, a)
	v := &wire.ConsumerGroupTargetAssignmentMemberValue{}
	for _, t := range a {
		v.TopicPartitions = append(v.TopicPartitions, wire.ConsumerGroupTargetAssignmentMemberValueTopicPartition{TopicID: t.ID, Partitions: t.Partitions})
	}
	e.record(coordinator.Record{Key: targetKey(e.g.id, id), Value: message(v, 0)})
}

// putExpression sets what a regular expression has matched.
func (e *turn) putExpression(text string, x expression) {
	e.g.modern.expressions.Set(text, x)
	e.record(coordinator.Record{
		Key:   message(&wire.ConsumerGroupRegularExpressionKey{GroupID: e.g.id, RegularExpression: text}, expressionKey),
		Value: message(&wire.ConsumerGroupRegularExpressionValue{Topics: x.topics, Version: x.version, Timestamp: x.atMs}, 0),
	})
}

// dropExpressions deletes what is kept of regular expressions that nobody subscribes with any more.
func (e *turn) dropExpressions() {
	var gone []string
	for text, x := range e.g.modern.expressions.All() {
		if x.members == 0 {
			gone = append(gone, text)
		}
	}
	slices.Sort(gone)
	for _, text := range gone {
		e.g.modern.expressions.Delete(text)
		e.record(coordinator.Record{Key: message(&wire.ConsumerGroupRegularExpressionKey{GroupID: e.g.id, RegularExpression: text}, expressionKey)})
	}
}

// dropMember takes a member out. The order of the records matters to Kafka.
func (e *turn) dropMember(id string) {
	e.g.modern.remove(id)
	e.record(coordinator.Record{Key: assignedKey(e.g.id, id)})
	e.record(coordinator.Record{Key: targetKey(e.g.id, id)})
	e.record(coordinator.Record{Key: memberKey(e.g.id, id)})
}

// tombstones deletes the records of a group of the consumer protocol, but not those of its
// offsets. The order matters to Kafka.
func (e *turn) tombstones() {
	ids := e.g.modern.ids()
	for _, id := range ids {
		e.record(coordinator.Record{Key: assignedKey(e.g.id, id)})
	}
	for _, id := range ids {
		e.record(coordinator.Record{Key: targetKey(e.g.id, id)})
	}
	e.record(coordinator.Record{Key: message(&wire.ConsumerGroupTargetAssignmentMetadataKey{GroupID: e.g.id}, modernTargetKey)})
	for _, id := range ids {
		e.record(coordinator.Record{Key: memberKey(e.g.id, id)})
	}
	var texts []string
	for text, x := range e.g.modern.expressions.All() {
		if x.resolved {
			texts = append(texts, text)
		}
	}
	slices.Sort(texts)
	for _, text := range texts {
		e.record(coordinator.Record{Key: message(&wire.ConsumerGroupRegularExpressionKey{GroupID: e.g.id, RegularExpression: text}, expressionKey)})
	}
	if e.g.modern.now().legacy {
		e.record(coordinator.Record{Key: message(&wire.ConsumerGroupPartitionMetadataKey{GroupID: e.g.id}, legacyTopicsKey)})
	}
	e.record(coordinator.Record{Key: message(&wire.ConsumerGroupMetadataKey{GroupID: e.g.id}, modernGroupKey)})
}

func memberKey(group, id string) []byte {
	return message(&wire.ConsumerGroupMemberMetadataKey{GroupID: group, MemberID: id}, modernMemberKey)
}

func targetKey(group, id string) []byte {
	return message(&wire.ConsumerGroupTargetAssignmentMemberKey{GroupID: group, MemberID: id}, memberTargetKey)
}

func assignedKey(group, id string) []byte {
	return message(&wire.ConsumerGroupCurrentMemberAssignmentKey{GroupID: group, MemberID: id}, memberAssignmentKey)
}

// replayValue reads a value of version 0.
func replayValue(m wire.Message, b []byte) error {
	version, rest, err := open(b)
	if err != nil {
		return err
	}
	return read(m, version, rest)
}

// modernGroup is the group that a record tells of; nil where it deletes something of a group
// that there is not. A group that only holds offsets becomes one of the consumer protocol.
func (s *Shard) modernGroup(id string, deletes bool) *group {
	g, ok := s.groups.Get(id)
	switch {
	case ok && g.modern != nil:
		return g
	case deletes:
		return nil
	}
	g = newModernGroup(s.versions, id, g)
	s.groups.Set(id, g)
	return g
}

// replayModern replays a record of a group of the consumer protocol. Records come in any
// order that compaction leaves of the order in which they were written.
func (s *Shard) replayModern(kind int16, key, value []byte) error {
	switch kind {
	case modernGroupKey:
		return s.replayModernGroup(key, value)
	case legacyTopicsKey:
		var k wire.ConsumerGroupPartitionMetadataKey
		if err := read(&k, kind, key); err != nil {
			return err
		}
		if g := s.modernGroup(k.GroupID, value == nil); g != nil {
			now := g.modern.now()
			now.legacy = value != nil
			g.modern.set(now)
		}
	case modernMemberKey:
		return s.replayMember(key, value)
	case modernTargetKey:
		return s.replayTarget(key, value)
	case memberTargetKey:
		return s.replayMemberTarget(key, value)
	case memberAssignmentKey:
		return s.replayAssigned(key, value)
	case expressionKey:
		return s.replayExpression(key, value)
	}
	return nil
}

func (s *Shard) replayModernGroup(key, value []byte) error {
	var k wire.ConsumerGroupMetadataKey
	if err := read(&k, modernGroupKey, key); err != nil {
		return err
	}
	g := s.modernGroup(k.GroupID, value == nil)
	if g == nil {
		return nil
	}
	if value == nil {
		s.forget(g)
		return nil
	}
	var v wire.ConsumerGroupMetadataValue
	if err := replayValue(&v, value); err != nil {
		return err
	}
	now := g.modern.now()
	now.group, now.hash = v.Epoch, v.MetadataHash
	g.modern.set(now)
	return nil
}

// forget deletes a group whose record was deleted. Its offsets, if it has any, stay: they are
// what is left of it, or the record of another protocol follows.
func (s *Shard) forget(g *group) {
	if g.offsets.Len() == 0 {
		s.groups.Delete(g.id)
		return
	}
	simple := newGroup(s.versions, g.id, -1)
	simple.offsets = g.offsets
	s.groups.Set(g.id, simple)
}

func (s *Shard) replayMember(key, value []byte) error {
	var k wire.ConsumerGroupMemberMetadataKey
	if err := read(&k, modernMemberKey, key); err != nil {
		return err
	}
	g := s.modernGroup(k.GroupID, value == nil)
	if g == nil {
		return nil
	}
	if value == nil {
		g.modern.remove(k.MemberID)
		return nil
	}
	var v wire.ConsumerGroupMemberMetadataValue
	if err := replayValue(&v, value); err != nil {
		return err
	}
	m := g.modern.loading(k.MemberID)
	m.Instance, m.Rack, m.ClientID, m.Host = v.InstanceID, v.RackID, v.ClientID, v.ClientHost
	m.Topics, m.RebalanceTimeoutMs, m.Assignor = ascending(v.SubscribedTopicNames), v.RebalanceTimeoutMs, v.ServerAssignor
	m.Regex, m.Classic = "", nil
	if v.SubscribedTopicRegex != nil {
		m.Regex = *v.SubscribedTopicRegex
	}
	if c := v.ClassicMemberMetadata; c != nil && len(c.SupportedProtocols) > 0 { // a member of the classic protocol has some
		m.Classic = &consumer.Classic{SessionTimeoutMs: c.SessionTimeoutMs}
		for _, p := range c.SupportedProtocols {
			m.Classic.Protocols = append(m.Classic.Protocols, consumer.Protocol{Name: p.Name, Metadata: p.Metadata})
		}
	}
	g.modern.put(m)
	return nil
}

// loading is a copy of a member, or a new one, to be filled in.
func (m *modern) loading(id string) *consumer.Member {
	if old, ok := m.members.Get(id); ok {
		next := *old
		return &next
	}
	return &consumer.Member{ID: id, RebalanceTimeoutMs: -1}
}

func (s *Shard) replayTarget(key, value []byte) error {
	var k wire.ConsumerGroupTargetAssignmentMetadataKey
	if err := read(&k, modernTargetKey, key); err != nil {
		return err
	}
	g := s.modernGroup(k.GroupID, value == nil)
	if g == nil {
		return nil
	}
	now := g.modern.now()
	now.assignment, now.assignmentMs = -1, 0
	if value != nil {
		var v wire.ConsumerGroupTargetAssignmentMetadataValue
		if err := replayValue(&v, value); err != nil {
			return err
		}
		now.assignment, now.assignmentMs = v.AssignmentEpoch, v.AssignmentTimestamp
	}
	g.modern.set(now)
	return nil
}

func (s *Shard) replayMemberTarget(key, value []byte) error {
	var k wire.ConsumerGroupTargetAssignmentMemberKey
	if err := read(&k, memberTargetKey, key); err != nil {
		return err
	}
	g := s.modernGroup(k.GroupID, value == nil)
	if g == nil {
		return nil
	}
	if value == nil {
		g.modern.targets.Delete(k.MemberID)
		return nil
	}
	var v wire.ConsumerGroupTargetAssignmentMemberValue
	if err := replayValue(&v, value); err != nil {
		return err
	}
	topics := make([]consumer.TopicPartitions, 0, len(v.TopicPartitions))
	for _, t := range v.TopicPartitions {
		topics = append(topics, consumer.TopicPartitions{ID: t.TopicID, Partitions: t.Partitions})
	}
	g.modern.targets.Set(k.MemberID, consumer.Normal(topics))
	return nil
}

func (s *Shard) replayAssigned(key, value []byte) error {
	var k wire.ConsumerGroupCurrentMemberAssignmentKey
	if err := read(&k, memberAssignmentKey, key); err != nil {
		return err
	}
	g := s.modernGroup(k.GroupID, value == nil)
	if g == nil {
		return nil
	}
	if value == nil {
		if _, ok := g.modern.members.Get(k.MemberID); ok {
			m := g.modern.loading(k.MemberID)
			m.Epoch, m.Previous, m.State, m.Assigned, m.Revoking = consumer.LeaveEpoch, consumer.LeaveEpoch, consumer.Stable, nil, nil
			g.modern.put(m)
		}
		return nil
	}
	var v wire.ConsumerGroupCurrentMemberAssignmentValue
	if err := replayValue(&v, value); err != nil {
		return err
	}
	m := g.modern.loading(k.MemberID)
	m.Epoch, m.Previous, m.State = v.MemberEpoch, v.PreviousMemberEpoch, consumer.State(v.State)
	m.Assigned, m.Revoking = loadedAssignment(v.AssignedPartitions, v.MemberEpoch), loadedAssignment(v.PartitionsPendingRevocation, v.MemberEpoch)
	g.modern.put(m)
	return nil
}

// loadedAssignment is a stored assignment. Where it has no epochs, because a version before
// KIP-1251 has written it, they are the member's.
func loadedAssignment(stored []wire.ConsumerGroupCurrentMemberAssignmentValueTopicPartitions, epoch int32) consumer.Assignment {
	topics := make([]consumer.TopicPartitions, 0, len(stored))
	for _, t := range stored {
		since := t.AssignmentEpochs
		if len(since) != len(t.Partitions) {
			since = slices.Repeat([]int32{epoch}, len(t.Partitions))
		}
		topics = append(topics, consumer.TopicPartitions{ID: t.TopicID, Partitions: t.Partitions, Epochs: since})
	}
	return consumer.Normal(topics)
}

func (s *Shard) replayExpression(key, value []byte) error {
	var k wire.ConsumerGroupRegularExpressionKey
	if err := read(&k, expressionKey, key); err != nil {
		return err
	}
	g := s.modernGroup(k.GroupID, value == nil)
	if g == nil {
		return nil
	}
	x, _ := g.modern.expressions.Get(k.RegularExpression)
	if value == nil {
		x.resolved, x.topics, x.version, x.atMs = false, nil, 0, 0
		g.modern.expressions.Set(k.RegularExpression, x)
		g.modern.countExpression(k.RegularExpression, 0)
		return nil
	}
	var v wire.ConsumerGroupRegularExpressionValue
	if err := replayValue(&v, value); err != nil {
		return err
	}
	x.resolved, x.topics, x.version, x.atMs = true, ascending(v.Topics), v.Version, v.Timestamp
	g.modern.expressions.Set(k.RegularExpression, x)
	return nil
}

// ascending is a list in order, each word once.
func ascending[T cmp.Ordered](list []T) []T {
	out := slices.Clone(list)
	slices.Sort(out)
	return slices.Compact(out)
}

// assignmentOf is the partitions that a request names.
func assignmentOf(topics []wire.ConsumerGroupHeartbeatRequestTopicPartitions) *consumer.Assignment {
	if topics == nil {
		return nil
	}
	list := make([]consumer.TopicPartitions, 0, len(topics))
	for _, t := range topics {
		list = append(list, consumer.TopicPartitions{ID: kafka.UUID(t.TopicID), Partitions: t.Partitions})
	}
	out := consumer.Normal(list)
	return &out
}
