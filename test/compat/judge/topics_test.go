package judge

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// metadataOf asks for topics by name; it creates none.
func metadataOf(names ...string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	for i := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &names[i]
		req.Topics = append(req.Topics, t)
	}
	return req
}

func metadataByID(ids ...[16]byte) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	for _, id := range ids {
		t := kmsg.NewMetadataRequestTopic()
		t.TopicID = id
		req.Topics = append(req.Topics, t)
	}
	return req
}

// metadataScript: who asks for what, at every version (P11, P12, C12).
func metadataScript(s *side) {
	c := s.conn()
	defer c.close()
	name := s.topic("t")
	id := s.create(name, 3)
	other := s.topic("other")
	otherID := s.create(other, 1)
	gone := s.topic("gone")
	goneID := s.create(gone, 1)
	s.remove(c, gone)
	s.ids[goneID] = "the deleted topic"
	for v := int16(0); v <= 13; v++ {
		all := kmsg.NewPtrMetadataRequest()
		if v == 0 {
			all.Topics = []kmsg.MetadataRequestTopic{}
		}
		c.ask("all", v, all)
		if v > 0 {
			c.ask("none", v, metadataOf())
		}
		c.ask("one", v, metadataOf(name))
		c.ask("two", v, metadataOf(other, name))
		c.ask("one twice", v, metadataOf(name, name))
		if v >= 4 { // before, every request creates
			c.ask("unknown", v, metadataOf(s.topic("nowhere")))
			c.ask("unknown and known", v, metadataOf(s.topic("nowhere"), name))
		}
		for _, bad := range []string{"a b", "", ".", "..", strings.Repeat("x", 250), "ü"} {
			req := metadataOf(bad)
			req.AllowAutoTopicCreation = true
			c.ask(fmt.Sprintf("invalid name %.5q", bad), v, req)
		}
		c.ask("internal", v, func() kmsg.Request {
			if v < 4 {
				return metadataOf(name)
			}
			return metadataOf("__consumer_offsets")
		}())
		if v >= 8 {
			req := metadataOf(name, s.topic("nowhere"))
			req.IncludeTopicAuthorizedOperations, req.IncludeClusterAuthorizedOperations = true, true
			c.ask("authorized operations", v, req)
		}
		if v >= 10 {
			c.ask("by id", v, metadataByID(id))
			c.ask("by two ids", v, metadataByID(id, otherID))
			c.ask("by unknown id", v, metadataByID(bogusID))
			c.ask("by id of a deleted topic", v, metadataByID(goneID))
			c.ask("by zero id", v, metadataByID([16]byte{}))
			mixed := metadataOf(other)
			mixed.Topics = append(mixed.Topics, metadataByID(id).Topics...)
			c.ask("by id and by name", v, mixed)
			both := metadataOf(name)
			both.Topics[0].TopicID = id
			c.ask("id and name of one", v, both)
		}
	}
	s.unsupported(c, 3, 14)
}

// autoCreateScript: topics that appear because somebody asks for them (P12).
func autoCreateScript(s *side) {
	c := s.conn()
	defer c.close()
	for v := int16(0); v <= 13; v++ {
		name := s.topic(fmt.Sprint("v", v))
		req := metadataOf(name)
		req.AllowAutoTopicCreation = true
		resp, ok := c.try(v, req).(*kmsg.MetadataResponse)
		// the answer tells of the creation, or shows its result
		switch {
		case !ok || len(resp.Topics) != 1:
			s.note(fmt.Sprintf("v%d auto-create", v), "no answer")
		case resp.Topics[0].ErrorCode == 0 && len(resp.Topics[0].Partitions) == 1 || resp.Topics[0].ErrorCode == 5 || resp.Topics[0].ErrorCode == 3:
			s.note(fmt.Sprintf("v%d auto-create", v), "under way")
		default:
			s.note(fmt.Sprintf("v%d auto-create", v), fmt.Sprintf("%+v", resp.Topics[0]))
		}
		s.await(name)
		c.ask("after auto-create", v, metadataOf(name))
	}
	collides := metadataOf("autocreate_v1")
	collides.AllowAutoTopicCreation = true
	c.ask("auto-create of a name that collides", 12, collides)
	c.ask("after that", 12, metadataOf("autocreate_v1"))
}

// newTopic is a topic of a CreateTopics request.
func newTopic(name string, partitions int32, replicas int16, configs ...string) kmsg.CreateTopicsRequestTopic {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, replicas
	for i := 0; i+1 < len(configs); i += 2 {
		t.Configs = append(t.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: configs[i], Value: &configs[i+1]})
	}
	return t
}

func createTopics(topics ...kmsg.CreateTopicsRequestTopic) *kmsg.CreateTopicsRequest {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis, req.Topics = 10_000, topics
	return req
}

// assigned gives a topic the replicas of its partitions 0, 1, ….
func assigned(t kmsg.CreateTopicsRequestTopic, replicas ...[]int32) kmsg.CreateTopicsRequestTopic {
	for i, r := range replicas {
		t.ReplicaAssignment = append(t.ReplicaAssignment, kmsg.CreateTopicsRequestTopicReplicaAssignment{Partition: int32(i), Replicas: r})
	}
	return t
}

// createScript: what is created and what is refused, at every version (A1, P11).
func createScript(s *side) {
	c := s.conn()
	defer c.close()
	for v := int16(2); v <= 7; v++ {
		name := func(n string) string { return s.topic(fmt.Sprintf("v%d-%s", v, n)) }
		ask := func(what string, topics ...kmsg.CreateTopicsRequestTopic) { c.ask(what, v, createTopics(topics...)) }
		ask("one", newTopic(name("one"), 2, 1))
		s.await(name("one"))
		c.ask("Metadata of it", 12, metadataOf(name("one")))
		ask("exists", newTopic(name("one"), 1, 1))
		ask("defaults", newTopic(name("defaults"), -1, -1))
		ask("default replicas only", newTopic(name("default-rf"), 3, -1))
		ask("with configs", newTopic(name("configs"), 1, 1, "retention.ms", "1000", "cleanup.policy", "compact,delete", "segment.bytes", "2000000"))
		ask("assigned", assigned(newTopic(name("assigned"), -1, -1), []int32{1}, []int32{1}))
		s.await(name("assigned"))
		c.ask("Metadata of the assigned", 12, metadataOf(name("assigned")))
		ask("two, one bad", newTopic(name("fine"), 1, 1), newTopic(name("bad"), 0, 1))
		ask("no topics")
		s.refusedTopics(name, ask)
	}
	s.unsupported(c, 19, 0)
	s.unsupported(c, 19, 1)
	s.unsupported(c, 19, 8)
}

// refusedTopics asks for topics that cannot be.
func (s *side) refusedTopics(name func(string) string, ask func(string, ...kmsg.CreateTopicsRequestTopic)) {
	ask("partitions 0", newTopic(name("bad"), 0, 1))
	ask("partitions -2", newTopic(name("bad"), -2, 1))
	ask("replicas 5", newTopic(name("bad"), 1, 5))
	ask("replicas 0", newTopic(name("bad"), 1, 0))
	ask("replicas -2", newTopic(name("bad"), 1, -2))
	ask("both bad", newTopic(name("bad"), 0, 5))
	ask("twice", newTopic(name("bad"), 1, 1), newTopic(name("bad"), 1, 1))
	ask("twice and a good one", newTopic(name("bad"), 1, 1), newTopic(name("bad"), 2, 1), newTopic(name("good"), 1, 1))
	for _, bad := range []string{"a b", "", ".", "..", strings.Repeat("x", 250), "ü", "a/b", "a:b"} {
		ask(fmt.Sprintf("name %.5q", bad), newTopic(bad, 1, 1))
	}
	ask("longest name", newTopic(name(strings.Repeat("x", 249-len(name("")))), 1, 1))
	collides := strings.ReplaceAll(name("one"), ".", "_")
	ask("collides with one", newTopic(collides, 1, 1))
	ask("two that collide", newTopic(name("a.b"), 1, 1), newTopic(name("a_b"), 1, 1))
	ask("internal name", newTopic("__"+name("x"), 1, 1))
	ask("assigned to an unknown broker", assigned(newTopic(name("bad"), -1, -1), []int32{9}))
	ask("assigned twice to one broker", assigned(newTopic(name("bad"), -1, -1), []int32{1, 1}))
	ask("assigned to none", assigned(newTopic(name("bad"), -1, -1), []int32{}))
	ask("assigned to a negative broker", assigned(newTopic(name("bad"), -1, -1), []int32{-1}))
	ask("assigned unevenly", assigned(newTopic(name("bad"), -1, -1), []int32{1}, []int32{1, 9}))
	gap := assigned(newTopic(name("bad"), -1, -1), []int32{1}, []int32{1})
	gap.ReplicaAssignment[1].Partition = 5
	ask("assigned with a gap", gap)
	double := assigned(newTopic(name("bad"), -1, -1), []int32{1}, []int32{1})
	double.ReplicaAssignment[1].Partition = 0
	ask("assigned twice the same partition", double)
	ask("assigned and partitions", assigned(newTopic(name("bad"), 1, -1), []int32{1}))
	ask("assigned and replicas", assigned(newTopic(name("bad"), -1, 1), []int32{1}))
	for i, bad := range badConfigs {
		ask("config "+bad[0]+"="+bad[1], newTopic(name(fmt.Sprint("config", i)), 1, 1, bad[0], bad[1]))
	}
	null := newTopic(name("null-config"), 1, 1)
	null.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "retention.ms"}}
	ask("config of null", null)
	ask("config twice", newTopic(name("config-twice"), 1, 1, "retention.ms", "1", "retention.ms", "2"))
}

// badConfigs are settings that a topic may not have, and some at the edge.
var badConfigs = [][2]string{
	{"no.such.setting", "1"}, {"", "1"}, {"retention.ms", "x"}, {"retention.ms", ""}, {"retention.ms", "-2"}, {"retention.ms", " 5 "},
	{"retention.bytes", "-5"}, {"segment.bytes", "1"}, {"segment.bytes", "99999999999"}, {"segment.ms", "0"}, {"cleanup.policy", "none"},
	{"cleanup.policy", ""}, {"cleanup.policy", "compact,compact"}, {"cleanup.policy", "delete, compact"}, {"compression.type", "brotli"},
	{"compression.type", "none"}, {"compression.gzip.level", "10"}, {"compression.gzip.level", "0"}, {"compression.lz4.level", "0"},
	{"compression.lz4.level", "18"}, {"compression.zstd.level", "23"}, {"compression.zstd.level", "-131073"}, {"max.message.bytes", "-1"},
	{"min.insync.replicas", "0"}, {"min.insync.replicas", "99"}, {"message.timestamp.type", "createtime"}, {"message.timestamp.after.max.ms", "-1"},
	{"min.cleanable.dirty.ratio", "1.5"}, {"min.cleanable.dirty.ratio", "NaN"}, {"preallocate", "yes"}, {"preallocate", "TRUE"},
	{"unclean.leader.election.enable", "1"}, {"index.interval.bytes", "-1"}, {"segment.index.bytes", "3"}, {"segment.jitter.ms", "-1"},
	{"flush.messages", "0"}, {"flush.ms", "-1"}, {"file.delete.delay.ms", "-1"}, {"delete.retention.ms", "-1"}, {"min.compaction.lag.ms", "-1"},
	{"max.compaction.lag.ms", "0"}, {"local.retention.ms", "-3"}, {"local.retention.bytes", "-3"}, {"remote.storage.enable", "maybe"},
	{"remote.storage.enable", "true"}, {"remote.log.copy.disable", "true"}, {"leader.replication.throttled.replicas", "*"},
	{"leader.replication.throttled.replicas", "0:1,1:1"}, {"leader.replication.throttled.replicas", "x"}, {"follower.replication.throttled.replicas", "0:1"},
	{"message.downconversion.enable", "true"}, {"message.format.version", "3.0"}, {"message.timestamp.difference.max.ms", "5"},
	{"log.retention.ms", "5"}, {"errors.deadletterqueue.group.enable", "true"},
}

// validateScript: validate_only checks the same and writes nothing (A1).
func validateScript(s *side) {
	c := s.conn()
	defer c.close()
	for v := int16(2); v <= 7; v++ {
		name := func(n string) string { return s.topic(fmt.Sprintf("v%d-%s", v, n)) }
		ask := func(what string, topics ...kmsg.CreateTopicsRequestTopic) {
			req := createTopics(topics...)
			req.ValidateOnly = true
			c.ask(what, v, req)
		}
		ask("one", newTopic(name("one"), 2, 1, "retention.ms", "5"))
		ask("defaults", newTopic(name("defaults"), -1, -1))
		for _, n := range []int32{10_000, 10_001, 1 << 30} {
			ask(fmt.Sprint("partitions ", n), newTopic(name("many"), n, 1))
		}
		ask("two times 6000 partitions", newTopic(name("many"), 6000, 1), newTopic(name("more"), 6000, 1))
		ask("two", newTopic(name("one"), 2, 1), newTopic(name("two"), 2, 1))
		s.refusedTopics(name, ask)
		c.ask("Metadata", 12, metadataOf(name("one"), name("two"), name("defaults"), name("good")))
	}
}

// deleteScript: by name and by id, at every version.
func deleteScript(s *side) {
	c := s.conn()
	defer c.close()
	for v := int16(1); v <= 5; v++ {
		name := func(n string) string { return s.topic(fmt.Sprintf("v%d-%s", v, n)) }
		del := func(what string, names ...string) {
			req := kmsg.NewPtrDeleteTopicsRequest()
			req.TopicNames, req.TimeoutMillis = names, 10_000
			c.ask(what, v, req)
		}
		for _, n := range []string{"one", "two", "three"} {
			s.create(name(n), 1)
		}
		del("one", name("one"))
		s.awaitGone(name("one"))
		c.ask("Metadata of it", 12, metadataOf(name("one")))
		del("again", name("one"))
		del("unknown and known", s.topic("nowhere"), name("two"))
		del("twice", name("three"), name("three"))
		del("invalid name", "a b")
		del("empty name", "")
		del("no topics")
	}
	c2 := func(what string, topics ...kmsg.DeleteTopicsRequestTopic) {
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.Topics, req.TimeoutMillis = topics, 10_000
		c.ask(what, 6, req)
	}
	name := func(n string) *string { n = s.topic("v6-" + n); return &n }
	ids := map[string][16]byte{}
	for _, n := range []string{"one", "two", "three", "four", "five"} {
		ids[n] = s.create(*name(n), 1)
	}
	c2("by name", kmsg.DeleteTopicsRequestTopic{Topic: name("one")})
	c2("by id", kmsg.DeleteTopicsRequestTopic{TopicID: ids["two"]})
	c2("by id again", kmsg.DeleteTopicsRequestTopic{TopicID: ids["two"]})
	c2("by unknown id", kmsg.DeleteTopicsRequestTopic{TopicID: bogusID})
	c2("by unknown name", kmsg.DeleteTopicsRequestTopic{Topic: name("nowhere")})
	c2("by neither", kmsg.DeleteTopicsRequestTopic{})
	c2("by both", kmsg.DeleteTopicsRequestTopic{Topic: name("three"), TopicID: ids["three"]})
	c2("by name and by id of one", kmsg.DeleteTopicsRequestTopic{Topic: name("four")}, kmsg.DeleteTopicsRequestTopic{TopicID: ids["four"]})
	c2("twice by id", kmsg.DeleteTopicsRequestTopic{TopicID: ids["five"]}, kmsg.DeleteTopicsRequestTopic{TopicID: ids["five"]})
	c2("twice by unknown id", kmsg.DeleteTopicsRequestTopic{TopicID: bogusID}, kmsg.DeleteTopicsRequestTopic{TopicID: bogusID})
	c2("twice by unknown name", kmsg.DeleteTopicsRequestTopic{Topic: name("nowhere")}, kmsg.DeleteTopicsRequestTopic{Topic: name("nowhere")})
	c.ask("Metadata of the rest", 12, metadataOf(*name("three"), *name("four"), *name("five")))
	s.unsupported(c, 20, 0)
	s.unsupported(c, 20, 7)
}
