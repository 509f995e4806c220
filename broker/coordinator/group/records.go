package group

import (
	"encoding/binary"
	"fmt"

	"github.com/varve-io/varve/broker/coordinator"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/wire"
)

// The versions of keys say what a record is; those of values are the newest that Kafka 4.3 writes.
const (
	legacyOffsetKey     = 0
	offsetKey           = 1
	groupKey            = 2
	offsetValue         = 4
	expiringOffsetValue = 1 // with a time to expire of its own, from clients before KIP-211
	groupValue          = 3
)

// message is a key or value behind its version.
func message(m wire.Message, version int16) []byte {
	return m.Append(binary.BigEndian.AppendUint16(make([]byte, 0, 64), uint16(version)), version)
}

// open splits a key or value into its version and the rest.
func open(b []byte) (version int16, rest []byte, err error) {
	if len(b) < 2 {
		return 0, nil, fmt.Errorf("%d bytes hold no version: %w", len(b), kafka.ErrCorrupt)
	}
	return int16(binary.BigEndian.Uint16(b)), b[2:], nil
}

// read takes a message from b, which holds it and nothing else.
func read(m wire.Message, version int16, b []byte) error {
	r := wire.NewReader(b)
	if err := m.Read(&r, version); err != nil {
		return fmt.Errorf("%w: %w", kafka.ErrCorrupt, err)
	}
	return nil
}

// offsetRecord says that a group has committed an offset; nil deletes it.
func offsetRecord(groupID string, tp kafka.TopicPartition, o *offset) coordinator.Record {
	rec := coordinator.Record{Key: message(&wire.OffsetCommitKey{Group: groupID, Topic: tp.Topic, Partition: tp.Partition}, offsetKey)}
	if o == nil {
		return rec
	}
	version := int16(offsetValue)
	if o.expireMs >= 0 {
		version = expiringOffsetValue
	}
	rec.Value = message(&wire.OffsetCommitValue{
		Offset: o.At, LeaderEpoch: o.LeaderEpoch, Metadata: o.Metadata,
		CommitTimestamp: o.commitMs, ExpireTimestamp: o.expireMs, TopicID: o.topicID,
	}, version)
	return rec
}

// groupRecord says what a group is, with the assignments given by member.
func groupRecord(g *group, assignment func(*member) []byte) coordinator.Record {
	v := wire.GroupMetadataValue{
		ProtocolType: g.protocolType, Generation: g.generation, Protocol: g.protocol, CurrentStateTimestamp: g.stateSinceMs,
	}
	if g.leader != "" {
		v.Leader = &g.leader
	}
	for _, m := range g.members {
		v.Members = append(v.Members, wire.GroupMetadataValueMember{
			MemberID: m.id, GroupInstanceID: m.instance, ClientID: m.clientID, ClientHost: m.host,
			RebalanceTimeout: m.rebalanceTimeoutMs, SessionTimeout: m.sessionTimeoutMs,
			Subscription: m.metadata(g.protocol), Assignment: assignment(m),
		})
	}
	return coordinator.Record{Key: groupRecordKey(g.id), Value: message(&v, groupValue)}
}

func groupRecordKey(id string) []byte { return message(&wire.GroupMetadataKey{Group: id}, groupKey) }

// Replay implements coordinator.Machine. Records of other kinds of groups, share and streams
// groups, are passed over.
func (s *Shard) Replay(r coordinator.Record) error {
	kind, key, err := open(r.Key)
	if err != nil {
		return err
	}
	switch kind {
	case legacyOffsetKey, offsetKey:
		return s.replayOffset(r)
	case groupKey:
		return s.replayGroup(key, r.Value)
	}
	return s.replayModern(kind, key, r.Value)
}

func (s *Shard) replayOffset(r coordinator.Record) error {
	k, v, _, err := s.loading.parseOffset(r)
	if err != nil {
		return err
	}
	g, ok := s.groups.Get(k.group)
	if v == nil {
		if ok {
			g.offsets.Delete(k.tp)
			g.dropPending(k.tp, kafka.NoProducerID)
		}
		return nil
	}
	if !ok { // committed without being a member
		g = newGroup(s.versions, k.group, -1)
		s.groups.Set(k.group, g)
	}
	s.order++
	v.order = s.order
	g.offsets.Set(k.tp, *v)
	return nil
}

// offsetReader reads the records of offsets. A log has millions of them, and neighbours name the
// same group and topic: what the one before had is kept, so that a record costs no memory but
// what is new in it.
type offsetReader struct {
	r      wire.Reader
	key    wire.OffsetCommitKey
	value  wire.OffsetCommitValue
	offset offset
}

// read takes a message from b, which holds it and nothing else.
func (l *offsetReader) read(m wire.Message, version int16, b []byte) error {
	l.r = wire.NewReader(b)
	if err := m.Read(&l.r, version); err != nil {
		return fmt.Errorf("%w: %w", kafka.ErrCorrupt, err)
	}
	return nil
}

// parseOffset reads the record of an offset; without a value it is nil. It is good until the
// next call. False: it is another record.
func (l *offsetReader) parseOffset(r coordinator.Record) (at groupPartition, o *offset, ok bool, err error) {
	kind, key, err := open(r.Key)
	if err != nil || kind != legacyOffsetKey && kind != offsetKey {
		return at, nil, false, err
	}
	if err := l.read(&l.key, kind, key); err != nil {
		return at, nil, false, err
	}
	at = groupPartition{l.key.Group, kafka.TopicPartition{Topic: l.key.Topic, Partition: l.key.Partition}}
	if r.Value == nil {
		return at, nil, true, nil
	}
	version, rest, err := open(r.Value)
	if err != nil {
		return at, nil, false, err
	}
	v := &l.value
	if err := l.read(v, version, rest); err != nil {
		return at, nil, false, err
	}
	l.offset = offset{
		Offset:   Offset{At: v.Offset, LeaderEpoch: v.LeaderEpoch, Metadata: v.Metadata},
		commitMs: v.CommitTimestamp, expireMs: v.ExpireTimestamp, topicID: v.TopicID,
	}
	return at, &l.offset, true, nil
}

func (s *Shard) replayGroup(key, value []byte) error {
	var k wire.GroupMetadataKey
	if err := read(&k, groupKey, key); err != nil {
		return err
	}
	if value == nil {
		if g, ok := s.groups.Get(k.Group); ok && g.modern == nil {
			s.forget(g)
		}
		return nil
	}
	version, rest, err := open(value)
	if err != nil {
		return err
	}
	var v wire.GroupMetadataValue
	if err := read(&v, version, rest); err != nil {
		return err
	}
	g := newGroup(s.versions, k.Group, v.CurrentStateTimestamp)
	if old, ok := s.groups.Get(k.Group); ok {
		g.offsets, g.pending = old.offsets, old.pending
	}
	g.restore(&v)
	s.groups.Set(k.Group, g)
	return nil
}

// restore makes a new group what a record says.
func (g *group) restore(v *wire.GroupMetadataValue) {
	g.protocolType, g.generation, g.protocol = v.ProtocolType, v.Generation, v.Protocol
	if v.Leader != nil {
		g.leader = *v.Leader
	}
	if len(v.Members) > 0 {
		g.state = Stable
	}
	for i := range v.Members {
		from := &v.Members[i]
		m := &member{
			id: from.MemberID, instance: from.GroupInstanceID, clientID: from.ClientID, host: from.ClientHost,
			sessionTimeoutMs: from.SessionTimeout, rebalanceTimeoutMs: from.RebalanceTimeout, assignment: from.Assignment,
		}
		if m.rebalanceTimeoutMs == -1 {
			m.rebalanceTimeoutMs = m.sessionTimeoutMs
		}
		if v.Protocol != nil {
			m.protocols = []wire.JoinGroupRequestProtocol{{Name: *v.Protocol, Metadata: from.Subscription}}
		}
		g.add(m, v.ProtocolType)
	}
	g.elect()
	g.subscribe()
}

// addTopics adds the topics of a consumer's subscription: its version, then, in all versions,
// the number of topics and their names. False: it is not one.
func addTopics(to map[string]bool, subscription []byte) bool {
	r := wire.NewReader(subscription)
	r.Int16()
	n := r.Int32()
	for ; n > 0 && r.Err() == nil; n-- {
		size := int(r.Int16())
		rest := r.Rest()
		if r.Err() != nil || size < 0 || size > len(rest) {
			return false
		}
		to[string(rest[:size])] = true
		r = wire.NewReader(rest[size:])
	}
	return r.Err() == nil
}
