package judge

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// coordinated waits until a group has a coordinator that answers.
func (s *side) coordinated(c *conn, group string) {
	s.poll("group "+group+" has a coordinator", func() bool {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorKey = group
		if resp, ok := c.try(0, req).(*kmsg.FindCoordinatorResponse); !ok || resp.ErrorCode != 0 {
			return false
		}
		beat := kmsg.NewPtrLeaveGroupRequest()
		beat.Group = group
		resp, ok := c.try(0, beat).(*kmsg.LeaveGroupResponse)
		return ok && resp.ErrorCode == kerr.UnknownMemberID.Code
	})
}

// coordinatorsScript: FindCoordinator at every version.
func coordinatorsScript(s *side) {
	c := s.conn()
	defer c.close()
	s.coordinated(c, s.topic("g"))
	for v := int16(0); v <= 6; v++ {
		for _, keys := range [][]string{{s.topic("g")}, {""}, {s.topic("g"), s.topic("h"), s.topic("g")}, {}} {
			req := kmsg.NewPtrFindCoordinatorRequest()
			req.CoordinatorKeys = keys
			if len(keys) > 0 {
				req.CoordinatorKey = keys[0]
			}
			c.ask(fmt.Sprint("groups ", keys), v, req)
		}
		if v >= 1 {
			for _, kind := range []int8{3, -1} {
				req := kmsg.NewPtrFindCoordinatorRequest()
				req.CoordinatorType, req.CoordinatorKey, req.CoordinatorKeys = kind, "x", []string{"x"}
				c.ask(fmt.Sprint("keys of type ", kind), v, req)
			}
		}
	}
	s.unsupported(c, 10, 7)
}

// offset is one partition of a commit.
type offset struct {
	topic     string
	id        [16]byte
	partition int32
	at        int64
	metadata  *string
}

func commitOf(group string, offsets ...offset) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation, req.RetentionTimeMillis = group, -1, -1
	for _, o := range offsets {
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = o.partition, o.at, 4, o.metadata
		t := kmsg.NewOffsetCommitRequestTopic()
		t.Topic, t.TopicID = o.topic, o.id
		t.Partitions = append(t.Partitions, p)
		req.Topics = append(req.Topics, t)
	}
	return req
}

// fetchOf asks for offsets of one group; topic "" for all.
func fetchOf(group, topic string, id [16]byte, partitions ...int32) *kmsg.OffsetFetchRequest {
	req := kmsg.NewPtrOffsetFetchRequest()
	g := kmsg.NewOffsetFetchRequestGroup()
	req.Group, g.Group = group, group
	if topic != "" {
		req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: topic, Partitions: partitions}}
		g.Topics = []kmsg.OffsetFetchRequestGroupTopic{{Topic: topic, TopicID: id, Partitions: partitions}}
	}
	req.Groups = append(req.Groups, g)
	return req
}

// commitsScript: commits outside of group management, and what is read of them (G1, G7).
func commitsScript(s *side) {
	c := s.conn()
	defer c.close()
	name := s.topic("t")
	id := s.create(name, 2)
	s.coordinated(c, s.topic("g"))
	note, long := "note", string(make([]byte, 4097))
	good := offset{name, id, 0, 7, &note}
	for v := int16(2); v <= 10; v++ {
		group := s.topic(fmt.Sprint("g", v))
		s.coordinated(c, group)
		ask := func(what string, req *kmsg.OffsetCommitRequest) { c.ask(what, v, req) }
		ask("good", commitOf(group, good))
		ask("another group", commitOf(s.topic("h"), good, offset{name, id, 1, 9, nil}))
		ask("empty group id", commitOf("", good))
		ask("no topics", commitOf(group))
		ask("no partitions", func() *kmsg.OffsetCommitRequest {
			req := commitOf(group, good)
			req.Topics[0].Partitions = nil
			return req
		}())
		ask("null metadata", commitOf(group, offset{name, id, 1, 3, nil}))
		ask("long metadata", commitOf(group, offset{name, id, 1, 3, &long}, good))
		ask("negative offset", commitOf(group, offset{name, id, 1, -5, &note}))
		ask("unknown partition", commitOf(group, offset{name, id, 5, 1, &note}, good))
		ask("negative partition", commitOf(group, offset{name, id, -1, 1, &note}))
		ask("unknown topic", commitOf(group, offset{s.topic("nowhere"), bogusID, 0, 1, &note}, good))
		ask("empty topic name", commitOf(group, offset{"", [16]byte{}, 0, 1, &note}))
		for _, who := range []struct {
			member     string
			generation int32
		}{{"m", 3}, {"", 3}, {"m", -1}, {"m", -2}, {"", -2}, {"", 0}} {
			req := commitOf(s.topic("nobody"), good)
			req.MemberID, req.Generation = who.member, who.generation
			ask(fmt.Sprintf("by member %q of generation %d, group unknown", who.member, who.generation), req)
			req = commitOf(group, good)
			req.MemberID, req.Generation = who.member, who.generation
			ask(fmt.Sprintf("by member %q of generation %d", who.member, who.generation), req)
			if del := kmsg.NewPtrDeleteGroupsRequest(); true {
				del.Groups = []string{s.topic("nobody")}
				c.ask("clean up", 0, del)
			}
		}
		if v >= 7 {
			req := commitOf(group, good)
			req.InstanceID = &note
			ask("with an instance id", req)
		}
	}
	for v := int16(1); v <= 10; v++ {
		for _, group := range []string{s.topic("g9"), s.topic("nobody"), ""} {
			c.ask("both partitions of "+group, v, fetchOf(group, name, id, 0, 1))
			c.ask("others of "+group, v, fetchOf(group, name, id, 7, -1))
			c.ask("unknown topic of "+group, v, fetchOf(group, s.topic("nowhere"), bogusID, 0))
			if v >= 2 {
				c.ask("all of "+group, v, fetchOf(group, "", id))
			}
			none := fetchOf(group, name, id)
			c.ask("no partitions of "+group, v, none)
			none.Topics, none.Groups[0].Topics = []kmsg.OffsetFetchRequestTopic{}, []kmsg.OffsetFetchRequestGroupTopic{}
			c.ask("no topics of "+group, v, none)
			stable := fetchOf(group, name, id, 0)
			stable.RequireStable = true
			c.ask("stable of "+group, v, stable)
		}
		if v >= 8 {
			req := fetchOf(s.topic("g9"), name, id, 0)
			req.Groups = append(req.Groups, fetchOf(s.topic("h"), "", id).Groups...)
			c.ask("two groups", v, req)
			req.Groups = nil
			c.ask("no group", v, req)
		}
	}
	s.unsupported(c, 8, 1)
	s.unsupported(c, 8, 11)
	s.unsupported(c, 9, 0)
	s.unsupported(c, 9, 11)
}

// joinOf is a JoinGroup of a consumer that subscribes to one topic.
func joinOf(group, member, topic string) *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.MemberID, req.ProtocolType, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = group, member, "consumer", 10_000, 10_000
	meta := kmsg.ConsumerMemberMetadata{Topics: []string{topic}}
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name, p.Metadata = "range", meta.AppendTo(nil)
	req.Protocols = append(req.Protocols, p)
	return req
}

func syncOf(group, member string, generation int32, assignments ...string) *kmsg.SyncGroupRequest {
	kind, name := "consumer", "range"
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.MemberID, req.Generation, req.ProtocolType, req.Protocol = group, member, generation, &kind, &name
	for i := 0; i+1 < len(assignments); i += 2 {
		req.GroupAssignment = append(req.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: assignments[i], MemberAssignment: []byte(assignments[i+1])})
	}
	return req
}

func heartbeatOf(group, member string, generation int32) *kmsg.HeartbeatRequest {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID, req.Generation = group, member, generation
	return req
}

func leaveOf(group string, members ...string) *kmsg.LeaveGroupRequest {
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group = group
	for _, m := range members {
		req.MemberID = m
		req.Members = append(req.Members, kmsg.LeaveGroupRequestMember{MemberID: m})
	}
	return req
}

// membersScript takes one member through the life of a group, at every version (G2, G3, G5 to G8).
func membersScript(s *side) {
	c := s.conn()
	defer c.close()
	name := s.topic("t")
	id := s.create(name, 1)
	for v := int16(2); v <= 9; v++ {
		group := s.topic(fmt.Sprint("g", v))
		s.coordinated(c, group)
		bad := func(what string, change func(*kmsg.JoinGroupRequest)) {
			req := joinOf(group, "", name)
			change(req)
			c.ask("join, "+what, v, req)
		}
		bad("short session", func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 5999 })
		bad("long session", func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 1_800_001 })
		bad("no group id", func(r *kmsg.JoinGroupRequest) { r.Group = "" })
		bad("unknown member", func(r *kmsg.JoinGroupRequest) { r.MemberID = "m" })
		c.ask("sync, no such group", v/2, syncOf(group, "m", 1))
		c.ask("heartbeat, no such group", v/2, heartbeatOf(group, "m", 1))
		c.ask("leave, no such group", v/2, leaveOf(group, "m"))
		c.ask("leave, no group id", v/2, leaveOf("", "m"))
		c.ask("heartbeat, no group id", v/2, heartbeatOf("", "m", 1))
		c.ask("sync, no group id", v/2, syncOf("", "m", 1))

		resp, ok := c.ask("join", v, joinOf(group, "", name)).(*kmsg.JoinGroupResponse)
		if ok && resp.ErrorCode == kerr.MemberIDRequired.Code {
			c.ask("heartbeat, not joined yet", v/2, heartbeatOf(group, resp.MemberID, 0))
			c.ask("sync, not joined yet", v/2, syncOf(group, resp.MemberID, 0))
			resp, ok = c.ask("join with the id", v, joinOf(group, resp.MemberID, name)).(*kmsg.JoinGroupResponse)
		}
		if !ok || resp.ErrorCode != 0 {
			s.must(fmt.Errorf("join v%d: %+v", v, resp))
		}
		m, g := resp.MemberID, resp.Generation
		commit := func(what string, member string, generation int32) {
			req := commitOf(group, offset{name, id, 0, 5, nil})
			req.MemberID, req.Generation = member, generation
			c.ask("commit, "+what, v, req)
		}
		c.ask("heartbeat before the assignment", v/2, heartbeatOf(group, m, g))
		commit("before the assignment", m, g)
		c.ask("describe before the assignment", 5, describeOf(group))
		c.ask("sync, other generation", v/2, syncOf(group, m, g+1))
		c.ask("sync, other member", v/2, syncOf(group, "x", g))
		for what, change := range map[string]func(*kmsg.SyncGroupRequest){
			"other type":     func(r *kmsg.SyncGroupRequest) { *r.ProtocolType = "connect" },
			"other protocol": func(r *kmsg.SyncGroupRequest) { *r.Protocol = "rr" },
			"no type":        func(r *kmsg.SyncGroupRequest) { r.ProtocolType = nil },
			"no protocol":    func(r *kmsg.SyncGroupRequest) { r.Protocol = nil },
			"unknown name":   func(r *kmsg.SyncGroupRequest) { r.InstanceID = kmsg.StringPtr("nobody") },
		} {
			req := syncOf(group, m, g)
			change(req)
			c.ask("sync, "+what, 5, req)
		}
		c.ask("join again, the same", v, joinOf(group, m, name))
		c.ask("sync", v/2, syncOf(group, m, g, m, "mine", "nobody", "his"))
		c.ask("sync again", v/2, syncOf(group, m, g, m, "other"))
		for _, beat := range []struct {
			member     string
			generation int32
		}{{m, g}, {m, g + 1}, {m, -1}, {"x", g}, {"", g}} {
			c.ask(fmt.Sprint("heartbeat, own ", beat.member == m, " ", beat.member == "", " later ", beat.generation-g), v/2, heartbeatOf(group, beat.member, beat.generation))
			commit(fmt.Sprint("own ", beat.member == m, " ", beat.member == "", " later ", beat.generation-g), beat.member, beat.generation)
		}
		s.stableAdmin(c, group, name)
		bad("another kind", func(r *kmsg.JoinGroupRequest) { r.ProtocolType = "connect" })
		bad("another protocol", func(r *kmsg.JoinGroupRequest) { r.Protocols[0].Name = "rr" })
		bad("no protocols", func(r *kmsg.JoinGroupRequest) { r.Protocols = nil })
		bad("unknown member of a group", func(r *kmsg.JoinGroupRequest) { r.MemberID = "m" })

		c.ask("leave, another", v/2, leaveOf(group, "x"))
		c.ask("leave", v/2, leaveOf(group, m))
		c.ask("leave again", v/2, leaveOf(group, m))
		c.ask("heartbeat after it left", v/2, heartbeatOf(group, m, g))
		c.ask("sync after it left", v/2, syncOf(group, m, g))
		commit("after it left", m, g)
		commit("after all have left", "", -1)
		c.ask("describe at the end", 5, describeOf(group))
		c.ask("offsets at the end", 8, fetchOf(group, name, id, 0))
	}
	s.unsupported(c, 11, 10)
	s.unsupported(c, 12, 5)
	s.unsupported(c, 13, 6)
	s.unsupported(c, 14, 6)
}

func describeOf(groups ...string) *kmsg.DescribeGroupsRequest {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = groups
	return req
}

// stableAdmin asks an administrator's questions of a group that has a member (G11).
func (s *side) stableAdmin(c *conn, group, topic string) {
	for v := int16(0); v <= 6; v++ {
		req := describeOf(group, s.topic("nobody"), "")
		c.ask("describe", v, req)
		req.IncludeAuthorizedOperations = true
		c.ask("describe with operations", v, req)
	}
	for v := int16(0); v <= 5; v++ {
		c.ask("list", v, kmsg.NewPtrListGroupsRequest())
		for _, states := range [][]string{{"Stable"}, {"stable"}, {"Empty", "Stable"}, {"nonsense"}, {""}} {
			req := kmsg.NewPtrListGroupsRequest()
			req.StatesFilter = states
			c.ask(fmt.Sprint("list by state ", states), max(v, 4), req)
		}
		for _, types := range [][]string{{"classic"}, {"CLASSIC"}, {"consumer"}, {"nonsense"}} {
			req := kmsg.NewPtrListGroupsRequest()
			req.TypesFilter = types
			c.ask(fmt.Sprint("list by type ", types), 5, req)
		}
	}
	for v := int16(0); v <= 2; v++ {
		req := kmsg.NewPtrDeleteGroupsRequest()
		req.Groups = []string{group, s.topic("nobody"), group}
		c.ask("delete", v, req)
		req.Groups = nil
		c.ask("delete nothing", v, req)
	}
	del := func(what, group string, topics ...kmsg.OffsetDeleteRequestTopic) {
		req := kmsg.NewPtrOffsetDeleteRequest()
		req.Group, req.Topics = group, topics
		c.ask("delete offsets, "+what, 0, req)
	}
	of := func(topic string, partitions ...int32) kmsg.OffsetDeleteRequestTopic {
		t := kmsg.OffsetDeleteRequestTopic{Topic: topic}
		for _, p := range partitions {
			t.Partitions = append(t.Partitions, kmsg.OffsetDeleteRequestTopicPartition{Partition: p})
		}
		return t
	}
	del("of what it reads", group, of(topic, 0))
	del("unknown ones", group, of(topic, 7), of(s.topic("nowhere"), 0))
	del("unknown group", s.topic("nobody"), of(topic, 0))
	del("unknown group and topic", s.topic("nobody"), of(s.topic("nowhere"), 0))
	del("no group id", "", of(topic, 0))
	del("none", group)
}

// staticScript: members with a name of their own (G8).
func staticScript(s *side) {
	c := s.conn()
	defer c.close()
	name := s.topic("t")
	id := s.create(name, 1)
	for v := int16(5); v <= 9; v++ {
		group, inst := s.topic(fmt.Sprint("g", v)), "first"
		s.coordinated(c, group)
		join := func(what, member string, instance *string, change func(*kmsg.JoinGroupRequest)) *kmsg.JoinGroupResponse {
			req := joinOf(group, member, name)
			if req.InstanceID = instance; change != nil {
				change(req)
			}
			resp, ok := c.ask(what, v, req).(*kmsg.JoinGroupResponse)
			if !ok {
				s.must(errClosed)
			}
			return resp
		}
		a := join("join", "", &inst, nil)
		c.ask("sync", 5, syncOf(group, a.MemberID, a.Generation, a.MemberID, "mine"))
		b := join("join in its place", "", &inst, nil)
		sync := syncOf(group, b.MemberID, b.Generation)
		sync.InstanceID = &inst
		c.ask("sync of the new one", 5, sync)
		old := syncOf(group, a.MemberID, a.Generation)
		c.ask("sync of the old one", 5, old)
		old.InstanceID = &inst
		c.ask("sync of the old one by name", 5, old)
		beat := heartbeatOf(group, a.MemberID, a.Generation)
		c.ask("heartbeat of the old one", 4, beat)
		beat.InstanceID = &inst
		c.ask("heartbeat of the old one by name", 4, beat)
		beat.InstanceID = kmsg.StringPtr("second")
		c.ask("heartbeat of an unknown name", 4, beat)
		commit := commitOf(group, offset{name, id, 0, 5, nil})
		commit.MemberID, commit.Generation, commit.InstanceID = a.MemberID, a.Generation, &inst
		c.ask("commit of the old one by name", 9, commit)
		join("join again by the old id", a.MemberID, &inst, nil)
		join("join by an unknown name", b.MemberID, kmsg.StringPtr("second"), nil)
		join("join with another protocol", "", &inst, func(r *kmsg.JoinGroupRequest) { r.Protocols[0].Name = "rr" })
		c.ask("describe", 5, describeOf(group))
		leave := leaveOf(group, a.MemberID)
		leave.Members[0].InstanceID = &inst
		c.ask("leave of the old one by name", 4, leave)
		leave.Members = append(leave.Members, kmsg.LeaveGroupRequestMember{InstanceID: kmsg.StringPtr("second")}, kmsg.LeaveGroupRequestMember{})
		c.ask("leave of three who are not there", 5, leave)
		leave.Members = []kmsg.LeaveGroupRequestMember{{InstanceID: &inst}, {InstanceID: &inst}}
		c.ask("leave by name, twice", 5, leave)
		c.ask("describe at the end", 5, describeOf(group))
	}
}

// rebalanceScript: two members, of which one waits (G4, G5, G6).
func rebalanceScript(s *side) {
	c, d := s.conn(), s.conn()
	d.clientID = "second" // member ids begin with it
	defer c.close()
	defer d.close()
	name := s.topic("t")
	id := s.create(name, 1)
	for v := int16(2); v <= 9; v++ {
		group := s.topic(fmt.Sprint("g", v))
		s.coordinated(c, group)
		first := func(c *conn, what string) string {
			resp, ok := c.ask(what, 4, joinOf(group, "", name)).(*kmsg.JoinGroupResponse)
			if !ok {
				s.must(errClosed)
			}
			return resp.MemberID
		}
		a, b := first(c, "the first asks for an id"), first(d, "the second asks for an id")
		// The leader is who joins first, so the second one follows when the first is in the group.
		c.send(c.frame(v, joinOf(group, a, name)))
		s.poll("the first is in the group", func() bool {
			resp, ok := d.try(5, describeOf(group)).(*kmsg.DescribeGroupsResponse)
			return ok && len(resp.Groups[0].Members) == 1
		})
		d.send(d.frame(v, joinOf(group, b, name)))
		s.joined(c, "the first joined", v)
		s.joined(d, "the second joined", v)
		d.send(d.frame(v/2, syncOf(group, b, 1)))
		c.ask("the first syncs", v/2, syncOf(group, a, 1, a, "A", b, "B"))
		s.late(d, "the second synced", v/2, kmsg.NewPtrSyncGroupResponse())
		c.ask("describe", 5, describeOf(group))

		d.send(d.frame(v, func() *kmsg.JoinGroupRequest { // another subscription: a rebalance
			req := joinOf(group, b, s.topic("other"))
			return req
		}()))
		s.poll("the rebalance has begun", func() bool {
			resp, ok := c.try(3, heartbeatOf(group, a, 1)).(*kmsg.HeartbeatResponse)
			return ok && resp.ErrorCode != 0
		})
		c.ask("heartbeat in the rebalance", v/2, heartbeatOf(group, a, 1))
		commit := commitOf(group, offset{name, id, 0, 5, nil})
		commit.MemberID, commit.Generation = a, 1
		c.ask("commit in the rebalance", v, commit)
		c.ask("sync in the rebalance", v/2, syncOf(group, a, 1))
		c.ask("describe in the rebalance", 5, describeOf(group))
		c.ask("the first joins again", v, joinOf(group, a, name))
		s.joined(d, "the second joined again", v)
		c.ask("the first leaves", v/2, leaveOf(group, a))
		d.ask("the second syncs", v/2, syncOf(group, b, 2))
		d.ask("the second joins alone", v, joinOf(group, b, name))
		d.ask("describe the second", 5, describeOf(group))
		d.ask("the second leaves", v/2, leaveOf(group, b))
	}
}

// joined records the answer to a JoinGroup that was sent before.
func (s *side) joined(c *conn, name string, version int16) {
	s.late(c, name, version, kmsg.NewPtrJoinGroupResponse())
}

// late records the answer to a request that was sent before.
func (s *side) late(c *conn, name string, version int16, resp kmsg.Response) {
	body, err := c.receive(patience)
	s.must(err)
	s.must(parse(body, version, resp))
	s.answered(fmt.Sprintf("v%d %s", version, name), resp)
}
