package judge

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// deleteRecords asks for the end of the records below an offset, partition by partition.
func deleteRecords(topic string, offsets ...int64) *kmsg.DeleteRecordsRequest {
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 10_000
	t := kmsg.NewDeleteRecordsRequestTopic()
	t.Topic = topic
	for i, offset := range offsets {
		t.Partitions = append(t.Partitions, kmsg.DeleteRecordsRequestTopicPartition{Partition: int32(i), Offset: offset})
	}
	req.Topics = append(req.Topics, t)
	return req
}

// startsScript: DeleteRecords, and what is seen of a log start (F13).
func startsScript(s *side) {
	c := s.conn()
	defer c.close()
	for v := int16(0); v <= 2; v++ {
		name := s.topic(fmt.Sprint("v", v))
		id := s.filled(c, name, 2, []string{"a", "b", "c"}, []string{"d", "e"})
		for _, offset := range []int64{0, 2, 1, 6, -2, -1 << 62, 1 << 62} {
			c.ask(fmt.Sprint("below ", offset), v, deleteRecords(name, offset))
		}
		for offset := range int64(4) {
			c.ask(fmt.Sprint("fetch ", offset), 12, fetchFrom(name, id, 0, offset))
		}
		c.ask("earliest", 11, listOffsets(name, 0, -2))
		c.ask("earliest local", 11, listOffsets(name, 0, -4))
		c.ask("first at a time", 11, listOffsets(name, 0, s.base))
		c.ask("both partitions, all and too much", v, deleteRecords(name, -1, 9))
		c.ask("a partition that is not there", v, deleteRecords(name, 5, 5, 5))
		c.ask("then earliest", 11, listOffsets(name, 0, -2))
		s.must(produced(c.try(7, produceTo(name, id, 0, batchOf(s.base, "f").bytes()))))
		c.ask("then one more", 12, fetchFrom(name, id, 0, 5))
		c.ask("no topics", v, kmsg.NewPtrDeleteRecordsRequest())
		c.ask("unknown topic", v, deleteRecords(s.topic("nowhere"), 0))
		c.ask("invalid topic name", v, deleteRecords("a b", 0))
		for _, policy := range []string{"compact", "compact,delete"} {
			kept := s.topic(fmt.Sprint("v", v, strings.ReplaceAll(policy, ",", "-")))
			keptID := s.create(kept, 1, "cleanup.policy", policy)
			s.must(produced(c.try(7, produceTo(kept, keptID, 0, batchOf(s.base, "a", "b").bytes()))))
			c.ask(policy, v, deleteRecords(kept, 1))
			c.ask(policy+", out of range", v, deleteRecords(kept, 7))
		}
	}
}

// epochsScript: OffsetForLeaderEpoch in the first epoch of a leader (F10, F5).
func epochsScript(s *side) {
	c := s.conn()
	defer c.close()
	name, empty := s.topic("t"), s.topic("empty")
	id := s.filled(c, name, 1, []string{"a", "b"}, []string{"c"})
	s.create(empty, 1)
	ask := func(what string, v int16, topic string, partition, epoch, current int32) {
		req := kmsg.NewPtrOffsetForLeaderEpochRequest()
		req.ReplicaID = -1
		t := kmsg.NewOffsetForLeaderEpochRequestTopic()
		t.Topic = topic
		t.Partitions = append(t.Partitions, kmsg.OffsetForLeaderEpochRequestTopicPartition{Partition: partition, LeaderEpoch: epoch, CurrentLeaderEpoch: current})
		req.Topics = append(req.Topics, t)
		c.ask(what, v, req)
	}
	for v := int16(2); v <= 4; v++ {
		for _, topic := range []string{name, empty} {
			for _, epoch := range []int32{-2, -1, 0, 1, 100} {
				for _, current := range []int32{-2, -1, 0, 1} {
					ask(fmt.Sprintf("%s, epoch %d, client at %d", topic, epoch, current), v, topic, 0, epoch, current)
				}
			}
		}
		ask("unknown topic", v, s.topic("nowhere"), 0, 0, -1)
		ask("partition 7", v, name, 7, 0, -1)
		ask("partition -1", v, name, -1, 0, -1)
	}
	c.ask("deletion", 2, deleteRecords(name, 2))
	ask("after a deletion", 4, name, 0, 0, 0)
	for v := int16(12); v <= 18; v++ {
		for _, epoch := range []int32{-1, 0, 1} {
			req := fetchFrom(name, id, 0, 3)
			req.Topics[0].Partitions[0].LastFetchedEpoch = epoch
			c.ask(fmt.Sprint("fetch after epoch ", epoch), v, req)
		}
	}
}

// logDirsScript: DescribeLogDirs (A11). Paths and the sizes of disks are each broker's own.
func logDirsScript(s *side) {
	c := s.conn()
	defer c.close()
	name, other := s.topic("t"), s.topic("other")
	s.filled(c, name, 2, []string{"a", "b"})
	s.create(other, 1)
	for v := int16(1); v <= 4; v++ {
		for what, topics := range map[string][]kmsg.DescribeLogDirsRequestTopic{
			"all":                 nil,
			"none":                {},
			"one of a topic":      {{Topic: name, Partitions: []int32{1}}},
			"no partitions":       {{Topic: name}},
			"unknown ones":        {{Topic: name, Partitions: []int32{0, 9, -1}}, {Topic: s.topic("nowhere"), Partitions: []int32{0}}, {Topic: "a b", Partitions: []int32{0}}},
			"one that is empty":   {{Topic: other, Partitions: []int32{0}}},
			"a topic named twice": {{Topic: name, Partitions: []int32{1}}, {Topic: name, Partitions: []int32{0, 0}}},
		} {
			req := kmsg.NewPtrDescribeLogDirsRequest()
			req.Topics = topics
			resp, ok := c.try(v, req).(*kmsg.DescribeLogDirsResponse)
			if !ok {
				s.must(errClosed)
			}
			s.taken(fmt.Sprintf("v%d %s", v, what), resp, logDirs)
		}
	}
}

// moveLogsScript: AlterReplicaLogDirs (KIP-113). Each broker has one directory, which it names.
func moveLogsScript(s *side) {
	c := s.conn()
	defer c.close()
	name := s.topic("t")
	s.filled(c, name, 2, []string{"a", "b"})
	dirs, ok := c.try(4, kmsg.NewPtrDescribeLogDirsRequest()).(*kmsg.DescribeLogDirsResponse)
	if !ok || len(dirs.Dirs) != 1 {
		s.must(fmt.Errorf("log dirs %+v", dirs))
	}
	here := dirs.Dirs[0].Dir
	long := strings.Repeat("x", 220)
	for v := int16(1); v <= 2; v++ {
		for what, asked := range map[string][]kmsg.AlterReplicaLogDirsRequestDir{
			"nothing":              nil,
			"where it is":          {{Dir: here, Topics: []kmsg.AlterReplicaLogDirsRequestDirTopic{{Topic: name, Partitions: []int32{0, 1}}}}},
			"no such directory":    {{Dir: "/nowhere", Topics: []kmsg.AlterReplicaLogDirsRequestDirTopic{{Topic: name, Partitions: []int32{0}}}}},
			"a relative path":      {{Dir: ".", Topics: []kmsg.AlterReplicaLogDirsRequestDirTopic{{Topic: name, Partitions: []int32{0}}}}},
			"no such partition":    {{Dir: here, Topics: []kmsg.AlterReplicaLogDirsRequestDirTopic{{Topic: name, Partitions: []int32{7, -1}}}}},
			"no such topic":        {{Dir: here, Topics: []kmsg.AlterReplicaLogDirsRequestDirTopic{{Topic: s.topic("nowhere"), Partitions: []int32{0}}}}},
			"a name that is long":  {{Dir: here, Topics: []kmsg.AlterReplicaLogDirsRequestDirTopic{{Topic: long, Partitions: []int32{0}}}}},
			"a long one, nowhere":  {{Dir: "/nowhere", Topics: []kmsg.AlterReplicaLogDirsRequestDirTopic{{Topic: long, Partitions: []int32{0}}}}},
			"unknown, and nowhere": {{Dir: "/nowhere", Topics: []kmsg.AlterReplicaLogDirsRequestDirTopic{{Topic: s.topic("nowhere"), Partitions: []int32{0}}}}},
		} {
			req := kmsg.NewPtrAlterReplicaLogDirsRequest()
			req.Dirs = asked
			c.ask(what, v, req)
		}
	}
}

// logDirs takes an answer to DescribeLogDirs apart.
func logDirs(f *fields, resp kmsg.Response) {
	r := resp.(*kmsg.DescribeLogDirsResponse)
	f.put("ThrottleMillis", fmt.Sprint(r.ThrottleMillis))
	f.put("ErrorCode", errorName(r.ErrorCode))
	for i := range r.Dirs {
		logDir(f, i, &r.Dirs[i])
	}
}

// logDir takes a log dir apart.
func logDir(f *fields, i int, d *kmsg.DescribeLogDirsResponseDir) {
	at := fmt.Sprintf("Dirs[%d]", i)
	f.put(at+".ErrorCode", errorName(d.ErrorCode))
	f.put(at+".absolute", fmt.Sprint(strings.HasPrefix(d.Dir, "/")))
	f.put(at+".room", fmt.Sprint(d.TotalBytes > 0, d.UsableBytes > 0, d.UsableBytes <= d.TotalBytes))
	for _, t := range d.Topics {
		if !strings.HasPrefix(t.Topic, f.s.name+".") {
			continue // another script's
		}
		for _, p := range t.Partitions {
			f.put(fmt.Sprintf("%s.Topics[%s].Partitions[%d]", at, t.Topic, p.Partition), fmt.Sprintf("%d bytes, lag %d, future %v", p.Size, p.OffsetLag, p.IsFuture))
		}
	}
}

// producersScript: DescribeProducers (I14).
func producersScript(s *side) {
	c := s.conn()
	defer c.close()
	name := s.topic("t")
	id := s.filled(c, name, 2, []string{"nobody's"})
	ask := func(what, topic string, partitions ...int32) {
		req := kmsg.NewPtrDescribeProducersRequest()
		req.Topics = append(req.Topics, kmsg.DescribeProducersRequestTopic{Topic: topic, Partitions: partitions})
		c.ask(what, 0, req)
	}
	ask("none", name, 0, 1)
	s.must(produced(c.try(7, produceTo(name, id, 0, batchOf(s.base, "a", "b", "c").from(77, 3, 0).bytes()))))
	ask("one", name, 0, 1)
	s.must(produced(c.try(7, produceTo(name, id, 0, batchOf(s.base+100, "d").from(77, 3, 3).bytes()))))
	s.must(produced(c.try(7, produceTo(name, id, 0, batchOf(s.base+50, "e").from(77, 4, 0).bytes()))))
	ask("in a new epoch", name, 0)
	c.ask("deletion of its records", 2, deleteRecords(name, -1))
	ask("whose records are deleted", name, 0)
	ask("partition 7", name, 7)
	ask("partition -1", name, -1)
	ask("unknown topic", s.topic("nowhere"), 0)
	ask("invalid topic name", "a b", 0)
	c.ask("no topics", 0, kmsg.NewPtrDescribeProducersRequest())
}

// incrementalScript: what a fetch session tells and leaves out (F6, F7).
func incrementalScript(s *side) {
	c := s.conn()
	defer c.close()
	for v := int16(7); v <= 18; v++ {
		name, other := s.topic(fmt.Sprint("t", v)), s.topic(fmt.Sprint("other", v))
		id, otherID := s.filled(c, name, 3, []string{"a"}), s.filled(c, other, 1, []string{"b"})
		full := alsoFetch(fetchFrom(name, id, 0, 1), name, id, 1, 1)
		full.SessionEpoch = 0
		resp, ok := c.ask("full", v, full).(*kmsg.FetchResponse)
		if !ok {
			continue
		}
		epoch := int32(0)
		next := func(what string, req *kmsg.FetchRequest) {
			if epoch++; req == nil {
				req = fetchFrom(name, id, 0, 0)
				req.Topics = nil
			}
			req.SessionID, req.SessionEpoch, req.MaxWaitMillis = resp.SessionID, epoch, 1
			c.ask(what, v, req)
		}
		next("nothing new", nil)
		s.must(produced(c.try(7, produceTo(name, id, 1, batchOf(s.base, "c").bytes()))))
		next("an append", nil)
		next("an append, the client has not moved", nil)
		next("the client has moved", alsoFetch(fetchFrom(name, id, 1, 2), other, otherID, 0, 0))
		next("a partition more", nil)
		next("that is out of range", fetchFrom(other, otherID, 0, 9))
		next("still", nil)
		next("and not any more", fetchFrom(other, otherID, 0, 1))
		next("nothing new again", nil)
		c.ask("deletion", 2, deleteRecords(name, 1))
		next("a log start that moved", nil)
		next("nothing new after that", nil)
		unknown := fetchFrom(s.topic("nowhere"), bogusID, 0, 0)
		next("an unknown topic", unknown)
		forget := func(topic string, id [16]byte, partitions ...int32) *kmsg.FetchRequest {
			req := fetchFrom(name, id, 0, 0)
			req.Topics = nil
			req.ForgottenTopics = append(req.ForgottenTopics, kmsg.FetchRequestForgottenTopic{Topic: topic, TopicID: id, Partitions: partitions})
			return req
		}
		next("forgotten", forget(s.topic("nowhere"), bogusID, 0))
		next("forgotten and wanted", func() *kmsg.FetchRequest {
			req := forget(name, id, 0, 0, 7)
			return alsoFetch(req, name, id, 0, 0)
		}())
		next("a partition that is not there", fetchFrom(name, id, 7, 0))
		next("it is forgotten", forget(name, id, 7))
		next("ten bytes", func() *kmsg.FetchRequest {
			req := alsoFetch(fetchFrom(name, id, 1, 0), other, otherID, 0, 0)
			req.MaxBytes = 10
			return req
		}())
		next("ten bytes, the next one's turn", func() *kmsg.FetchRequest {
			req := forget(s.topic("nowhere"), bogusID, 3)
			req.MaxBytes = 10
			return req
		}())
		next("all are forgotten", func() *kmsg.FetchRequest {
			req := forget(name, id, 0, 1, 2)
			req.ForgottenTopics = append(req.ForgottenTopics, kmsg.FetchRequestForgottenTopic{Topic: other, TopicID: otherID, Partitions: []int32{0}})
			return req
		}())
		next("what was forgotten is gone", nil)
	}
	name := s.topic("mixed")
	id := s.filled(c, name, 1, []string{"a"})
	for _, versions := range [][2]int16{{12, 13}, {13, 12}} {
		full := fetchFrom(name, id, 0, 1)
		full.SessionEpoch = 0
		resp, ok := c.ask("full", versions[0], full).(*kmsg.FetchResponse)
		if !ok {
			continue
		}
		for i, v := range []int16{versions[1], versions[0]} {
			next := kmsg.NewPtrFetchRequest()
			next.ReplicaID, next.MaxBytes, next.SessionID, next.SessionEpoch, next.MaxWaitMillis = -1, 1<<20, resp.SessionID, 1, 1
			c.ask(fmt.Sprintf("a session of v%d, %d", versions[0], i), v, next)
		}
	}
}
