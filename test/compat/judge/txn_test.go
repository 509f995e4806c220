package judge

import (
	"fmt"
	"math"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// producer is a transactional producer of a script.
type producer struct {
	s     *side
	c     *conn
	id    string // transactional
	pid   int64
	epoch int16
}

// producer begins with a transactional id, once there is a coordinator.
func (s *side) producer(c *conn, id string) *producer {
	p := &producer{s: s, c: c, id: id}
	p.begin()
	return p
}

// begin gets the producer's next epoch, without a note.
func (p *producer) begin() {
	p.s.poll("transactional id "+p.id+" has a coordinator", func() bool {
		find := kmsg.NewPtrFindCoordinatorRequest()
		find.CoordinatorType, find.CoordinatorKey = 1, p.id
		if resp, ok := p.c.try(2, find).(*kmsg.FindCoordinatorResponse); !ok || resp.ErrorCode != 0 {
			return false
		}
		resp, ok := p.c.try(4, p.init()).(*kmsg.InitProducerIDResponse)
		if ok {
			p.pid, p.epoch = resp.ProducerID, resp.ProducerEpoch
		}
		return ok && resp.ErrorCode == 0
	})
}

func (p *producer) init() *kmsg.InitProducerIDRequest {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = &p.id, 60_000, -1, -1
	return req
}

func (p *producer) add(topic string, partitions ...int32) *kmsg.AddPartitionsToTxnRequest {
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch = p.id, p.pid, p.epoch
	req.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: topic, Partitions: partitions}}
	t := kmsg.NewAddPartitionsToTxnRequestTransaction()
	t.TransactionalID, t.ProducerID, t.ProducerEpoch = p.id, p.pid, p.epoch
	t.Topics = []kmsg.AddPartitionsToTxnRequestTransactionTopic{{Topic: topic, Partitions: partitions}}
	req.Transactions = append(req.Transactions, t)
	return req
}

func (p *producer) end(commit bool) *kmsg.EndTxnRequest {
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = p.id, p.pid, p.epoch, commit
	return req
}

func (p *producer) addOffsets(group string) *kmsg.AddOffsetsToTxnRequest {
	req := kmsg.NewPtrAddOffsetsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = p.id, p.pid, p.epoch, group
	return req
}

func (p *producer) commitOffset(group, topic string, id [16]byte, partition int32, at int64) *kmsg.TxnOffsetCommitRequest {
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group, req.Generation = p.id, p.pid, p.epoch, group, -1
	o := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	o.Partition, o.Offset, o.LeaderEpoch = partition, at, 3
	t := kmsg.NewTxnOffsetCommitRequestTopic()
	t.Topic, t.TopicID, t.Partitions = topic, id, append(t.Partitions, o)
	req.Topics = append(req.Topics, t)
	return req
}

// send is a transactional produce request of a batch at a sequence.
func (p *producer) send(topic string, id [16]byte, partition, sequence int32) *kmsg.ProduceRequest {
	b := batchOf(p.s.base, "a", "b").from(p.pid, p.epoch, sequence).with(func(b *batch) { b.Attributes |= 1 << 4 })
	req := produceTo(topic, id, partition, b.bytes())
	req.TransactionID = &p.id
	return req
}

// settled waits until a transaction that was decided is complete.
func (p *producer) settled() {
	p.s.poll("the transaction of "+p.id+" is complete", func() bool {
		req := kmsg.NewPtrDescribeTransactionsRequest()
		req.TransactionalIDs = []string{p.id}
		resp, ok := p.c.try(0, req).(*kmsg.DescribeTransactionsResponse)
		if !ok || len(resp.TransactionStates) != 1 {
			return false
		}
		t := resp.TransactionStates[0]
		if t.ErrorCode == 0 {
			p.epoch = t.ProducerEpoch
		}
		return t.ErrorCode == 0 && t.State != "PrepareCommit" && t.State != "PrepareAbort"
	})
}

// describe records what the coordinator says of the producer.
func (p *producer) describe(what string, ids ...string) {
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = append([]string{p.id}, ids...)
	p.c.ask(what, 0, req)
}

// txnScript: transactions at every version of their requests (I5 to I8, I13).
func txnScript(s *side) {
	c := s.conn()
	defer c.close()
	name := s.topic("t")
	id := s.create(name, 3)
	for v := int16(0); v <= 5; v++ { // InitProducerId
		p := s.producer(c, s.topic(fmt.Sprint("init", v)))
		c.ask("next epoch", v, p.init())
		for _, timeout := range []int32{0, -1, 900_001, math.MaxInt32} {
			req := p.init()
			req.TransactionTimeoutMillis = timeout
			c.ask(fmt.Sprint("timeout ", timeout), v, req)
		}
		if v < 3 {
			continue
		}
		for _, who := range []struct {
			pid   int64
			epoch int16
		}{{p.pid, p.epoch}, {p.pid, p.epoch + 1}, {p.pid, p.epoch + 1}, {p.pid, p.epoch + 9}, {p.pid + 99999, 0}} {
			req := p.init()
			req.ProducerID, req.ProducerEpoch = who.pid, who.epoch
			c.ask(fmt.Sprintf("of the epoch %+d, same id: %v", who.epoch-p.epoch, who.pid == p.pid), v, req)
		}
	}
	addScript(s, c, name)
	endScript(s, c, name)
	produceTxnScript(s, c, name, id)
}

// addScript: AddPartitionsToTxn and AddOffsetsToTxn.
func addScript(s *side, c *conn, name string) {
	s.coordinated(c, s.topic("g"))
	for v := int16(0); v <= 5; v++ {
		p := s.producer(c, s.topic(fmt.Sprint("add", v)))
		c.ask("add", v, p.add(name, 0, 1))
		c.ask("add again", v, p.add(name, 1))
		c.ask("add an unknown partition", v, p.add(name, 2, 7))
		c.ask("add an unknown topic", v, p.add(s.topic("nowhere"), 0))
		c.ask("add nothing", v, p.add(name))
		old, other, empty, stranger := *p, *p, *p, *p
		old.epoch--
		other.pid += 99999
		empty.id = ""
		stranger.id = s.topic("stranger")
		c.ask("add by an old epoch", v, old.add(name, 0))
		c.ask("add by another producer", v, other.add(name, 0))
		c.ask("add without an id", v, empty.add(name, 0))
		c.ask("add by a stranger", v, stranger.add(name, 0))
		p.describe(fmt.Sprintf("add v%d", v))
		if v >= 4 {
			look := p.add(name, 0, 2)
			look.Transactions[0].VerifyOnly = true
			c.ask("verify", v, look)
			more := p.add(name, 2)
			more.Transactions = append(more.Transactions, s.producer(c, s.topic(fmt.Sprint("second", v))).add(name, 0).Transactions[0])
			c.ask("add to several", v, more)
		}
		if v <= 4 {
			c.ask("offsets", v, p.addOffsets(s.topic("g")))
			c.ask("offsets by an old epoch", v, old.addOffsets(s.topic("g")))
			c.ask("offsets without an id", v, empty.addOffsets(s.topic("g")))
		}
	}
	s.unsupported(c, 24, 6)
	s.unsupported(c, 25, 5)
}

// endScript: EndTxn, what is repeated and what does not fit.
func endScript(s *side, c *conn, name string) {
	for v := int16(0); v <= 5; v++ {
		p := s.producer(c, s.topic(fmt.Sprint("end", v)))
		c.ask("commit nothing", v, p.end(true))
		c.ask("abort nothing", v, p.end(false))
		p.settled()
		for _, commit := range []bool{true, false} {
			what := map[bool]string{true: "commit", false: "abort"}[commit]
			c.ask(what+": add", 3, p.add(name, 0))
			old, other := *p, *p
			old.epoch--
			other.pid += 99999
			c.ask(what+" by an old epoch", v, old.end(commit))
			c.ask(what+" by another producer", v, other.end(commit))
			before := *p
			c.ask(what, v, p.end(commit))
			p.settled()
			c.ask(what+" again", v, before.end(commit))
			c.ask(what+": the opposite", v, before.end(!commit))
			c.ask(what+": next", v, p.end(commit))
			p.settled()
			p.describe(fmt.Sprintf("end v%d %s", v, what))
		}
		c.ask("fenced: add", 3, p.add(name, 0))
		old := *p
		c.ask("fenced: init", 4, p.init())
		p.settled()
		c.ask("fenced: add", v, old.add(name, 0))
		c.ask("fenced: commit", v, old.end(true))
		c.ask("fenced: abort", v, old.end(false))
		stranger := *p
		stranger.id = s.topic("stranger")
		c.ask("commit of a stranger", v, stranger.end(true))
		stranger.id = ""
		c.ask("commit without an id", v, stranger.end(true))
	}
	s.unsupported(c, 26, 6)
}

// produceTxnScript: transactional batches, and what is read of them.
func produceTxnScript(s *side, c *conn, name string, id [16]byte) {
	for v := int16(3); v <= 13; v++ {
		topic := s.topic(fmt.Sprint("p", v))
		tid := s.create(topic, 2)
		p := s.producer(c, s.topic(fmt.Sprint("produce", v)))
		c.ask("not added", v, p.send(topic, tid, 0, 0))
		if v < 12 {
			c.ask(fmt.Sprintf("v%d: add", v), 3, p.add(topic, 0))
		}
		c.ask("added", v, p.send(topic, tid, 0, 0))
		c.ask("more", v, p.send(topic, tid, 0, 2))
		c.ask("again", v, p.send(topic, tid, 0, 2))
		plain := p.send(topic, tid, 0, 4)
		plain.Topics[0].Partitions[0].Records = batchOf(s.base, "x").from(p.pid, p.epoch, 4).bytes()
		c.ask("not of the transaction", v, plain)
		stranger := *p
		stranger.id = s.topic("stranger")
		c.ask("by a stranger", v, stranger.send(topic, tid, 1, 0))
		old := *p
		old.epoch--
		c.ask("by an old epoch", v, old.send(topic, tid, 0, 0))
		committed := fetchFrom(topic, tid, 0, 0)
		committed.IsolationLevel = 1
		c.ask(fmt.Sprintf("v%d: open", v), 12, committed)
		end := int16(4)
		if v >= 12 {
			end = 5
		}
		c.ask(fmt.Sprintf("v%d: abort", v), end, p.end(false))
		p.settled()
		c.ask("late", v, old.send(topic, tid, 0, 0))
		offsets := kmsg.NewPtrListOffsetsRequest()
		offsets.ReplicaID, offsets.IsolationLevel = -1, 1
		lp := kmsg.NewListOffsetsRequestTopicPartition()
		lp.Timestamp, lp.CurrentLeaderEpoch = -1, -1
		offsets.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: topic, Partitions: []kmsg.ListOffsetsRequestTopicPartition{lp}}}
		c.ask(fmt.Sprintf("v%d: end", v), 7, offsets)
		fetch := fetchFrom(topic, tid, 0, 0)
		fetch.IsolationLevel = 1
		resp, _ := c.try(12, fetch).(*kmsg.FetchResponse)
		if resp == nil || len(resp.Topics) != 1 {
			s.must(fmt.Errorf("fetch of %s: %+v", topic, resp))
		}
		part := &resp.Topics[0].Partitions[0]
		s.note(fmt.Sprintf("v%d: aborted", v), fmt.Sprintf("end %d, stable %d, %d aborted, %v", part.HighWatermark, part.LastStableOffset, len(part.AbortedTransactions), kerr.ErrorForCode(part.ErrorCode)))
	}
}

// txnOffsetsScript: offsets in transactions (I12).
func txnOffsetsScript(s *side) {
	c := s.conn()
	defer c.close()
	name := s.topic("t")
	id := s.create(name, 2)
	for v := int16(0); v <= 5; v++ {
		group := s.topic(fmt.Sprint("g", v))
		s.coordinated(c, group)
		p := s.producer(c, s.topic(fmt.Sprint("o", v)))
		fetch := func(what string, stable bool) {
			req := fetchOf(group, name, id, 0, 1)
			req.RequireStable = stable
			c.ask(fmt.Sprintf("v%d %s, stable: %v", v, what, stable), 8, req)
			all := fetchOf(group, "", id)
			all.RequireStable = stable
			c.ask(fmt.Sprintf("v%d %s, all, stable: %v", v, what, stable), 8, all)
		}
		c.ask("not added", v, p.commitOffset(group, name, id, 0, 5))
		for i, commit := range []bool{true, false} {
			what := map[bool]string{true: "commit", false: "abort"}[commit]
			c.ask(fmt.Sprintf("v%d %s: add", v, what), 3, p.addOffsets(group))
			c.ask(what, v, p.commitOffset(group, name, id, 0, int64(10+i)))
			c.ask(what+" by nobody's group", v, p.commitOffset("", name, id, 0, 1))
			c.ask(what+" of an unknown partition", v, p.commitOffset(group, name, id, 7, 1))
			c.ask(what+" of an unknown topic", v, p.commitOffset(group, s.topic("nowhere"), bogusID, 0, 1))
			old, stranger := *p, *p
			old.epoch--
			stranger.id = s.topic("stranger")
			c.ask(what+" by an old epoch", v, old.commitOffset(group, name, id, 0, 1))
			c.ask(what+" by a stranger", v, stranger.commitOffset(group, name, id, 0, 1))
			if v >= 3 {
				member := p.commitOffset(group, name, id, 0, 1)
				member.MemberID, member.Generation = "m", 3
				c.ask(what+" by a member that is none", v, member)
				member.MemberID = ""
				c.ask(what+" by a generation that is none", v, member)
				who := "m"
				member.InstanceID = &who
				c.ask(what+" by an instance that is none", v, member)
				nobody := p.commitOffset(s.topic("nobody"), name, id, 0, 1)
				nobody.Generation = 2
				c.ask(what+" in a group that is none", v, nobody)
			}
			fetch(what+" pending", false)
			fetch(what+" pending", true)
			end := int16(4)
			if v >= 5 {
				end = 5
			}
			c.ask(fmt.Sprintf("v%d %s: end", v, what), end, p.end(commit))
			p.settled()
			s.poll("the offset is stable", func() bool {
				req := fetchOf(group, name, id, 0)
				req.RequireStable = true
				resp, ok := c.try(8, req).(*kmsg.OffsetFetchResponse)
				return ok && resp.Groups[0].Topics[0].Partitions[0].ErrorCode == 0
			})
			fetch(what+" ended", true)
		}
	}
	s.unsupported(c, 28, 7)
}

// txnToolsScript: what is listed and described, and markers that an administrator writes.
func txnToolsScript(s *side) {
	c := s.conn()
	defer c.close()
	name := s.topic("t")
	id := s.create(name, 2)
	p := s.producer(c, s.topic("open"))
	p.begin() // epoch 1
	c.ask("open", 12, p.send(name, id, 0, 0))
	s.producer(c, s.topic("idle"))
	p.describe("transactions", s.topic("idle"), s.topic("stranger"), "")
	for v := int16(0); v <= 2; v++ {
		for _, states := range [][]string{nil, {"Ongoing"}, {"Empty", "Nonsense"}, {"Nonsense"}, {"ongoing"}} {
			req := kmsg.NewPtrListTransactionsRequest()
			req.StateFilters, req.DurationFilterMillis = states, -1
			c.ask(fmt.Sprint("list ", states), v, req)
		}
		req := kmsg.NewPtrListTransactionsRequest()
		req.ProducerIDFilters, req.DurationFilterMillis = []int64{p.pid, 1 << 50}, -1
		c.ask("list the producer", v, req)
		if v >= 1 {
			req := kmsg.NewPtrListTransactionsRequest()
			req.StateFilters, req.DurationFilterMillis = []string{"Ongoing"}, 3600_000
			c.ask("list what is open for an hour", v, req)
		}
		for _, pattern := range []string{"", s.topic("i.*"), s.topic("i"), ".*", "(", "[a-"} {
			req := kmsg.NewPtrListTransactionsRequest()
			req.TransactionalIDPattern, req.DurationFilterMillis = &pattern, -1
			if v >= 2 {
				c.ask("list by the pattern "+pattern, v, req)
			}
		}
	}
	for v := int16(1); v <= 2; v++ {
		marker := func(what string, epoch int16, coordinator int32, version int8, topics ...string) {
			req := kmsg.NewPtrWriteTxnMarkersRequest()
			m := kmsg.NewWriteTxnMarkersRequestMarker()
			m.ProducerID, m.ProducerEpoch, m.CoordinatorEpoch, m.TransactionVersion = p.pid, epoch, coordinator, version
			for _, t := range topics {
				m.Topics = append(m.Topics, kmsg.WriteTxnMarkersRequestMarkerTopic{Topic: t, Partitions: []int32{0}})
			}
			req.Markers = append(req.Markers, m)
			c.ask("marker "+what, v, req)
		}
		marker("of an old epoch", 0, 0, 0, name)
		marker("of an unknown topic", 1, 0, 0, s.topic("nowhere"))
		marker("of nothing", 1, 0, 0)
		marker("beside an unknown topic", 1, 9, 0, name, s.topic("nowhere"))
		marker("again", 1, 9, 0, name)
		marker("of an old coordinator", 1, 8, 0, name)
		marker("of version 2", 1, 9, 2, name)
		marker("of version 2 with the next epoch", v+1, 9, 2, name)
		c.ask("no markers", v, kmsg.NewPtrWriteTxnMarkersRequest())
		producers := kmsg.NewPtrDescribeProducersRequest()
		producers.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: name, Partitions: []int32{0}}}
		c.ask(fmt.Sprintf("producers after v%d", v), 0, producers)
	}
	s.unsupported(c, 27, 3)
	s.unsupported(c, 65, 1)
	s.unsupported(c, 66, 3)
}
