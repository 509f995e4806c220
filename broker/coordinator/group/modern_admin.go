package group

import (
	"fmt"
	"slices"
	"strings"

	"github.com/varve-io/varve/broker/coordinator/group/consumer"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/wire"
)

// DescribeConsumer describes a group of the consumer protocol, as it is committed.
func (s *Shard) DescribeConsumer(id string) wire.ConsumerGroupDescribeResponseGroup {
	var out wire.ConsumerGroupDescribeResponseGroup
	out.Default()
	out.GroupID = id
	g, ok := s.groups.Committed(id)
	if !ok || g.modern == nil {
		text := fmt.Sprintf("Group %s not found.", id)
		if ok {
			text = fmt.Sprintf("Group %s is not a consumer group.", id)
		}
		out.ErrorCode, out.ErrorMessage = int16(kafka.GroupIDNotFound), &text
		return out
	}
	m, img := g.modern, s.env.Image()
	now, _ := m.epochs.Committed(struct{}{})
	out.GroupState = string(modernState(now, m.members.AllCommitted()))
	out.GroupEpoch, out.AssignmentEpoch = now.group, now.assignment
	out.AssignorName = preferred(m.members.AllCommitted(), s.env.Consumer(id))
	for _, member := range m.members.AllCommitted() {
		target, _ := m.targets.Committed(member.ID)
		d := wire.ConsumerGroupDescribeResponseMember{
			MemberID: member.ID, InstanceID: member.Instance, RackID: member.Rack, MemberEpoch: member.Epoch,
			ClientID: member.ClientID, ClientHost: member.Host, SubscribedTopicNames: member.Topics, SubscribedTopicRegex: &member.Regex,
			Assignment: described(member.Assigned, img), TargetAssignment: described(target, img), MemberType: 1,
		}
		if member.Classic != nil {
			d.MemberType = 0
		}
		out.Members = append(out.Members, d)
	}
	slices.SortFunc(out.Members, func(a, b wire.ConsumerGroupDescribeResponseMember) int {
		return strings.Compare(a.MemberID, b.MemberID)
	})
	return out
}

// described is an assignment of topics that exist, by name.
func described(a consumer.Assignment, img *metadata.Image) wire.ConsumerGroupDescribeResponseAssignment {
	var out wire.ConsumerGroupDescribeResponseAssignment
	for _, t := range a {
		if topic := img.TopicByID(t.ID); topic != nil {
			out.TopicPartitions = append(out.TopicPartitions,
				wire.ConsumerGroupDescribeResponseTopicPartitions{TopicID: t.ID, TopicName: topic.Name, Partitions: t.Partitions})
		}
	}
	return out
}

// mayCommit says whether a member, or somebody who is none, may commit to the group. A member
// that comes with an epoch from before its own may if it may for each partition, see
// consumer.Member.MayCommit.
func (m *modern) mayCommit(c Commit) kafka.Error {
	if c.Generation < 0 && m.members.Len() == 0 {
		return kafka.NoError
	}
	member, ok := m.members.Get(c.MemberID)
	switch {
	case !ok:
		return kafka.UnknownMemberID
	case member.Classic == nil && c.Old:
		return kafka.UnsupportedVersion
	case c.Generation > member.Epoch:
		return behind(member)
	}
	for _, o := range c.Offsets {
		if !member.MayCommit(c.Generation, o.TopicID, o.Partition) {
			return behind(member)
		}
	}
	return kafka.NoError
}

// behind is the error for a member with an epoch that is not its own.
func behind(m *consumer.Member) kafka.Error {
	if m.Classic != nil {
		return kafka.IllegalGeneration
	}
	return kafka.StaleMemberEpoch
}

// mayFetch says whether a member that names itself may read offsets (KIP-848).
func (m *modern) mayFetch(id *string, epoch int32) kafka.Error {
	if id == nil && epoch < 0 {
		return kafka.NoError
	}
	if id == nil {
		return kafka.UnknownMemberID
	}
	member, ok := m.members.Committed(*id)
	switch {
	case !ok:
		return kafka.UnknownMemberID
	case member.Epoch != epoch:
		return behind(member)
	}
	return kafka.NoError
}
