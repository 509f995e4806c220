package api

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

func brokerResource(name string) metadata.ConfigResource {
	return metadata.ConfigResource{Type: metadata.BrokerResource, Name: name}
}

// TestA3CreatePartitions: only increases, as many assignments as partitions, validate_only; the
// new partitions take records when the answer is there.
func TestA3CreatePartitions(t *testing.T) {
	k := newKit(t)
	c := k.dial(internalListener)
	k.create("t")
	grow := func(v int16, count int32, validate bool, topic string, assignments ...[]int32) kafka.Error {
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.ValidateOnly, req.TimeoutMillis = validate, 10_000
		rt := kmsg.NewCreatePartitionsRequestTopic()
		rt.Topic, rt.Count = topic, count
		for _, a := range assignments {
			rt.Assignment = append(rt.Assignment, kmsg.CreatePartitionsRequestTopicAssignment{Replicas: a})
		}
		req.Topics = append(req.Topics, rt)
		resp := ask[*kmsg.CreatePartitionsResponse](c, v, req)
		if len(resp.Topics) != 1 || (resp.Topics[0].ErrorMessage == nil) != (resp.Topics[0].ErrorCode == 0) {
			t.Fatalf("v%d: %+v", v, resp.Topics)
		}
		return kafka.Error(resp.Topics[0].ErrorCode)
	}
	for v := int16(0); v <= 3; v++ {
		has := int32(len(k.cluster.Image().Topic("t").Partitions))
		for _, tc := range []struct{ got, want kafka.Error }{
			{grow(v, has, false, "t"), kafka.InvalidPartitions}, {grow(v, has-1, false, "t"), kafka.InvalidPartitions}, {grow(v, -1, false, "t"), kafka.InvalidPartitions},
			{grow(v, has+1, false, "nowhere"), kafka.UnknownTopicOrPartition}, {grow(v, 1<<31-1, false, "t"), kafka.PolicyViolation}, {grow(v, has+10_000, true, "t"), kafka.PolicyViolation},
			{grow(v, has+2, false, "t", []int32{1}), kafka.InvalidReplicaAssignment}, {grow(v, has+1, false, "t", []int32{2}), kafka.InvalidReplicaAssignment},
			{grow(v, has+1, false, "t", []int32{}), kafka.InvalidReplicaAssignment}, {grow(v, has+1, false, "t", []int32{1, 1}), kafka.InvalidReplicaAssignment},
			{grow(v, has+1, true, "t"), kafka.NoError}, {grow(v, has+1, true, "t", []int32{1}), kafka.NoError},
		} {
			if tc.got != tc.want {
				t.Errorf("v%d: %s, want %s", v, tc.got.Name(), tc.want.Name())
			}
		}
		if n := int32(len(k.cluster.Image().Topic("t").Partitions)); n != has {
			t.Errorf("%d partitions after refusals and validation, %d before", n, has)
		}
		if code := grow(v, has+1, false, "t"); code != 0 {
			t.Errorf("v%d: %s", v, code.Name())
		}
		if code := grow(v, has+2, false, "t", []int32{1}); code != 0 {
			t.Errorf("v%d assigned: %s", v, code.Name())
		}
		for i := range has + 2 {
			if _, err := k.replicas.Partition("t", i); err != nil {
				t.Errorf("partition %d: %v", i, err)
			}
		}
	}
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.TimeoutMillis = 10_000
	for range 2 {
		rt := kmsg.NewCreatePartitionsRequestTopic()
		rt.Topic, rt.Count = "t", 50
		req.Topics = append(req.Topics, rt)
	}
	if resp := ask[*kmsg.CreatePartitionsResponse](c, 3, req); len(resp.Topics) != 1 || kafka.Error(resp.Topics[0].ErrorCode) != kafka.InvalidRequest {
		t.Errorf("named twice: %+v", resp.Topics)
	}
}

// TestA4UpdateFeatures: an unknown feature or level gets INVALID_UPDATE_VERSION at every version.
func TestA4UpdateFeatures(t *testing.T) {
	k := newKit(t)
	c := k.dial(internalListener)
	for v := int16(0); v <= 2; v++ {
		for _, f := range []kmsg.UpdateFeaturesRequestFeatureUpdate{
			{Feature: "no.such", MaxVersionLevel: 1, UpgradeType: 1}, {Feature: "metadata.version", MaxVersionLevel: 999, UpgradeType: 1}, {Feature: "", MaxVersionLevel: 1, UpgradeType: 1},
			{Feature: "no.such", MaxVersionLevel: 0, UpgradeType: 2, AllowDowngrade: true},
		} {
			req := kmsg.NewPtrUpdateFeaturesRequest()
			req.FeatureUpdates = append(req.FeatureUpdates, f)
			resp := ask[*kmsg.UpdateFeaturesResponse](c, v, req)
			if kafka.Error(resp.ErrorCode) != kafka.InvalidUpdateVersion || resp.ErrorMessage == nil || len(resp.Results) != 0 {
				t.Errorf("v%d %+v: %+v", v, f, resp)
			}
		}
		if resp := ask[*kmsg.UpdateFeaturesResponse](c, v, kmsg.NewPtrUpdateFeaturesRequest()); resp.ErrorCode != 0 {
			t.Errorf("v%d, no features: %+v", v, resp)
		}
	}
}

// TestElectLeadersAndReassignments: on one node there is nothing to elect and nothing to move,
// and both say so.
func TestElectLeadersAndReassignments(t *testing.T) {
	k := newKit(t)
	c := k.dial(internalListener)
	k.create("t")
	elect := func(v int16, kind int8, topics ...kmsg.ElectLeadersRequestTopic) string {
		req := kmsg.NewPtrElectLeadersRequest()
		req.ElectionType, req.Topics = kind, topics
		resp := ask[*kmsg.ElectLeadersResponse](c, v, req)
		text := fmt.Sprint(resp.ErrorCode)
		for _, rt := range resp.Topics {
			text += " " + rt.Topic
			for _, p := range rt.Partitions {
				text += fmt.Sprintf(":%d=%d", p.Partition, p.ErrorCode)
			}
		}
		return text
	}
	topic := func(name string, partitions ...int32) kmsg.ElectLeadersRequestTopic {
		return kmsg.ElectLeadersRequestTopic{Topic: name, Partitions: partitions}
	}
	for _, tc := range []struct{ got, want string }{
		{elect(0, 0, topic("t", 0, 7), topic("nowhere", 0)), "0 t:0=84:7=3 nowhere:0=3"}, {elect(2, 1, topic("t", 0)), "0 t:0=84"},
		{elect(1, 9, topic("t", 0)), "42 t:0=42"}, {elect(2, 0), "0 t"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %q, want %q", tc.got, tc.want)
		}
	}
	move := func(v int16, same bool, name string, partition int32, replicas []int32) kafka.Error {
		req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
		req.AllowReplicationFactorChange = !same
		req.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: name, Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Partition: partition, Replicas: replicas}}}}
		return kafka.Error(ask[*kmsg.AlterPartitionAssignmentsResponse](c, v, req).Topics[0].Partitions[0].ErrorCode)
	}
	for _, tc := range []struct{ got, want kafka.Error }{
		{move(0, false, "t", 0, []int32{1}), 0}, {move(1, true, "t", 0, []int32{1}), 0}, {move(0, false, "t", 0, nil), kafka.NoReassignmentInProgress},
		{move(0, false, "t", 0, []int32{7}), kafka.InvalidReplicaAssignment}, {move(0, false, "t", 0, []int32{}), kafka.InvalidReplicaAssignment},
		{move(0, false, "t", 5, []int32{1}), kafka.UnknownTopicOrPartition}, {move(0, false, "nowhere", 0, nil), kafka.UnknownTopicOrPartition},
	} {
		if tc.got != tc.want {
			t.Errorf("reassignment: %s, want %s", tc.got.Name(), tc.want.Name())
		}
	}
	if resp := ask[*kmsg.ListPartitionReassignmentsResponse](c, 0, kmsg.NewPtrListPartitionReassignmentsRequest()); resp.ErrorCode != 0 || len(resp.Topics) != 0 {
		t.Errorf("moves: %+v", resp)
	}
}

// TestDescribeQuorum maps the raft log of the metadata onto Kafka's.
func TestDescribeQuorum(t *testing.T) {
	k := newKit(t)
	c := k.dial(internalListener)
	req := kmsg.NewPtrDescribeQuorumRequest()
	req.Topics = []kmsg.DescribeQuorumRequestTopic{{Topic: metadataTopic, Partitions: []kmsg.DescribeQuorumRequestTopicPartition{{}}}}
	for v := int16(0); v <= 2; v++ {
		resp := ask[*kmsg.DescribeQuorumResponse](c, v, req)
		p := resp.Topics[0].Partitions[0]
		if resp.ErrorCode != 0 || p.LeaderID != testNode || p.LeaderEpoch < 1 || p.HighWatermark < 2 || len(p.CurrentVoters) != 1 || len(p.Observers) != 0 {
			t.Errorf("v%d: %+v", v, resp)
		}
		if voter := p.CurrentVoters[0]; voter.ReplicaID != testNode || voter.LogEndOffset != p.HighWatermark || v > 0 && voter.LastCaughtUpTimestamp < 1 {
			t.Errorf("v%d: voter %+v", v, voter)
		}
		if v == 2 && (len(resp.Nodes) != 1 || len(resp.Nodes[0].Listeners) != 2) {
			t.Errorf("nodes %+v", resp.Nodes)
		}
	}
	req.Topics[0].Topic = "t"
	if resp := ask[*kmsg.DescribeQuorumResponse](c, 2, req); kafka.Error(resp.Topics[0].Partitions[0].ErrorCode) != kafka.UnknownTopicOrPartition {
		t.Errorf("another topic: %+v", resp)
	}
	for id, want := range map[int32]kafka.Error{7: kafka.BrokerIDNotRegistered, testNode: kafka.InvalidRequest} {
		req := kmsg.NewPtrUnregisterBrokerRequest()
		req.BrokerID = id
		if resp := ask[*kmsg.UnregisterBrokerResponse](c, 0, req); kafka.Error(resp.ErrorCode) != want {
			t.Errorf("unregister %d: %+v", id, resp)
		}
	}
}

// TestDescribeTopicPartitions walks over topics page by page and sees each partition once.
func TestDescribeTopicPartitions(t *testing.T) {
	k := newKit(t)
	c := k.dial(internalListener)
	for _, name := range []string{"b", "a", "c"} {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.TimeoutMillis = 10_000
		req.Topics = append(req.Topics, newTopic(name, 3, 1))
		ask[*kmsg.CreateTopicsResponse](c, 7, req)
	}
	for limit := int32(1); limit <= 10; limit++ {
		var seen []string
		req := kmsg.NewPtrDescribeTopicPartitionsRequest()
		req.ResponsePartitionLimit = limit
		for pages := 0; ; pages++ {
			resp := ask[*kmsg.DescribeTopicPartitionsResponse](c, 0, req)
			for _, rt := range resp.Topics {
				for _, p := range rt.Partitions {
					seen = append(seen, fmt.Sprint(*rt.Topic, p.Partition))
					if p.LeaderID != testNode || p.EligibleLeaderReplicas == nil && len(p.ISR) != 1 || p.ErrorCode != 0 {
						t.Errorf("%+v", p)
					}
				}
			}
			if resp.NextCursor == nil {
				break
			}
			if pages > 10 {
				t.Fatal("the pages do not end")
			}
			req.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: resp.NextCursor.Topic, Partition: resp.NextCursor.Partition}
		}
		if got, want := fmt.Sprint(seen), "[a0 a1 a2 b0 b1 b2 c0 c1 c2]"; got != want {
			t.Errorf("pages of %d: %s", limit, got)
		}
	}
	far := kmsg.NewPtrDescribeTopicPartitionsRequest()
	far.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: "a", Partition: 1<<31 - 1}
	if resp := ask[*kmsg.DescribeTopicPartitionsResponse](c, 0, far); len(resp.Topics) != 3 || len(resp.Topics[0].Partitions) != 0 || resp.NextCursor != nil {
		t.Errorf("a cursor far behind: %+v", resp)
	}
}

// TestGroupVersionOff: while the feature is off, groups of the consumer protocol are not served,
// and ApiVersions no longer calls it finalized.
func TestGroupVersionOff(t *testing.T) {
	k := newKit(t)
	c := k.dial(internalListener)
	beat := func() kafka.Error {
		req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		req.Group, req.MemberID = "g", "unknown"
		req.MemberEpoch = 5
		return kafka.Error(ask[*kmsg.ConsumerGroupHeartbeatResponse](c, 1, req).ErrorCode)
	}
	if code := beat(); code == kafka.UnsupportedVersion {
		t.Errorf("before: %v", code)
	}
	req := kmsg.NewPtrUpdateFeaturesRequest()
	req.TimeoutMillis = 10_000
	req.FeatureUpdates = append(req.FeatureUpdates, kmsg.UpdateFeaturesRequestFeatureUpdate{Feature: "group.version", MaxVersionLevel: 0, UpgradeType: 2})
	if resp := ask[*kmsg.UpdateFeaturesResponse](c, 1, req); resp.ErrorCode != 0 {
		t.Fatalf("%v", kafka.Error(resp.ErrorCode))
	}
	if code := beat(); code != kafka.UnsupportedVersion {
		t.Errorf("with group.version 0: %v", code)
	}
	for _, f := range ask[*kmsg.ApiVersionsResponse](c, 4, apiVersions("client", "1")).FinalizedFeatures {
		if f.Name == "group.version" {
			t.Errorf("finalized at %d", f.MaxVersionLevel)
		}
	}
}
