package judge

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// growth is a CreatePartitions of one topic; assignments nil for none.
func growth(topic string, count int32, assignments ...[]int32) *kmsg.CreatePartitionsRequest {
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.TimeoutMillis = 10_000
	t := kmsg.NewCreatePartitionsRequestTopic()
	t.Topic, t.Count = topic, count
	for _, a := range assignments {
		t.Assignment = append(t.Assignment, kmsg.CreatePartitionsRequestTopicAssignment{Replicas: a})
	}
	req.Topics = append(req.Topics, t)
	return req
}

// growScript: CreatePartitions at every version (A3).
func growScript(s *side) {
	c := s.conn()
	defer c.close()
	for v := int16(0); v <= 3; v++ {
		name, other := s.topic(fmt.Sprint("t", v)), s.topic(fmt.Sprint("other", v))
		s.create(name, 2)
		s.create(other, 1)
		c.ask("to three", v, growth(name, 3))
		s.await(name)
		for what, req := range map[string]*kmsg.CreatePartitionsRequest{
			"the same": growth(name, 3), "fewer": growth(name, 2), "zero": growth(name, 0), "negative": growth(name, -1),
			"unknown topic": growth(s.topic("nowhere"), 3), "invalid topic": growth("a b", 3), "empty topic": growth("", 3),
			"too few assignments": growth(name, 5, []int32{1}), "too many assignments": growth(name, 4, []int32{1}, []int32{1}),
			"assignment of no broker": growth(name, 4, []int32{}), "unknown broker": growth(name, 4, []int32{7}),
			"a broker twice": growth(name, 4, []int32{1, 1}), "two replicas": growth(name, 4, []int32{1, 2}),
		} {
			c.ask(what, v, req)
		}
		none := growth(name, 4)
		none.Topics[0].Assignment = []kmsg.CreatePartitionsRequestTopicAssignment{}
		c.ask("an empty list of assignments", v, none)
		validate := growth(name, 9)
		validate.ValidateOnly = true
		c.ask("validate only", v, validate)
		validate = growth(name, 1)
		validate.ValidateOnly = true
		c.ask("validate only, fewer", v, validate)
		c.ask("assigned", v, growth(name, 5, []int32{1}, []int32{1}))
		two := growth(name, 6)
		two.Topics = append(two.Topics, growth(other, 1).Topics...)
		c.ask("one good, one bad", v, two)
		two = growth(name, 7)
		two.Topics = append(two.Topics, growth(name, 8).Topics...)
		two.Topics = append(two.Topics, growth(other, 2).Topics...)
		c.ask("a topic twice", v, two)
		c.ask("no topics", v, kmsg.NewPtrCreatePartitionsRequest())
		s.poll("six partitions", func() bool { t, ok := s.look(c, name); return ok && len(t.Partitions) == 6 })
		s.poll("two partitions", func() bool { t, ok := s.look(c, other); return ok && len(t.Partitions) == 2 })
		s.await(name)
		c.ask("after all", 12, metadataOf(name, other))
	}
	s.unsupported(c, 37, 4)
}

// electScript: ElectLeaders and reassignments on one node.
func electScript(s *side) {
	c := s.conn()
	defer c.close()
	name := s.topic("t")
	s.create(name, 2)
	elect := func(kind int8, topic string, partitions ...int32) *kmsg.ElectLeadersRequest {
		req := kmsg.NewPtrElectLeadersRequest()
		req.ElectionType = kind
		req.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: topic, Partitions: partitions}}
		return req
	}
	for v := int16(0); v <= 2; v++ {
		for _, kind := range []int8{0, 1, 2, -1} {
			if v == 0 && kind != 0 {
				continue
			}
			c.ask(fmt.Sprint("election ", kind), v, elect(kind, name, 0, 1))
			c.ask(fmt.Sprint("unknown partition, election ", kind), v, elect(kind, name, 5, -1))
			c.ask(fmt.Sprint("unknown topic, election ", kind), v, elect(kind, s.topic("nowhere"), 0))
		}
		c.ask("no topics", v, &kmsg.ElectLeadersRequest{Topics: []kmsg.ElectLeadersRequestTopic{}, TimeoutMillis: 10_000})
		c.ask("no partitions", v, elect(0, name))
	}
	s.unsupported(c, 43, 3)
	s.reassign(c, name)
}

func (s *side) reassign(c *conn, name string) {
	move := func(topic string, partition int32, replicas []int32) *kmsg.AlterPartitionAssignmentsRequest {
		req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
		req.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: topic, Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Partition: partition, Replicas: replicas}}}}
		return req
	}
	for v := int16(0); v <= 1; v++ {
		for what, req := range map[string]*kmsg.AlterPartitionAssignmentsRequest{
			"as it is": move(name, 0, []int32{1}), "cancel": move(name, 0, nil), "no brokers": move(name, 0, []int32{}),
			"unknown broker": move(name, 0, []int32{7}), "a broker twice": move(name, 0, []int32{1, 1}), "one more": move(name, 0, []int32{1, 2}),
			"unknown partition": move(name, 9, []int32{1}), "unknown topic": move(s.topic("nowhere"), 0, []int32{1}), "cancel unknown": move(s.topic("nowhere"), 0, nil),
		} {
			c.ask("reassign: "+what, v, req)
			if v == 1 {
				req.AllowReplicationFactorChange = false
				c.ask("reassign with the same factor: "+what, v, req)
			}
		}
		c.ask("reassign nothing", v, kmsg.NewPtrAlterPartitionAssignmentsRequest())
	}
	s.unsupported(c, 45, 2)
	list := kmsg.NewPtrListPartitionReassignmentsRequest()
	c.ask("all moves", 0, list)
	list.Topics = []kmsg.ListPartitionReassignmentsRequestTopic{{Topic: name, Partitions: []int32{0, 7}}, {Topic: s.topic("nowhere"), Partitions: []int32{0}}}
	c.ask("some moves", 0, list)
	s.unsupported(c, 46, 1)
}

// pagesScript: DescribeTopicPartitions.
func pagesScript(s *side) {
	c := s.conn()
	defer c.close()
	a, b := s.topic("a"), s.topic("b")
	s.create(a, 3)
	s.create(b, 2)
	page := func(limit int32, cursor *kmsg.DescribeTopicPartitionsRequestCursor, names ...string) *kmsg.DescribeTopicPartitionsRequest {
		req := kmsg.NewPtrDescribeTopicPartitionsRequest()
		req.ResponsePartitionLimit, req.Cursor = limit, cursor
		for _, name := range names {
			req.Topics = append(req.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: name})
		}
		return req
	}
	at := func(topic string, partition int32) *kmsg.DescribeTopicPartitionsRequestCursor {
		return &kmsg.DescribeTopicPartitionsRequestCursor{Topic: topic, Partition: partition}
	}
	for what, req := range map[string]*kmsg.DescribeTopicPartitionsRequest{
		"two": page(2000, nil, b, a), "one twice": page(2000, nil, a, a), "unknown": page(2000, nil, a, s.topic("aa")), "invalid name": page(2000, nil, a, "a b"), "empty name": page(2000, nil, a, ""),
		"internal": page(2000, nil, "__share_group_state"), "first two": page(2, nil, a, b), "first three": page(3, nil, a, b), "first four": page(4, nil, a, b),
		"no room": page(0, nil, a, b), "less than no room": page(-5, nil, a, b),
		"from the second": page(2000, at(a, 1), a, b), "from b": page(2000, at(b, 0), a, b), "from behind a": page(2000, at(a, 3), a, b),
		"one from the second":    page(1, at(a, 1), a, b),
		"cursor not in the list": page(2000, at(s.topic("aa"), 0), a, b), "cursor behind the list": page(2000, at(s.topic("zz"), 0), a, b),
		"negative cursor": page(2000, at(a, -1), a, b), "all from behind": page(2000, at("zzzz", 0)), "negative cursor for all": page(2000, at("zzzz", -1)),
		"cursor at an unknown topic": page(2000, at(s.topic("aa"), 5), a, s.topic("aa"), b), "page ends before the unknown": page(3, nil, a, s.topic("aa"), b),
	} {
		c.ask(what, 0, req)
	}
	s.unsupported(c, 75, 1)
}

// quorumScript: DescribeQuorum, UpdateFeatures and UnregisterBroker.
func quorumScript(s *side) {
	c := s.conn()
	defer c.close()
	quorum := func(topic string, partitions ...int32) *kmsg.DescribeQuorumRequest {
		req := kmsg.NewPtrDescribeQuorumRequest()
		t := kmsg.NewDescribeQuorumRequestTopic()
		t.Topic = topic
		for _, p := range partitions {
			t.Partitions = append(t.Partitions, kmsg.DescribeQuorumRequestTopicPartition{Partition: p})
		}
		req.Topics = append(req.Topics, t)
		return req
	}
	for v := int16(0); v <= 2; v++ {
		c.ask("quorum", v, quorum("__cluster_metadata", 0))
		c.ask("another partition", v, quorum("__cluster_metadata", 1))
		c.ask("two partitions", v, quorum("__cluster_metadata", 0, 1))
		c.ask("another topic", v, quorum("t", 0))
		c.ask("no topics", v, kmsg.NewPtrDescribeQuorumRequest())
	}
	s.unsupported(c, 55, 3)
	update := func(name string, level int16, kind int8) *kmsg.UpdateFeaturesRequest {
		req := kmsg.NewPtrUpdateFeaturesRequest()
		req.FeatureUpdates = []kmsg.UpdateFeaturesRequestFeatureUpdate{{Feature: name, MaxVersionLevel: level, UpgradeType: kind}}
		return req
	}
	for v := int16(0); v <= 2; v++ {
		for what, req := range map[string]*kmsg.UpdateFeaturesRequest{
			"unknown": update("no.such", 1, 1), "unknown, off": update("no.such", 0, 2), "empty name": update("", 1, 1), "none": kmsg.NewPtrUpdateFeaturesRequest(),
			"too high": update("metadata.version", 999, 1), "negative": update("group.version", -1, 1), "unknown kind": update("group.version", 1, 9), "no kind": update("group.version", 1, 0),
		} {
			if v == 0 && req.FeatureUpdates != nil && req.FeatureUpdates[0].UpgradeType != 1 {
				continue
			}
			req.ValidateOnly = true
			c.ask("features: "+what, v, req)
		}
		two := update("no.such", 1, 1)
		two.FeatureUpdates = append(two.FeatureUpdates, two.FeatureUpdates...)
		c.ask("features: one twice", v, two)
	}
	s.unsupported(c, 57, 3)
	for _, id := range []int32{7, -1} {
		req := kmsg.NewPtrUnregisterBrokerRequest()
		req.BrokerID = id
		c.ask(fmt.Sprint("unregister ", id), 0, req)
	}
	s.unsupported(c, 64, 1)
}
