package judge

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// beatOf is a ConsumerGroupHeartbeat; with epoch 0 it joins and is complete.
func beatOf(group, member string, epoch int32, topics ...string) *kmsg.ConsumerGroupHeartbeatRequest {
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Group, req.MemberID, req.MemberEpoch = group, member, epoch
	if len(topics) > 0 {
		req.SubscribedTopicNames = topics
	}
	if epoch == 0 {
		req.RebalanceTimeoutMillis = 10_000
		req.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	}
	return req
}

// owning says what the member owns.
func owning(req *kmsg.ConsumerGroupHeartbeatRequest, id [16]byte, partitions ...int32) *kmsg.ConsumerGroupHeartbeatRequest {
	req.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	if len(partitions) > 0 {
		req.Topics = append(req.Topics, kmsg.ConsumerGroupHeartbeatRequestTopic{TopicID: id, Partitions: partitions})
	}
	return req
}

func describeConsumerOf(groups ...string) *kmsg.ConsumerGroupDescribeRequest {
	req := kmsg.NewPtrConsumerGroupDescribeRequest()
	req.Groups = groups
	return req
}

func listOf(states, types []string) *kmsg.ListGroupsRequest {
	req := kmsg.NewPtrListGroupsRequest()
	req.StatesFilter, req.TypesFilter = states, types
	return req
}

// consumersScript takes members of the consumer protocol through the life of a group, at both
// versions (G13, KIP-848).
func consumersScript(s *side) {
	c := s.conn()
	defer c.close()
	name := s.topic("t")
	id := s.create(name, 4)
	for v := int16(0); v <= 1; v++ {
		group := s.topic(fmt.Sprint("g", v))
		s.coordinated(c, group)
		s.badBeats(c, v, group, name, id)

		c.ask("join", v, beatOf(group, "a", 0, name))
		c.ask("stay", v, beatOf(group, "a", 2))
		c.ask("full request", v, func() *kmsg.ConsumerGroupHeartbeatRequest {
			req := owning(beatOf(group, "a", 2, name), id, 0, 1, 2, 3)
			req.RebalanceTimeoutMillis = 10_000
			return req
		}())
		c.ask("describe one", v, describeConsumerOf(group))
		c.ask("a second member", v, beatOf(group, "b", 0, name))
		c.ask("describe while it waits", v, describeConsumerOf(group))
		c.ask("the first is told to give up", v, beatOf(group, "a", 2))
		c.ask("the first still has it", v, owning(beatOf(group, "a", 2), id, 0, 1, 2, 3))
		c.ask("the second waits", v, beatOf(group, "b", 3))
		c.ask("the first gives up", v, owning(beatOf(group, "a", 2), id, 0, 1))
		c.ask("the second gets it", v, beatOf(group, "b", 3))
		c.ask("describe both", v, func() kmsg.Request {
			req := describeConsumerOf(group, s.topic("nobody"), "", group)
			req.IncludeAuthorizedOperations = true
			return req
		}())
		s.fencedBeats(c, v, group, name, id)
		s.consumerOffsets(c, v, group, name, id)
		s.consumerAdmin(c, group, name)

		c.ask("the second leaves", v, beatOf(group, "b", -1))
		c.ask("the second leaves again", v, beatOf(group, "b", -1))
		c.ask("the first gets all", v, beatOf(group, "a", 3))
		c.ask("the first subscribes to nothing", v, func() kmsg.Request {
			req := beatOf(group, "a", 4)
			req.SubscribedTopicNames = []string{}
			return req
		}())
		c.ask("the first has nothing", v, owning(beatOf(group, "a", 4), id))
		c.ask("the first subscribes to a topic that is not", v, beatOf(group, "a", 5, s.topic("nowhere")))
		c.ask("describe that", v, describeConsumerOf(group))
		c.ask("the first leaves", v, beatOf(group, "a", -1))
		c.ask("describe empty", v, describeConsumerOf(group))
		c.ask("commit from outside", 9, commitOf(group, offset{name, id, 1, 3, nil}))
		c.ask("list empty", 5, listOf([]string{"Empty"}, []string{"consumer"}))
		c.ask("delete", 2, deleteOf(group))
		c.ask("describe deleted", v, describeConsumerOf(group))
	}
	c.ask("no groups", 1, describeConsumerOf())
	s.unsupported(c, 68, 2)
	s.unsupported(c, 69, 2)
}

// badBeats are requests that are wrong by themselves, or of a group that is not there.
func (s *side) badBeats(c *conn, v int16, group, name string, id [16]byte) {
	empty, blank, other := "", " ", "sticky"
	for _, bad := range []struct {
		what   string
		epoch  int32
		change func(*kmsg.ConsumerGroupHeartbeatRequest)
	}{
		{"no group id", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group = "" }},
		{"blank group id", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group = blank }},
		{"blank member id", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberID = blank; r.Group = "" }},
		{"empty instance id", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.InstanceID = &empty }},
		{"empty rack", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RackID = &empty }},
		{"no rebalance timeout", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RebalanceTimeoutMillis = -1 }},
		{"no partitions", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Topics = nil }},
		{"partitions", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) { owning(r, id, 0) }},
		{"no subscription", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicNames = nil }},
		{"unknown assignor", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.ServerAssignor = &other }},
		{"epoch -3", -3, func(*kmsg.ConsumerGroupHeartbeatRequest) {}},
		{"epoch -2 without instance", -2, func(*kmsg.ConsumerGroupHeartbeatRequest) {}},
		{"epoch -1 without member", -1, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberID = "" }},
		{"epoch 1 without member", 1, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberID = "" }},
		{"epoch 1, no group", 1, func(*kmsg.ConsumerGroupHeartbeatRequest) {}},
		{"epoch -1, no group", -1, func(*kmsg.ConsumerGroupHeartbeatRequest) {}},
	} {
		req := beatOf(group, "m", bad.epoch, name)
		bad.change(req)
		c.ask("bad: "+bad.what, v, req)
	}
	if v >= 1 {
		req := beatOf(group, "", 0, name)
		c.ask("bad: join without member", v, req)
	}
	c.ask("describe, no group", v, describeConsumerOf(group))
}

// fencedBeats come with epochs, members and instances that are not those of the group.
func (s *side) fencedBeats(c *conn, v int16, group, name string, id [16]byte) {
	nobody := "nobody"
	c.ask("epoch before, owns less", v, owning(beatOf(group, "a", 2), id, 0))
	c.ask("epoch before, owns more", v, owning(beatOf(group, "a", 2), id, 0, 2))
	c.ask("epoch before, does not say", v, beatOf(group, "a", 2))
	c.ask("epoch behind", v, beatOf(group, "a", 10))
	c.ask("unknown member", v, beatOf(group, "x", 3))
	c.ask("unknown member leaves", v, beatOf(group, "x", -1))
	c.ask("unknown member leaves for a while", v, func() kmsg.Request {
		req := beatOf(group, "a", -2)
		req.InstanceID = &nobody
		return req
	}())
	c.ask("unknown instance", v, func() kmsg.Request {
		req := beatOf(group, "a", 3)
		req.InstanceID = &nobody
		return req
	}())
	c.ask("join again", v, beatOf(group, "a", 0, name))
	c.ask("stay after that", v, owning(beatOf(group, "a", 3), id, 0, 1))
}

// consumerOffsets commits and fetches as members and as others.
func (s *side) consumerOffsets(c *conn, v int16, group, name string, id [16]byte) {
	good, far := offset{name, id, 0, 7, nil}, offset{name, id, 3, 8, nil}
	for version := int16(7); version <= 10; version++ {
		for _, who := range []struct {
			member string
			epoch  int32
		}{{"a", 3}, {"a", 2}, {"a", 4}, {"a", 0}, {"a", -1}, {"b", 2}, {"x", 3}, {"", -1}, {"", 3}} {
			req := commitOf(group, good)
			req.MemberID, req.Generation = who.member, who.epoch
			c.ask(fmt.Sprintf("commit of its own by %q in epoch %d, heartbeats v%d", who.member, who.epoch, v), version, req)
			req = commitOf(group, good, far)
			req.MemberID, req.Generation = who.member, who.epoch
			c.ask(fmt.Sprintf("commit of %q in epoch %d, heartbeats v%d", who.member, who.epoch, v), version, req)
		}
	}
	for version := int16(8); version <= 10; version++ {
		for _, who := range []struct {
			member *string
			epoch  int32
		}{{kmsg.StringPtr("a"), 3}, {kmsg.StringPtr("a"), 2}, {kmsg.StringPtr("a"), -1}, {kmsg.StringPtr("x"), 3}, {nil, -1}, {nil, 3}, {kmsg.StringPtr(""), -1}} {
			for _, topic := range []string{name, ""} {
				req := fetchOf(group, topic, id, 0, 3)
				req.Groups[0].MemberID, req.Groups[0].MemberEpoch = who.member, who.epoch
				member := "null"
				if who.member != nil {
					member = *who.member
				}
				c.ask(fmt.Sprintf("fetch of %q by %q in epoch %d, heartbeats v%d", topic, member, who.epoch, v), version, req)
			}
		}
	}
}

func deleteOf(groups ...string) *kmsg.DeleteGroupsRequest {
	req := kmsg.NewPtrDeleteGroupsRequest()
	req.Groups = groups
	return req
}

// consumerAdmin asks an administrator's questions, and what is for groups of the other protocol.
func (s *side) consumerAdmin(c *conn, group, name string) {
	c.ask("classic describe v5", 5, describeOf(group))
	c.ask("classic describe v6", 6, describeOf(group))
	for _, f := range [][2][]string{{nil, nil}, {{"stable"}, nil}, {nil, {"consumer"}}, {nil, {"classic"}}, {{"Reconciling"}, {"Consumer"}}} {
		c.ask(fmt.Sprint("list ", f), 5, listOf(f[0], f[1]))
	}
	c.ask("delete with members", 2, deleteOf(group))
	for _, topic := range []string{name, s.topic("other")} {
		del := kmsg.NewPtrOffsetDeleteRequest()
		del.Group = group
		del.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 1}}}}
		c.ask("delete offset of "+topic, 0, del)
	}
	c.ask("classic heartbeat", 4, heartbeatOf(group, "a", 3))
	c.ask("classic sync", 5, syncOf(group, "a", 3))
	c.ask("classic leave of nobody", 5, leaveOf(group, "x"))
	join := joinOf(group, "", name)
	join.ProtocolType = "connect"
	c.ask("classic join of another kind", 9, join)
}

// consumerStaticScript: static members of the consumer protocol.
func consumerStaticScript(s *side) {
	c := s.conn()
	defer c.close()
	name := s.topic("t")
	id := s.create(name, 4)
	group := s.topic("g")
	s.coordinated(c, group)
	as := func(instance string, req *kmsg.ConsumerGroupHeartbeatRequest) *kmsg.ConsumerGroupHeartbeatRequest {
		req.InstanceID = &instance
		return req
	}
	c.ask("join", 1, as("i", beatOf(group, "a", 0, name)))
	c.ask("the same name while it is there", 1, as("i", beatOf(group, "b", 0, name)))
	c.ask("the same member joins again", 1, as("i", beatOf(group, "a", 0, name)))
	c.ask("stays under its name", 1, as("i", beatOf(group, "a", 2)))
	c.ask("stays without its name", 1, beatOf(group, "a", 2))
	c.ask("stays under another name", 1, as("k", beatOf(group, "a", 2)))
	c.ask("another member under the name", 1, as("i", beatOf(group, "b", 2)))
	c.ask("another member leaves under the name", 1, as("i", beatOf(group, "b", -2)))
	c.ask("leaves for a while", 1, as("i", beatOf(group, "a", -2)))
	c.ask("describe while it is away", 1, describeConsumerOf(group))
	c.ask("stays though it has left", 1, as("i", beatOf(group, "a", 2)))
	c.ask("another one takes its place", 1, as("i", beatOf(group, "b", 0, name)))
	c.ask("describe the other one", 1, describeConsumerOf(group))
	c.ask("the first comes back", 1, as("i", beatOf(group, "a", 2)))
	c.ask("the first comes back without its name", 1, beatOf(group, "a", 2))
	c.ask("a second one", 1, as("j", beatOf(group, "c", 0, name)))
	c.ask("it gives up", 1, owning(as("i", beatOf(group, "b", 2)), id, 0, 1, 2, 3))
	c.ask("it has given up", 1, owning(as("i", beatOf(group, "b", 2)), id, 0, 1))
	c.ask("the second gets it", 1, as("j", beatOf(group, "c", 3)))
	c.ask("an administrator removes one by name", 5, func() kmsg.Request {
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Group = group
		req.Members = []kmsg.LeaveGroupRequestMember{{InstanceID: kmsg.StringPtr("i")}, {InstanceID: kmsg.StringPtr("nobody")}}
		return req
	}())
	c.ask("leaves for good", 1, as("j", beatOf(group, "c", -1)))
	c.ask("describe at the end", 1, describeConsumerOf(group))
}

// expressionsScript: subscription by regular expression.
func expressionsScript(s *side) {
	c := s.conn()
	defer c.close()
	one, two := s.topic("one"), s.topic("two")
	s.create(one, 2)
	s.create(two, 1)
	group := s.topic("g")
	s.coordinated(c, group)
	by := func(text string, req *kmsg.ConsumerGroupHeartbeatRequest) *kmsg.ConsumerGroupHeartbeatRequest {
		req.SubscribedTopicRegex = &text
		return req
	}
	for _, bad := range []string{"(", "[", "a**", "(?=a)", `\1`, "a{2,1}", `\8`} {
		c.ask("bad expression "+bad, 1, by(bad, beatOf(group, "a", 0)))
	}
	c.ask("an empty expression", 1, by("", beatOf(s.topic("h"), "a", 0)))
	first := int32(0)
	if resp, ok := c.ask("join", 1, by(s.name+`\.(one|two)`, beatOf(group, "a", 0))).(*kmsg.ConsumerGroupHeartbeatResponse); ok {
		first = resp.MemberEpoch
	}
	s.poll("the expression is resolved", func() bool {
		resp, ok := c.try(1, describeConsumerOf(group)).(*kmsg.ConsumerGroupDescribeResponse)
		return ok && len(resp.Groups) == 1 && resp.Groups[0].Epoch > first
	})
	c.ask("describe", 1, describeConsumerOf(group))
	c.ask("gets the topics", 1, beatOf(group, "a", 1))
	c.ask("describe at work", 1, describeConsumerOf(group))
	c.ask("a second member with the same", 1, by(s.name+`\.(one|two)`, beatOf(group, "b", 0)))
	c.ask("the second leaves", 1, beatOf(group, "b", -1))
	c.ask("names instead", 1, by("", beatOf(group, "a", 2, one)))
	c.ask("leaves", 1, beatOf(group, "a", -1))
	c.ask("describe at the end", 1, describeConsumerOf(group))
}

// migrationScript: a group changes its protocol and back, with classic members in it.
func migrationScript(s *side) {
	c := s.conn()
	defer c.close()
	name := s.topic("t")
	id := s.create(name, 4)
	group := s.topic("g")
	s.coordinated(c, group)
	owned := func(req *kmsg.JoinGroupRequest, partitions ...int32) *kmsg.JoinGroupRequest {
		meta := kmsg.ConsumerMemberMetadata{Version: 3, Topics: []string{name}, Generation: -1}
		if len(partitions) > 0 {
			meta.OwnedPartitions = append(meta.OwnedPartitions, kmsg.ConsumerMemberMetadataOwnedPartition{Topic: name, Partitions: partitions})
		}
		req.Protocols[0].Metadata = meta.AppendTo(nil)
		return req
	}
	share := kmsg.ConsumerMemberAssignment{Version: 3, Topics: []kmsg.ConsumerMemberAssignmentTopic{{Topic: name, Partitions: []int32{0, 1, 2, 3}}}}
	resp, ok := c.ask("classic join", 3, owned(joinOf(group, "", name))).(*kmsg.JoinGroupResponse)
	if !ok || resp.ErrorCode != 0 {
		s.must(fmt.Errorf("join: %+v", resp))
	}
	m := resp.MemberID
	c.ask("classic sync", 5, syncOf(group, m, 1, m, string(share.AppendTo(nil))))
	c.ask("consumer join", 1, beatOf(group, "b", 0, name))
	c.ask("list", 5, listOf(nil, nil))
	c.ask("describe", 1, describeConsumerOf(group))
	c.ask("classic heartbeat", 4, heartbeatOf(group, m, 1))
	c.ask("classic sync too early", 5, syncOf(group, m, 1))
	c.ask("classic join, owns all", 9, owned(joinOf(group, m, name), 0, 1, 2, 3))
	c.ask("classic sync to give up", 5, syncOf(group, m, 1))
	c.ask("classic heartbeat to give up", 4, heartbeatOf(group, m, 1))
	c.ask("classic join, has given up", 9, owned(joinOf(group, m, name), 0, 1))
	c.ask("classic heartbeat, old generation", 4, heartbeatOf(group, m, 1))
	c.ask("classic sync of half", 5, syncOf(group, m, 2))
	c.ask("classic sync, other protocol", 5, func() kmsg.Request {
		req := syncOf(group, m, 2)
		*req.Protocol = "rr"
		return req
	}())
	c.ask("classic heartbeat at rest", 4, heartbeatOf(group, m, 2))
	c.ask("consumer gets half", 1, beatOf(group, "b", 2))
	c.ask("describe at rest", 1, describeConsumerOf(group))
	c.ask("classic join of another kind", 9, func() kmsg.Request {
		req := joinOf(group, "", name)
		req.Protocols[0].Name = "rr"
		return req
	}())
	commit := commitOf(group, offset{name, id, 0, 5, nil})
	commit.MemberID, commit.Generation = m, 2
	c.ask("classic commit", 8, commit)
	commit.Generation = 1
	c.ask("classic commit, generation before", 8, commit)
	commit.Generation = 3
	c.ask("classic commit, generation behind", 8, commit)
	c.ask("consumer leaves", 1, beatOf(group, "b", -1))
	c.ask("list after it", 5, listOf(nil, nil))
	c.ask("describe after it", 1, describeConsumerOf(group))
	c.ask("classic heartbeat after it", 4, heartbeatOf(group, m, 3))
	c.ask("classic join after it", 9, owned(joinOf(group, m, name), 0, 1))
	c.ask("classic sync after it", 5, syncOf(group, m, 4, m, string(share.AppendTo(nil))))
	c.ask("offsets after it", 8, fetchOf(group, name, id, 0))
	c.ask("classic leave", 5, leaveOf(group, m))
	c.ask("consumer join of an empty one", 1, beatOf(group, "d", 0, name))
	c.ask("offsets of that", 8, fetchOf(group, name, id, 0))
	c.ask("consumer leave", 1, beatOf(group, "d", -1))
	again, ok := c.ask("classic join of an empty one", 3, owned(joinOf(group, "", name))).(*kmsg.JoinGroupResponse)
	if ok && again.ErrorCode == 0 {
		c.ask("classic leave of that", 5, leaveOf(group, again.MemberID))
	}
	c.ask("offsets at the end", 8, fetchOf(group, name, id, 0))
}
