package group

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/varve-io/varve/broker/coordinator"
	"github.com/varve-io/varve/broker/coordinator/scenario"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/wire"
)

// The words of scenarios with groups of the consumer protocol. A set of partitions is written
// T:0+1,U:0; "none" is the empty one.

// playConsumer does one line.
func (s *stage) playConsumer(verb, group string, w scenario.Words) {
	switch verb {
	case "topic": // create a topic, or give it more partitions: topic NAME partitions=N
		s.changeTopics(func(at int64) []metadata.Record { return s.topicRecords(at, w[""], w.Int("partitions", 1)) })
	case "delete-topic":
		id := s.img.Topic(w[""]).ID
		s.changeTopics(func(int64) []metadata.Record { return []metadata.Record{metadata.RemoveTopicRecord{TopicID: id}} })
	case "beat": // ConsumerGroupHeartbeat
		s.beat(group, w)
	case "describe-consumer":
		s.c.DescribeConsumer(group, s.sayConsumerGroup)
	case "fetch-as": // OffsetFetch of a member
		epoch := int32(w.Int("epoch", -1))
		s.c.FetchAll(group, Reader{MemberID: w.Optional("member"), Epoch: epoch}, func(offsets []PartitionOffset, code kafka.Error) {
			s.say("<- %s %d offsets", code.Name(), len(offsets))
		})
	default:
		s.t.Fatalf("unknown word %q", verb)
	}
}

// changeTopics makes the next image.
func (s *stage) changeTopics(records func(at int64) []metadata.Record) {
	at := s.img.Version() + 1
	img, d, err := s.img.Apply(at, records(at))
	if err != nil {
		s.t.Fatal(err)
	}
	s.img = img
	s.c.image.Store(img)
	if len(d.Created) > 0 {
		s.c.topicsVersion.Store(at)
	}
	for _, t := range d.Deleted {
		s.c.rt.Do(0, func(sh *Shard, nowMs int64) coordinator.Step {
			return sh.TopicsDeleted(nowMs, map[string]bool{t.Name: true})
		}, func(error) {})
	}
}

// topicRecords creates a topic whose id begins with its name, or makes it larger.
func (s *stage) topicRecords(at int64, name string, partitions int) []metadata.Record {
	var out []metadata.Record
	have, id := 0, kafka.UUID{}
	if t := s.img.Topic(name); t != nil {
		have, id = len(t.Partitions), t.ID
	} else {
		copy(id[:], name)
		id[15] = byte(at) // another one each time
		out = append(out, metadata.TopicRecord{Name: name, ID: id, Version: 1})
	}
	for i := have; i < partitions; i++ {
		out = append(out, metadata.PartitionRecord{TopicID: id, Index: int32(i), Partition: metadata.Partition{
			Replicas: []int32{1}, Dirs: []kafka.UUID{{1}}, ISR: []int32{1}, Leader: 1, LeaderEpoch: 0, PartitionEpoch: 0,
		}})
	}
	return out
}

// beat: topics=A,B regex=TEXT owns=T:0+1 assignor= rebalance= version=; without rebalance and
// owns it is not a full request, but one that joins is.
func (s *stage) beat(group string, w scenario.Words) {
	req := new(wire.ConsumerGroupHeartbeatRequest)
	req.Default()
	req.GroupID, req.MemberID, req.MemberEpoch = group, w["member"], int32(w.Int("epoch", 0))
	req.InstanceID, req.RackID, req.SubscribedTopicRegex = w.Optional("instance"), w.Optional("rack"), w.Optional("regex")
	req.ServerAssignor = w.Optional("assignor")
	if v, ok := w["topics"]; ok {
		req.SubscribedTopicNames = []string{}
		if v != "" {
			req.SubscribedTopicNames = strings.Split(v, ",")
		}
	}
	if v, ok := w["owns"]; ok {
		req.TopicPartitions = []wire.ConsumerGroupHeartbeatRequestTopicPartitions{}
		s.eachTopic(v, func(id kafka.UUID, p []int32) {
			req.TopicPartitions = append(req.TopicPartitions, wire.ConsumerGroupHeartbeatRequestTopicPartitions{TopicID: id, Partitions: p})
		})
	} else if req.MemberEpoch == 0 {
		req.TopicPartitions = []wire.ConsumerGroupHeartbeatRequestTopicPartitions{}
	}
	if req.MemberEpoch == 0 {
		req.RebalanceTimeoutMs = 60_000
	}
	req.RebalanceTimeoutMs = int32(w.Int("rebalance", int(req.RebalanceTimeoutMs)))
	client := Client{ID: w.Or("client", "c"), Host: "/h", Version: int16(w.Int("version", 1))}
	s.c.ConsumerHeartbeat(client, req, func(r *wire.ConsumerGroupHeartbeatResponse) {
		line := "<- " + kafka.Error(r.ErrorCode).Name()
		if r.ErrorCode == 0 {
			line += fmt.Sprintf(" %s epoch=%d", *r.MemberID, r.MemberEpoch)
		}
		if r.Assignment != nil {
			var parts []string
			for _, t := range r.Assignment.TopicPartitions {
				parts = append(parts, s.partitionsText(t.TopicID, t.Partitions))
			}
			line += " assigned " + orNone(parts)
		}
		s.say("%s", line)
	})
}

func (s *stage) eachTopic(text string, f func(kafka.UUID, []int32)) {
	if text == "none" || text == "" {
		return
	}
	for _, one := range strings.Split(text, ",") {
		name, list, _ := strings.Cut(one, ":")
		var p []int32
		for _, n := range strings.Split(list, "+") {
			i, err := strconv.Atoi(n)
			if err != nil {
				s.t.Fatal(err)
			}
			p = append(p, int32(i))
		}
		f(s.img.Topic(name).ID, p)
	}
}

// partitionsText names a topic by what its id begins with.
func (s *stage) partitionsText(id kafka.UUID, partitions []int32) string {
	return partitionsText(id, partitions)
}

func partitionsText(id kafka.UUID, partitions []int32) string {
	var list []string
	for _, p := range partitions {
		list = append(list, fmt.Sprint(p))
	}
	return strings.TrimRight(string(id[:15]), "\x00") + ":" + strings.Join(list, "+")
}

func orNone(parts []string) string {
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ",")
}

func (s *stage) sayConsumerGroup(g wire.ConsumerGroupDescribeResponseGroup) {
	s.say("<- %s %s epoch=%d assignment=%d assignor=%s", kafka.Error(g.ErrorCode).Name(), g.GroupState, g.GroupEpoch, g.AssignmentEpoch, g.AssignorName)
	text := func(a wire.ConsumerGroupDescribeResponseAssignment) string {
		var parts []string
		for _, t := range a.TopicPartitions {
			parts = append(parts, s.partitionsText(t.TopicID, t.Partitions))
		}
		return orNone(parts)
	}
	for _, m := range g.Members {
		regex := ""
		if *m.SubscribedTopicRegex != "" {
			regex = " regex=" + *m.SubscribedTopicRegex
		}
		s.say("     %s%s epoch=%d type=%d topics=%s%s assigned %s target %s", m.MemberID, instance(m.InstanceID), m.MemberEpoch, m.MemberType,
			strings.Join(m.SubscribedTopicNames, ","), regex, text(m.Assignment), text(m.TargetAssignment))
	}
}

// modernRecordText is a record of a group of the consumer protocol in words.
func modernRecordText(kind int16, key, value []byte) string {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	line := func(what string) string {
		if value == nil {
			return "- " + what
		}
		return "+ " + what
	}
	switch kind {
	case modernGroupKey:
		var k wire.ConsumerGroupMetadataKey
		must(read(&k, kind, key))
		out := line("consumer group " + k.GroupID)
		if value != nil {
			var v wire.ConsumerGroupMetadataValue
			must(replayValue(&v, value))
			out += fmt.Sprintf(" epoch=%d", v.Epoch)
		}
		return out
	case legacyTopicsKey:
		var k wire.ConsumerGroupPartitionMetadataKey
		must(read(&k, kind, key))
		return line("topics " + k.GroupID)
	case modernMemberKey:
		var k wire.ConsumerGroupMemberMetadataKey
		must(read(&k, kind, key))
		out := line("member " + k.MemberID)
		if value != nil {
			var v wire.ConsumerGroupMemberMetadataValue
			must(replayValue(&v, value))
			out += instance(v.InstanceID) + " topics=" + strings.Join(v.SubscribedTopicNames, ",")
			if *v.SubscribedTopicRegex != "" {
				out += " regex=" + *v.SubscribedTopicRegex
			}
			if v.ServerAssignor != nil {
				out += " assignor=" + *v.ServerAssignor
			}
			if v.ClassicMemberMetadata != nil {
				out += " classic"
			}
		}
		return out
	case modernTargetKey:
		var k wire.ConsumerGroupTargetAssignmentMetadataKey
		must(read(&k, kind, key))
		out := line("target of " + k.GroupID)
		if value != nil {
			var v wire.ConsumerGroupTargetAssignmentMetadataValue
			must(replayValue(&v, value))
			out += fmt.Sprintf(" epoch=%d", v.AssignmentEpoch)
		}
		return out
	}
	return modernMemberRecordText(kind, key, value, line, must)
}

func modernMemberRecordText(kind int16, key, value []byte, line func(string) string, must func(error)) string {
	switch kind {
	case memberTargetKey:
		var k wire.ConsumerGroupTargetAssignmentMemberKey
		must(read(&k, kind, key))
		out := line("target " + k.MemberID)
		if value != nil {
			var v wire.ConsumerGroupTargetAssignmentMemberValue
			must(replayValue(&v, value))
			var parts []string
			for _, t := range v.TopicPartitions {
				parts = append(parts, partitionsText(t.TopicID, t.Partitions))
			}
			out += " " + orNone(parts)
		}
		return out
	case memberAssignmentKey:
		var k wire.ConsumerGroupCurrentMemberAssignmentKey
		must(read(&k, kind, key))
		out := line("assigned " + k.MemberID)
		if value != nil {
			var v wire.ConsumerGroupCurrentMemberAssignmentValue
			must(replayValue(&v, value))
			text := func(list []wire.ConsumerGroupCurrentMemberAssignmentValueTopicPartitions) string {
				var parts []string
				for _, t := range list {
					parts = append(parts, partitionsText(t.TopicID, t.Partitions))
				}
				return orNone(parts)
			}
			out += fmt.Sprintf(" epoch=%d/%d state=%d %s revoke %s", v.MemberEpoch, v.PreviousMemberEpoch, v.State, text(v.AssignedPartitions), text(v.PartitionsPendingRevocation))
		}
		return out
	case expressionKey:
		var k wire.ConsumerGroupRegularExpressionKey
		must(read(&k, kind, key))
		out := line("regex " + k.RegularExpression)
		if value != nil {
			var v wire.ConsumerGroupRegularExpressionValue
			must(replayValue(&v, value))
			slices.Sort(v.Topics)
			out += " topics=" + strings.Join(v.Topics, ",")
		}
		return out
	}
	return fmt.Sprintf("? %d", kind)
}

// classicSubscription is what a classic consumer tells: TOPIC;TOPIC/OWNED, where owned
// partitions are written T=0+1;U=0.
func classicSubscription(text string) []byte {
	topics, owned, _ := strings.Cut(text, "/")
	sub := &wire.ConsumerProtocolSubscription{Topics: strings.Split(topics, ";"), GenerationID: -1}
	eachNamed(owned, func(topic string, p []int32) {
		sub.OwnedPartitions = append(sub.OwnedPartitions, wire.ConsumerProtocolSubscriptionTopicPartition{Topic: topic, Partitions: p})
	})
	return message(sub, 3)
}

// classicShare is what a leader tells a classic consumer: own=T=0+1;U=0, or any other text as it is.
func classicShare(text string) []byte {
	own, ok := strings.CutPrefix(text, "own=")
	if !ok {
		return []byte(text)
	}
	v := &wire.ConsumerProtocolAssignment{}
	eachNamed(own, func(topic string, p []int32) {
		v.AssignedPartitions = append(v.AssignedPartitions, wire.ConsumerProtocolAssignmentTopicPartition{Topic: topic, Partitions: p})
	})
	return message(v, 3)
}

// shareText is the reverse of classicShare.
func shareText(b []byte) string {
	if len(b) < 2 || b[0] != 0 {
		return string(b)
	}
	var v wire.ConsumerProtocolAssignment
	if err := read(&v, int16(b[1]), b[2:]); err != nil {
		return "garbage"
	}
	var parts []string
	for _, t := range v.AssignedPartitions {
		var list []string
		for _, p := range t.Partitions {
			list = append(list, fmt.Sprint(p))
		}
		parts = append(parts, t.Topic+"="+strings.Join(list, "+"))
	}
	return "own=" + strings.Join(parts, ";")
}

func eachNamed(text string, f func(string, []int32)) {
	for _, one := range strings.Split(text, ";") {
		topic, list, ok := strings.Cut(one, "=")
		if !ok {
			continue
		}
		var p []int32
		for _, n := range strings.Split(list, "+") {
			i, err := strconv.Atoi(n)
			if err != nil {
				panic(err)
			}
			p = append(p, int32(i))
		}
		f(topic, p)
	}
}

// topicID is the id of the topic of a partition, if there is such a topic.
func (s *stage) topicID(text string) kafka.UUID {
	if t := s.img.Topic(partition(text).Topic); t != nil {
		return t.ID
	}
	return kafka.UUID{}
}
