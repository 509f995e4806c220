package judge

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// filled is a topic whose first partition holds batches of the given values, one each.
func (s *side) filled(c *conn, name string, partitions int32, batches ...[]string) [16]byte {
	id := s.create(name, partitions)
	for p := range partitions {
		for _, values := range batches {
			resp, ok := c.try(7, produceTo(name, id, p, batchOf(s.base, values...).bytes())).(*kmsg.ProduceResponse)
			if !ok || resp.Topics[0].Partitions[0].ErrorCode != 0 {
				s.must(fmt.Errorf("filling %s: %+v", name, resp))
			}
		}
	}
	return id
}

// fetchScript: one partition in every state, at every version (F2, F4, F5, F7, F8).
func fetchScript(s *side) {
	c := s.conn()
	defer c.close()
	name := s.topic("t")
	id := s.filled(c, name, 2, []string{"a", "b", "c"}, []string{"d"}, []string{"e", "f"})
	empty := s.topic("empty")
	emptyID := s.create(empty, 1)
	for v := int16(4); v <= 18; v++ {
		for _, offset := range []int64{0, 1, 3, 4, 6, 7, 100, -1, -2} {
			c.ask(fmt.Sprint("offset ", offset), v, fetchFrom(name, id, 0, offset))
		}
		c.ask("empty", v, fetchFrom(empty, emptyID, 0, 0))
		c.ask("empty, offset 1", v, fetchFrom(empty, emptyID, 0, 1))
		c.ask("unknown topic", v, fetchFrom(s.topic("nowhere"), bogusID, 0, 0))
		c.ask("invalid topic name", v, fetchFrom("a b", [16]byte{}, 0, 0))
		c.ask("partition 7", v, fetchFrom(name, id, 7, 0))
		c.ask("partition -1", v, fetchFrom(name, id, -1, 0))
		c.ask("good and bad", v, alsoFetch(alsoFetch(fetchFrom(name, id, 1, 0), name, id, 7, 0), s.topic("nowhere"), bogusID, 0, 0))
		c.ask("the same partition twice", v, alsoFetch(fetchFrom(name, id, 0, 0), name, id, 0, 3))
		committed := fetchFrom(name, id, 0, 0)
		committed.IsolationLevel = 1
		c.ask("read committed", v, committed)
		committed.IsolationLevel = 7
		c.ask("isolation level 7", v, committed)
		none := kmsg.NewPtrFetchRequest()
		none.ReplicaID, none.SessionEpoch, none.MaxBytes = -1, -1, 1<<20
		c.ask("no topics", v, none)
		for _, replica := range []int32{5, -2} {
			req := fetchFrom(name, id, 0, 0)
			if v >= 15 {
				req.ReplicaState.ID = replica
			} else {
				req.ReplicaID = replica
			}
			c.ask(fmt.Sprint("replica ", replica), v, req)
		}
		if v < 9 {
			continue
		}
		for _, epoch := range []int32{-1, 0, 1, 5, -2} {
			req := fetchFrom(name, id, 0, 0)
			req.Topics[0].Partitions[0].CurrentLeaderEpoch = epoch
			c.ask(fmt.Sprint("leader epoch ", epoch), v, req)
		}
		for _, last := range []int32{0, 5} {
			for _, offset := range []int64{0, 6, 9} {
				req := fetchFrom(name, id, 0, offset)
				req.Topics[0].Partitions[0].LastFetchedEpoch = last
				c.ask(fmt.Sprintf("last fetched epoch %d at %d", last, offset), v, req)
			}
		}
	}
	for _, v := range []int16{0, 3, 19} {
		s.unsupported(c, 1, v)
	}
	deleted := s.topic("deleted")
	oldID := s.filled(c, deleted, 1, []string{"old"})
	s.remove(c, deleted)
	newID := s.filled(c, deleted, 1, []string{"new"})
	s.ids[oldID] = "the deleted topic"
	c.ask("id of a deleted topic", 13, fetchFrom(deleted, oldID, 0, 0))
	c.ask("id of its successor", 13, fetchFrom(deleted, newID, 0, 0))
	c.ask("produce to the id of a deleted topic", 13, produceTo("", oldID, 0, batchOf(s.base, "a").bytes()))
}

// unsupported sends a header with a version that is not served.
func (s *side) unsupported(c *conn, key, version int16) {
	c.send([]byte{0, 0, 0, 12, byte(key >> 8), byte(key), byte(version >> 8), byte(version), 0, 0, 0, 1, 255, 255, 0, 0})
	_, err := c.receive(patience)
	s.note(fmt.Sprintf("key %d v%d", key, version), outcome(err))
}

// remove deletes a topic and waits until it is gone.
func (s *side) remove(c *conn, name string) {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TopicNames, req.TimeoutMillis = []string{name}, 10_000
	resp, ok := c.try(5, req).(*kmsg.DeleteTopicsResponse)
	if !ok || resp.Topics[0].ErrorCode != 0 {
		s.must(fmt.Errorf("deleting %s: %+v", name, resp))
	}
	s.awaitGone(name)
}

// limitsScript: max_bytes, partition_max_bytes and the first batch (F1).
func limitsScript(s *side) {
	c := s.conn()
	defer c.close()
	name := s.topic("t")
	big := strings.Repeat("x", 1000)
	id := s.filled(c, name, 3, []string{big}, []string{big, big}, []string{big})
	for _, v := range []int16{4, 7, 11, 12, 13, 16, 18} {
		for _, limit := range []struct{ all, part int32 }{
			{1 << 20, 1 << 20}, {1, 1 << 20}, {1 << 20, 1}, {1, 1}, {0, 0}, {-1, -1}, {1500, 1 << 20}, {1 << 20, 1500}, {4500, 4500}, {5000, 2000}, {1 << 20, 3200},
		} {
			req := fetchFrom(name, id, 0, 0)
			alsoFetch(req, name, id, 1, 0)
			alsoFetch(req, name, id, 2, 4)
			req.MaxBytes = limit.all
			for i := range req.Topics[0].Partitions {
				req.Topics[0].Partitions[i].PartitionMaxBytes = limit.part
			}
			c.ask(fmt.Sprintf("max %d, of a partition %d", limit.all, limit.part), v, req)
			req.Topics[0].Partitions[0].FetchOffset = 4 // the first has nothing
			c.ask(fmt.Sprintf("max %d, of a partition %d, first empty", limit.all, limit.part), v, req)
		}
	}
}

// A poll that waits takes pollWait, one that does not takes less than pollLimit even on a
// busy machine.
const pollWait, pollLimit = 3 * time.Second, 1500 * time.Millisecond

// pollsScript: what waits, and what answers at once (F3). Each poll has its connection.
func pollsScript(s *side) {
	setup := s.conn()
	defer setup.close()
	name := s.topic("t")
	id := s.filled(setup, name, 2, []string{"a"})
	type poll struct {
		name string
		req  *kmsg.FetchRequest
	}
	at := func(offset int64, wait time.Duration, min int32) *kmsg.FetchRequest {
		req := fetchFrom(name, id, 0, offset)
		req.MaxWaitMillis, req.MinBytes = int32(wait.Milliseconds()), min
		return req
	}
	unknown := alsoFetch(at(1, pollWait, 1), s.topic("nowhere"), bogusID, 0, 0)
	epoch := at(1, pollWait, 1)
	epoch.Topics[0].Partitions[0].CurrentLeaderEpoch = 9
	tooSmall := at(0, pollWait, 1<<20)
	nothing := kmsg.NewPtrFetchRequest()
	nothing.ReplicaID, nothing.SessionEpoch, nothing.MaxBytes, nothing.MinBytes, nothing.MaxWaitMillis = -1, -1, 1<<20, 1, int32(pollWait.Milliseconds())
	capped := at(0, pollWait, 1<<20)
	capped.MaxBytes = 10
	diverged := at(1, pollWait, 1)
	diverged.Topics[0].Partitions[0].LastFetchedEpoch = 7
	polls := []poll{
		{"at the end", at(1, pollWait, 1)},
		{"max wait 0", at(1, 0, 1)},
		{"negative max wait", at(1, -time.Second, 1)},
		{"min bytes 0", at(1, pollWait, 0)},
		{"negative min bytes", at(1, pollWait, -1)},
		{"data is there", at(0, pollWait, 1)},
		{"data is there, not enough", tooSmall},
		{"max bytes below min bytes", capped},
		{"out of range", at(99, pollWait, 1)},
		{"beside an unknown topic", unknown},
		{"unknown leader epoch", epoch},
		{"diverged", diverged},
		{"two partitions, one with data", alsoFetch(at(1, pollWait, 1), name, id, 1, 0)},
		{"no topics", nothing},
	}
	for _, v := range []int16{4, 12, 18} {
		all := make([]kmsg.Response, len(polls))
		took := make([]time.Duration, len(polls))
		var wg sync.WaitGroup
		for i, p := range polls {
			c := s.conn()
			frame := c.frame(v, p.req)
			resp := p.req.ResponseKind()
			c.open()
			wg.Go(func() {
				defer c.close()
				start := time.Now()
				body, err := c.exchange(frame)
				took[i] = time.Since(start)
				if err == nil && parse(body, v, resp) == nil {
					all[i] = resp
				}
			})
		}
		wg.Wait()
		for i, p := range polls {
			s.answered(fmt.Sprintf("v%d %s", v, p.name), all[i])
			s.noteTime(fmt.Sprintf("v%d %s: time", v, p.name), took[i], pollLimit)
		}
	}
	s.woken(name, id)
}

// noteTime records whether something took at least limit.
func (s *side) noteTime(name string, took, limit time.Duration) {
	if took >= limit {
		s.note(name, "waited")
		return
	}
	s.note(name, "at once")
}

// woken: a produce ends a poll, also one behind it on the same connection's pipeline (C8).
func (s *side) woken(name string, id [16]byte) {
	poller, producer := s.conn(), s.conn()
	defer poller.close()
	defer producer.close()
	req := fetchFrom(name, id, 0, 1)
	const wait = 15 * time.Second
	req.MaxWaitMillis = int32(wait.Milliseconds())
	start := time.Now()
	poller.send(poller.frame(12, req))
	poller.send(poller.frame(0, kmsg.NewPtrApiVersionsRequest()))
	producer.ask("produce beside a poll", 7, produceTo(name, id, 0, batchOf(s.base, "z").bytes()))
	for _, what := range []struct {
		name    string
		version int16
		resp    kmsg.Response
	}{{"woken poll", 12, kmsg.NewPtrFetchResponse()}, {"what was behind it", 0, kmsg.NewPtrApiVersionsResponse()}} {
		body, err := poller.receive(patience)
		s.must(err)
		s.must(parse(body, what.version, what.resp))
		if what.version == 12 {
			s.answered(what.name, what.resp)
			s.noteTime(what.name+": time", time.Since(start), wait)
			continue
		}
		s.note(what.name, "answer")
	}
}

// sessionsScript: the ids and epochs of fetch sessions (F6).
func sessionsScript(s *side) {
	c := s.conn()
	defer c.close()
	name := s.topic("t")
	id := s.filled(c, name, 2, []string{"a"})
	for v := int16(7); v <= 18; v++ {
		full := alsoFetch(fetchFrom(name, id, 0, 0), name, id, 1, 1)
		full.SessionEpoch = 0
		resp, _ := c.ask("new session", v, full).(*kmsg.FetchResponse)
		next := kmsg.NewPtrFetchRequest()
		next.ReplicaID, next.MaxBytes, next.MinBytes = -1, 1<<20, 1
		next.SessionEpoch = 1
		if resp != nil {
			next.SessionID = resp.SessionID
		}
		c.ask("incremental", v, next)
		next.SessionEpoch = 9
		c.ask("wrong epoch", v, next)
		next.SessionEpoch = -2
		c.ask("epoch -2", v, next)
		next.SessionID, next.SessionEpoch = 123456, 1
		c.ask("unknown session", v, next)
		next.SessionID, next.SessionEpoch = 123456, -1
		c.ask("close an unknown session", v, next)
		next.SessionID, next.SessionEpoch = 123456, 0
		c.ask("new session in place of an unknown one", v, next)
		if resp != nil {
			full.SessionID, full.SessionEpoch = resp.SessionID, -1
			c.ask("close", v, full)
		}
		next.SessionID, next.SessionEpoch = 0, 5
		c.ask("session 0, epoch 5", v, next)
	}
}

// offsetsScript: ListOffsets at every version (F11, F12, F5).
func offsetsScript(s *side) {
	c := s.conn()
	defer c.close()
	name := s.topic("t")
	id := s.create(name, 1)
	for _, b := range []*batch{
		batchWith(s.base, rec{value: "a"}, rec{delta: 10, value: "b"}, rec{delta: 5, value: "c"}),
		batchWith(s.base+100, rec{value: "d"}, rec{delta: 50, value: "e"}).gzip(),
		batchWith(s.base+20, rec{value: "f"}, rec{delta: 130, value: "g"}),
	} {
		s.must(produced(c.try(7, produceTo(name, id, 0, b.bytes()))))
	}
	appended := s.topic("appended")
	appendedID := s.create(appended, 1, "message.timestamp.type", "LogAppendTime")
	s.must(produced(c.try(7, produceTo(appended, appendedID, 0, batchOf(s.base, "a", "b", "c").bytes()))))
	empty := s.topic("empty")
	s.create(empty, 1)
	times := []int64{-1, -2, -3, -4, -5, -6, -7, -100, 0, s.base - 1, s.base, s.base + 1, s.base + 6, s.base + 11, s.base + 20, s.base + 101, s.base + 150, s.base + 151, s.base + 9_000_000}
	label := func(ms int64) string {
		if ms > 0 {
			return fmt.Sprintf("base%+d", ms-s.base)
		}
		return fmt.Sprint(ms)
	}
	for v := int16(1); v <= 11; v++ {
		for _, topic := range []string{name, appended, empty} {
			for _, ms := range times {
				c.ask(fmt.Sprintf("%s at %s", topic, label(ms)), v, listOffsets(topic, 0, ms))
			}
		}
		c.ask("unknown topic", v, listOffsets(s.topic("nowhere"), 0, -1))
		c.ask("invalid topic name", v, listOffsets("a b", 0, -1))
		c.ask("partition 7", v, listOffsets(name, 7, -1))
		c.ask("partition -1", v, listOffsets(name, -1, -1))
		twice := listOffsets(name, 0, -1)
		twice.Topics[0].Partitions = append(twice.Topics[0].Partitions, listOffsets(name, 0, -2).Topics[0].Partitions...)
		c.ask("twice", v, twice)
		for _, level := range []int8{1, 7} {
			req := listOffsets(name, 0, -1)
			req.IsolationLevel = level
			c.ask(fmt.Sprint("isolation level ", level), v, req)
		}
		req := listOffsets(name, 0, s.base)
		req.TimeoutMillis = 1
		c.ask("timeout 1 ms", v, req)
		for _, replica := range []int32{-2, 5} {
			req := listOffsets(name, 0, -1)
			req.ReplicaID = replica
			c.ask(fmt.Sprint("replica ", replica), v, req)
		}
		for _, epoch := range []int32{0, 1, -2, 5} {
			for _, ms := range []int64{-1, s.base} {
				req := listOffsets(name, 0, ms)
				req.Topics[0].Partitions[0].CurrentLeaderEpoch = epoch
				c.ask(fmt.Sprintf("leader epoch %d at %s", epoch, label(ms)), v, req)
			}
		}
		none := kmsg.NewPtrListOffsetsRequest()
		c.ask("no topics", v, none)
	}
	s.unsupported(c, 2, 0)
	s.unsupported(c, 2, 12)
}

func produced(resp kmsg.Response) error {
	if r, ok := resp.(*kmsg.ProduceResponse); !ok || r.Topics[0].Partitions[0].ErrorCode != 0 {
		return fmt.Errorf("produce: %+v", resp)
	}
	return nil
}

func listOffsets(topic string, partition int32, ms int64) *kmsg.ListOffsetsRequest {
	req := kmsg.NewPtrListOffsetsRequest()
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Partition, p.Timestamp = partition, ms
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}
