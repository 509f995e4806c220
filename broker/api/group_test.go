package api

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker/coordinator/group"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/security/acl"
)

// groupKit is a broker whose groups have a coordinator, and a connection to it.
func groupKit(t *testing.T, settings ...string) (*kit, *client) {
	t.Helper()
	k := newKit(t, append([]string{"offsets.topic.num.partitions=3"}, settings...)...)
	k.create("t")
	c := k.dial(internalListener)
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorKey = "g"
	if resp := ask[*kmsg.FindCoordinatorResponse](c, 0, req); resp.ErrorCode != 0 {
		t.Fatalf("FindCoordinator: error %d", resp.ErrorCode)
	}
	return k, c
}

// TestG12FindCoordinator finds the same broker at every version, on each listener, and creates
// the offsets topic with the first request.
func TestG12FindCoordinator(t *testing.T) {
	k := newKit(t, "offsets.topic.num.partitions=3", "offsets.topic.segment.bytes=2097152")
	for v := int16(0); v <= 6; v++ {
		c := k.dial(externalListener)
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorKey, req.CoordinatorKeys = "g", []string{"g", "h", ""}
		resp := ask[*kmsg.FindCoordinatorResponse](c, v, req)
		if v < 4 {
			if resp.ErrorCode != 0 || resp.NodeID != testNode || resp.Host != externalHost || resp.Port != externalPort {
				t.Errorf("v%d: %+v", v, resp)
			}
			continue
		}
		if len(resp.Coordinators) != 3 {
			t.Fatalf("v%d: %+v", v, resp)
		}
		for i, co := range resp.Coordinators {
			if co.ErrorCode != 0 || co.NodeID != testNode || co.Host != externalHost || co.Port != externalPort || co.Key != req.CoordinatorKeys[i] {
				t.Errorf("v%d: %+v", v, co)
			}
		}
	}
	topic := k.cluster.Image().Topic(group.OffsetsTopic)
	if topic == nil || len(topic.Partitions) != 3 || topic.Config["cleanup.policy"] != "compact" || topic.Config["segment.bytes"] != "2097152" {
		t.Errorf("the offsets topic is %+v", topic)
	}
	c := k.dial(internalListener)
	if m := metadataOf(c, 13, false, group.OffsetsTopic).Topics[0]; m.ErrorCode != 0 || !m.IsInternal {
		t.Errorf("Metadata of the offsets topic: %+v", m)
	}
	for _, kind := range []int8{2, 3} {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorType, req.CoordinatorKeys = kind, []string{"x"}
		if got := ask[*kmsg.FindCoordinatorResponse](c, 6, req).Coordinators[0]; got.ErrorCode != int16(kafka.InvalidRequest) || got.NodeID != -1 || got.ErrorMessage == nil {
			t.Errorf("type %d: %+v", kind, got)
		}
	}
}

// The partition of a group is the one that Java's hash says. Source of the values: Java.
func TestGroupPartition(t *testing.T) {
	k, _ := groupKit(t)
	for id, hash := range map[string]int32{"": 0, "g": 103, "console-consumer-1": 35782224, "polygenelubricants": 0, "größe": 98762257, "𝄞": 1772394} {
		if got, ok := k.api.o.Groups.Partition(id); !ok || got != hash%3 {
			t.Errorf("group %q is in partition %d, want %d", id, got, hash%3)
		}
	}
}

// commit commits offset 7 for a partition of t, by id from version 10 on.
func (k *kit) commit(c *client, version int16, change func(*kmsg.OffsetCommitRequest)) *kmsg.OffsetCommitResponse {
	k.t.Helper()
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation, req.RetentionTimeMillis = "g", -1, -1
	part := kmsg.NewOffsetCommitRequestTopicPartition()
	note := "note"
	part.Offset, part.LeaderEpoch, part.Metadata = 7, 2, &note
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.Topic, topic.TopicID = "t", k.cluster.Image().Topic("t").ID
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	if change != nil {
		change(req)
	}
	return ask[*kmsg.OffsetCommitResponse](c, version, req)
}

// TestG1CommitAndFetch commits and reads offsets at every version.
func TestG1CommitAndFetch(t *testing.T) {
	k, c := groupKit(t)
	for v := int16(2); v <= 10; v++ {
		resp := k.commit(c, v, func(r *kmsg.OffsetCommitRequest) { r.Topics[0].Partitions[0].Offset = int64(v) })
		if p := resp.Topics[0].Partitions[0]; p.ErrorCode != 0 || (v < 10) != (resp.Topics[0].Topic == "t") {
			t.Errorf("OffsetCommit v%d: %+v", v, resp)
		}
		if got := offsetOf(t, k, c, 8, "g", "t", 0); got.Offset != int64(v) {
			t.Errorf("after OffsetCommit v%d the offset is %d", v, got.Offset)
		}
	}
	for v := int16(1); v <= 10; v++ {
		p := offsetOf(t, k, c, v, "g", "t", 0)
		epoch := int32(2)
		if v < 5 {
			epoch = -1
		}
		if p.Offset != 10 || p.LeaderEpoch != epoch || *p.Metadata != "note" || p.ErrorCode != 0 {
			t.Errorf("OffsetFetch v%d: %+v", v, p)
		}
		for _, group := range []string{"g", "nobody"} {
			p := offsetOf(t, k, c, v, group, "t", 55)
			if p.Offset != -1 || p.LeaderEpoch != -1 || *p.Metadata != "" || p.ErrorCode != 0 {
				t.Errorf("OffsetFetch v%d of nothing, group %s: %+v", v, group, p)
			}
		}
		if v < 2 {
			continue
		}
		if got := fetchAll(c, v, "g"); len(got) != 1 || got[0].Partitions[0].Offset != 10 {
			t.Errorf("OffsetFetch v%d of all: %+v", v, got)
		}
		if got := fetchAll(c, v, "nobody"); len(got) != 0 {
			t.Errorf("OffsetFetch v%d of all of nobody: %+v", v, got)
		}
	}
}

// offsetOf reads one offset, in the newest layout.
func offsetOf(t *testing.T, k *kit, c *client, version int16, group, topic string, partition int32) kmsg.OffsetFetchResponseGroupTopicPartition {
	t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = group
	req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: topic, Partitions: []int32{partition}}}
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	g.Topics = []kmsg.OffsetFetchRequestGroupTopic{{Topic: topic, Partitions: []int32{partition}}}
	if known := k.cluster.Image().Topic(topic); known != nil {
		g.Topics[0].TopicID = known.ID
	}
	req.Groups = append(req.Groups, g)
	resp := ask[*kmsg.OffsetFetchResponse](c, version, req)
	if version < 8 {
		p := resp.Topics[0].Partitions[0]
		return kmsg.OffsetFetchResponseGroupTopicPartition{Partition: p.Partition, Offset: p.Offset, LeaderEpoch: p.LeaderEpoch, Metadata: p.Metadata, ErrorCode: p.ErrorCode}
	}
	return resp.Groups[0].Topics[0].Partitions[0]
}

// fetchAll reads all offsets of a group.
func fetchAll(c *client, version int16, group string) []kmsg.OffsetFetchResponseGroupTopic {
	c.t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = group
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	req.Groups = append(req.Groups, g)
	resp := ask[*kmsg.OffsetFetchResponse](c, version, req)
	if version >= 8 {
		return resp.Groups[0].Topics
	}
	var out []kmsg.OffsetFetchResponseGroupTopic
	for _, topic := range resp.Topics {
		o := kmsg.OffsetFetchResponseGroupTopic{Topic: topic.Topic}
		for _, p := range topic.Partitions {
			o.Partitions = append(o.Partitions, kmsg.OffsetFetchResponseGroupTopicPartition{Offset: p.Offset})
		}
		out = append(out, o)
	}
	return out
}

// TestG7Commits: what a commit is refused for, with the code of the client's version.
func TestG7Commits(t *testing.T) {
	k, c := groupKit(t)
	code := func(version int16, change func(*kmsg.OffsetCommitRequest)) kafka.Error {
		return kafka.Error(k.commit(c, version, change).Topics[0].Partitions[0].ErrorCode)
	}
	member := func(r *kmsg.OffsetCommitRequest) { r.Group, r.Generation, r.MemberID = "nobody", 3, "m" }
	long := string(make([]byte, 4097))
	for _, tc := range []struct {
		name    string
		version int16
		change  func(*kmsg.OffsetCommitRequest)
		want    kafka.Error
	}{
		{"unknown group", 8, member, kafka.IllegalGeneration},
		{"unknown group", 9, member, kafka.GroupIDNotFound},
		{"unknown topic", 9, func(r *kmsg.OffsetCommitRequest) { r.Topics[0].Topic = "no" }, kafka.UnknownTopicOrPartition},
		{"unknown topic id", 10, func(r *kmsg.OffsetCommitRequest) { r.Topics[0].TopicID = [16]byte{1} }, kafka.UnknownTopicID},
		{"unknown partition", 10, func(r *kmsg.OffsetCommitRequest) { r.Topics[0].Partitions[0].Partition = 1 }, kafka.UnknownTopicOrPartition},
		{"negative partition", 9, func(r *kmsg.OffsetCommitRequest) { r.Topics[0].Partitions[0].Partition = -1 }, kafka.UnknownTopicOrPartition},
		{"long metadata", 9, func(r *kmsg.OffsetCommitRequest) { r.Topics[0].Partitions[0].Metadata = &long }, kafka.OffsetMetadataTooLarge},
		{"no metadata", 9, func(r *kmsg.OffsetCommitRequest) { r.Topics[0].Partitions[0].Metadata = nil }, kafka.NoError},
		{"empty group id", 9, func(r *kmsg.OffsetCommitRequest) { r.Group = "" }, kafka.NoError},
	} {
		if got := code(tc.version, tc.change); got != tc.want {
			t.Errorf("%s, v%d: %s, want %s", tc.name, tc.version, got.Name(), tc.want.Name())
		}
	}
	// Partitions that do not exist keep the others from nothing.
	resp := k.commit(c, 9, func(r *kmsg.OffsetCommitRequest) {
		missing := r.Topics[0].Partitions[0]
		missing.Partition = 9
		r.Topics[0].Partitions = append([]kmsg.OffsetCommitRequestTopicPartition{missing}, r.Topics[0].Partitions...)
		r.Topics[0].Partitions[1].Offset = 99
	})
	if p := resp.Topics[0].Partitions; p[0].Partition != 9 || p[0].ErrorCode != int16(kafka.UnknownTopicOrPartition) || p[1].ErrorCode != 0 {
		t.Errorf("a good and a bad partition: %+v", p)
	}
	if got := offsetOf(t, k, c, 9, "g", "t", 0).Offset; got != 99 {
		t.Errorf("offset %d, want 99", got)
	}
}

// TestG12NoCoordinator: before there is an offsets topic, nobody coordinates anything.
func TestG12NoCoordinator(t *testing.T) {
	k := newKit(t)
	k.create("t")
	c := k.dial(internalListener)
	if got := k.commit(c, 9, nil).Topics[0].Partitions[0].ErrorCode; got != int16(kafka.NotCoordinator) {
		t.Errorf("OffsetCommit: error %d", got)
	}
	for v := int16(1); v <= 10; v++ {
		req := kmsg.NewPtrOffsetFetchRequest()
		req.Group, req.Topics = "g", []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{0}}}
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group, g.Topics = "g", []kmsg.OffsetFetchRequestGroupTopic{}
		req.Groups = append(req.Groups, g)
		resp := ask[*kmsg.OffsetFetchResponse](c, v, req)
		got := resp.ErrorCode
		switch {
		case v < 2:
			got = resp.Topics[0].Partitions[0].ErrorCode
		case v >= 8:
			got = resp.Groups[0].ErrorCode
		}
		if got != int16(kafka.NotCoordinator) {
			t.Errorf("OffsetFetch v%d: error %d", v, got)
		}
	}
	if resp := ask[*kmsg.ListGroupsResponse](c, 5, kmsg.NewPtrListGroupsRequest()); resp.ErrorCode != 0 || len(resp.Groups) != 0 {
		t.Errorf("ListGroups: %+v", resp)
	}
}

// joinReq is a JoinGroup of a consumer that subscribes to t.
func joinReq(member string) *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.MemberID, req.ProtocolType, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = "g", member, "consumer", 10_000, 10_000
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name, p.Metadata = "range", []byte{0, 1, 0, 0, 0, 1, 0, 1, 't', 0, 0, 0, 0}
	req.Protocols = append(req.Protocols, p)
	return req
}

// TestGroupLife takes a member through join, sync, heartbeat, commit and leave at each
// version of JoinGroup, and each of the other keys at each of its versions.
func TestGroupLife(t *testing.T) {
	k, c := groupKit(t)
	for v := int16(0); v <= 9; v++ {
		join := joinReq("")
		joined := ask[*kmsg.JoinGroupResponse](c, v, join)
		if v >= 4 {
			if joined.ErrorCode != int16(kafka.MemberIDRequired) || joined.MemberID == "" {
				t.Fatalf("JoinGroup v%d without an id: %+v", v, joined)
			}
			joined = ask[*kmsg.JoinGroupResponse](c, v, joinReq(joined.MemberID))
		}
		if joined.ErrorCode != 0 || joined.LeaderID != joined.MemberID || len(joined.Members) != 1 || *joined.Protocol != "range" {
			t.Fatalf("JoinGroup v%d: %+v", v, joined)
		}
		id, generation := joined.MemberID, joined.Generation

		sync := kmsg.NewPtrSyncGroupRequest()
		sync.Group, sync.Generation, sync.MemberID = "g", generation, id
		kind, name := "consumer", "range"
		sync.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: id, MemberAssignment: []byte("mine")}}
		for sv := int16(0); sv <= 5; sv++ {
			if sv == 5 {
				if got := ask[*kmsg.SyncGroupResponse](c, sv, sync).ErrorCode; got != int16(kafka.InconsistentGroupProtocol) {
					t.Errorf("SyncGroup v5 without a protocol: error %d", got)
				}
				sync.ProtocolType, sync.Protocol = &kind, &name
			}
			if got := ask[*kmsg.SyncGroupResponse](c, sv, sync); got.ErrorCode != 0 || string(got.MemberAssignment) != "mine" {
				t.Errorf("SyncGroup v%d: %+v", sv, got)
			}
		}
		for hv := int16(0); hv <= 4; hv++ {
			beat := kmsg.NewPtrHeartbeatRequest()
			beat.Group, beat.MemberID, beat.Generation = "g", id, generation
			if got := ask[*kmsg.HeartbeatResponse](c, hv, beat).ErrorCode; got != 0 {
				t.Errorf("Heartbeat v%d: error %d", hv, got)
			}
		}
		if got := k.commit(c, 9, func(r *kmsg.OffsetCommitRequest) { r.MemberID, r.Generation = id, generation }).Topics[0].Partitions[0].ErrorCode; got != 0 {
			t.Errorf("OffsetCommit: error %d", got)
		}
		describeStable(t, c, id)
		adminRefused(t, k, c)

		leave := kmsg.NewPtrLeaveGroupRequest()
		leave.Group, leave.MemberID = "g", id
		leave.Members = []kmsg.LeaveGroupRequestMember{{MemberID: id}}
		if got := ask[*kmsg.LeaveGroupResponse](c, min(v, 5), leave); got.ErrorCode != 0 {
			t.Errorf("LeaveGroup v%d: %+v", min(v, 5), got)
		}
		again := ask[*kmsg.LeaveGroupResponse](c, min(v, 5), leave)
		code := again.ErrorCode
		if v >= 3 && code == 0 {
			code = again.Members[0].ErrorCode
		}
		if code != int16(kafka.UnknownMemberID) {
			t.Errorf("LeaveGroup v%d of a member that has left: %+v", min(v, 5), again)
		}
	}
}

// describeStable describes and lists the group at every version.
func describeStable(t *testing.T, c *client, member string) {
	t.Helper()
	for v := int16(0); v <= 6; v++ {
		req := kmsg.NewPtrDescribeGroupsRequest()
		req.Groups, req.IncludeAuthorizedOperations = []string{"g", "nobody"}, true
		resp := ask[*kmsg.DescribeGroupsResponse](c, v, req)
		g, none := resp.Groups[0], resp.Groups[1]
		if g.ErrorCode != 0 || g.State != "Stable" || g.Protocol != "range" || len(g.Members) != 1 || g.Members[0].MemberID != member ||
			g.Members[0].ClientHost != "/127.0.0.1" || g.Members[0].ClientID != "test" || string(g.Members[0].MemberAssignment) != "mine" {
			t.Errorf("DescribeGroups v%d: %+v", v, g)
		}
		if v >= 3 && g.AuthorizedOperations != acl.Supported(kafka.ResourceGroup) {
			t.Errorf("DescribeGroups v%d: operations %b", v, g.AuthorizedOperations)
		}
		wantCode := int16(0)
		if v >= 6 {
			wantCode = int16(kafka.GroupIDNotFound)
		}
		if none.State != "Dead" || none.ErrorCode != wantCode {
			t.Errorf("DescribeGroups v%d of nobody: %+v", v, none)
		}
	}
	for v := int16(0); v <= 5; v++ {
		resp := ask[*kmsg.ListGroupsResponse](c, v, kmsg.NewPtrListGroupsRequest())
		if len(resp.Groups) != 1 || resp.Groups[0].Group != "g" || resp.Groups[0].ProtocolType != "consumer" {
			t.Errorf("ListGroups v%d: %+v", v, resp)
		}
	}
}

// adminRefused: a group with members is not deleted, nor are the offsets of what it reads (G11).
func adminRefused(t *testing.T, k *kit, c *client) {
	t.Helper()
	for v := int16(0); v <= 3; v++ {
		req := kmsg.NewPtrDeleteGroupsRequest()
		req.Groups = []string{"g", "nobody", "g"}
		resp := ask[*kmsg.DeleteGroupsResponse](c, v, req)
		if len(resp.Groups) != 2 || resp.Groups[0].ErrorCode != int16(kafka.NonEmptyGroup) || resp.Groups[1].ErrorCode != int16(kafka.GroupIDNotFound) ||
			v >= 3 && resp.Groups[0].ErrorMessage == nil {
			t.Errorf("DeleteGroups v%d: %+v", v, resp)
		}
	}
	req := kmsg.NewPtrOffsetDeleteRequest()
	req.Group = "g"
	req.Topics = []kmsg.OffsetDeleteRequestTopic{
		{Topic: "t", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}, {Partition: 5}}},
		{Topic: "no", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}}},
	}
	resp := ask[*kmsg.OffsetDeleteResponse](c, 0, req)
	if resp.ErrorCode != 0 || resp.Topics[0].Partitions[0].ErrorCode != int16(kafka.GroupSubscribedToTopic) ||
		resp.Topics[0].Partitions[1].ErrorCode != int16(kafka.UnknownTopicOrPartition) || resp.Topics[1].Partitions[0].ErrorCode != int16(kafka.UnknownTopicOrPartition) {
		t.Errorf("OffsetDelete: %+v", resp)
	}
	req.Group = "nobody"
	if resp := ask[*kmsg.OffsetDeleteResponse](c, 0, req); resp.ErrorCode != int16(kafka.GroupIDNotFound) || len(resp.Topics) != 0 {
		t.Errorf("OffsetDelete of nobody: %+v", resp)
	}
}

// TestC8ParkedJoin: a JoinGroup that waits holds up its own connection and no other.
func TestC8ParkedJoin(t *testing.T) {
	k, a := groupKit(t)
	first := ask[*kmsg.JoinGroupResponse](a, 3, joinReq(""))
	b := k.dial(internalListener)
	join := joinReq("")
	join.SetVersion(3)
	b.send(join) // waits for the first member
	beat := kmsg.NewPtrHeartbeatRequest()
	beat.Group, beat.MemberID, beat.Generation = "g", first.MemberID, first.Generation
	deadline := time.Now().Add(10 * time.Second)
	for ask[*kmsg.HeartbeatResponse](a, 3, beat).ErrorCode != int16(kafka.RebalanceInProgress) {
		if time.Now().After(deadline) {
			t.Fatal("the other member's join was never noticed")
		}
	}
	again := ask[*kmsg.JoinGroupResponse](a, 3, joinReq(first.MemberID))
	if again.ErrorCode != 0 || len(again.Members) != 2 || again.Generation != first.Generation+1 {
		t.Errorf("the first member joined again: %+v", again)
	}
	if got := b.receive(join).(*kmsg.JoinGroupResponse); got.ErrorCode != 0 || got.Generation != again.Generation || len(got.Members) != 0 {
		t.Errorf("the second member joined: %+v", got)
	}
}

// TestP10OffsetsTopic: clients do not write to the offsets topic.
func TestP10OffsetsTopic(t *testing.T) {
	k, _ := groupKit(t)
	c := k.dial(internalListener)
	req := produceRequest(group.OffsetsTopic, k.cluster.Image().Topic(group.OffsetsTopic).ID, 1, recordsOf("v"))
	if got := c.produced(9, req).ErrorCode; got != int16(kafka.InvalidTopic) {
		t.Errorf("Produce to the offsets topic: error %d", got)
	}
}
