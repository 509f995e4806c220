package api

import (
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/coordinator/group"
	"github.com/varve-io/varve/broker/coordinator/txn"
	"github.com/varve-io/varve/broker/kafka"
)

// mover is a transactional producer that a test plays by hand.
type mover struct {
	*client
	id    string
	pid   int64
	epoch int16
}

// newMover begins with a transactional id, on a broker with the topic "t" and a group's coordinator.
func newMover(t *testing.T, id string) *mover {
	t.Helper()
	k, c := groupKit(t, "transaction.state.log.num.partitions=2")
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.CoordinatorType, find.CoordinatorKeys = 1, []string{id}
	if resp := ask[*kmsg.FindCoordinatorResponse](c, 6, find); resp.Coordinators[0].ErrorCode != 0 || resp.Coordinators[0].NodeID != testNode {
		t.Fatalf("FindCoordinator: %+v", resp.Coordinators[0])
	}
	topic := k.cluster.Image().Topic(txn.StateTopic)
	if topic == nil || len(topic.Partitions) != 2 || topic.Config["cleanup.policy"] != "compact" || topic.Config["compression.type"] != "uncompressed" || topic.Config["min.insync.replicas"] != "2" {
		t.Fatalf("the state topic is %+v", topic)
	}
	ask[*kmsg.InitProducerIDResponse](c, 4, kmsg.NewPtrInitProducerIDRequest()) // takes the id 0, which stands for none in batch.Builder
	m := &mover{client: c, id: id}
	if code := m.init(4); code != kafka.NoError {
		t.Fatal(code)
	}
	return m
}

func (m *mover) init(version int16) kafka.Error {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = &m.id, 60_000, -1, -1
	resp := ask[*kmsg.InitProducerIDResponse](m.client, version, req)
	if resp.ErrorCode == 0 {
		m.pid, m.epoch = resp.ProducerID, resp.ProducerEpoch
	}
	return kafka.Error(resp.ErrorCode)
}

// send produces to t in the transaction; plain, outside of one.
func (m *mover) send(version int16, sequence int32, plain bool, values ...string) kafka.Error {
	b := batch.Builder{ProducerID: m.pid, ProducerEpoch: m.epoch, BaseSequence: sequence, Attributes: batch.Transactional}
	if plain {
		b.Attributes = 0
	}
	req := produceRequest("t", kafka.UUID{}, -1, buildBatch(b, values...))
	req.TransactionID = &m.id
	return kafka.Error(m.produced(version, req).ErrorCode)
}

func (m *mover) add(version int16) kafka.Error {
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch = m.id, m.pid, m.epoch
	req.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: "t", Partitions: []int32{0}}}
	return kafka.Error(ask[*kmsg.AddPartitionsToTxnResponse](m.client, version, req).Topics[0].Partitions[0].ErrorCode)
}

func (m *mover) end(version int16, commit bool) kafka.Error {
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = m.id, m.pid, m.epoch, commit
	resp := ask[*kmsg.EndTxnResponse](m.client, version, req)
	if version >= 5 && resp.ErrorCode == 0 {
		m.pid, m.epoch = resp.ProducerID, resp.ProducerEpoch
	}
	return kafka.Error(resp.ErrorCode)
}

// committed is what a consumer of committed records is given of t, without those of
// transactions that the answer says are aborted.
func (m *mover) committed() (values []string, stable, end int64) {
	m.t.Helper()
	req := fetchRequest("t", kafka.UUID{}, 0)
	req.IsolationLevel = 1
	p := m.fetched(12, req)
	if p.ErrorCode != 0 {
		m.t.Fatalf("Fetch: error %d", p.ErrorCode)
	}
	aborted := map[int64]int64{} // from which offset on a producer's records are aborted
	todo := p.AbortedTransactions
	for b := p.RecordBatches; len(b) > 0; {
		h, err := batch.ParseHeader(b)
		if err != nil {
			m.t.Fatal(err)
		}
		todo = slices.DeleteFunc(todo, func(a kmsg.FetchResponseTopicPartitionAbortedTransaction) bool {
			if a.FirstOffset <= h.LastOffset() {
				aborted[a.ProducerID] = a.FirstOffset
			}
			return a.FirstOffset <= h.LastOffset()
		})
		_, gone := aborted[h.ProducerID]
		for rec, err := range batch.Records(b[:h.Size()], batch.Limits{}) {
			switch {
			case err != nil:
				m.t.Fatal(err)
			case h.IsControl():
				if kind, _, _ := batch.ParseControl(rec); kind == batch.Abort {
					delete(aborted, h.ProducerID)
				}
			case !gone || !h.IsTransactional():
				values = append(values, string(rec.Value))
			}
		}
		b = b[h.Size():]
	}
	return values, p.LastStableOffset, p.HighWatermark
}

func (m *mover) want(what string, got, want kafka.Error) {
	m.t.Helper()
	if got != want {
		m.t.Errorf("%s: %s, want %s", what, got.Name(), want.Name())
	}
}

// TestI6FencedProducer: what a producer sends after the next one has begun is refused for good.
func TestI6FencedProducer(t *testing.T) {
	m := newMover(t, "mover")
	m.want("produce", m.send(12, 0, false, "a"), kafka.NoError)
	old := *m
	m.want("the next one, while the transaction is open", m.init(4), kafka.ConcurrentTransactions)
	m.want("again", m.init(4), kafka.NoError)
	for v := int16(3); v <= 12; v++ {
		m.want("produce of the old one", old.send(v, 1, false, "b"), kafka.InvalidProducerEpoch)
	}
	m.want("add before 2", old.add(1), kafka.InvalidProducerEpoch)
	m.want("add", old.add(3), kafka.ProducerFenced)
	m.want("end before 2", old.end(1, true), kafka.InvalidProducerEpoch)
	m.want("end", old.end(4, true), kafka.ProducerFenced)
	if values, stable, end := m.committed(); len(values) != 0 || stable != end || end != 2 {
		t.Errorf("committed %q, stable %d of %d", values, stable, end)
	}
}

// TestI8PlainBatchInTransaction is refused.
func TestI8PlainBatchInTransaction(t *testing.T) {
	m := newMover(t, "mover")
	m.want("produce", m.send(12, 0, false, "a"), kafka.NoError)
	m.want("plain", m.send(12, 1, true, "b"), kafka.InvalidTxnState)
}

// TestI10I11ReadCommitted: readers of committed records stop at the oldest open transaction,
// and are told of the aborted ones.
func TestI10I11ReadCommitted(t *testing.T) {
	m := newMover(t, "mover")
	m.produce("t", recordsOf("plain"))
	m.want("produce", m.send(12, 0, false, "a", "b"), kafka.NoError)
	m.produce("t", recordsOf("behind"))
	if values, stable, end := m.committed(); !slices.Equal(values, []string{"plain"}) || stable != 1 || end != 4 {
		t.Errorf("open: committed %q, stable %d of %d", values, stable, end)
	}
	offsets := kmsg.NewPtrListOffsetsRequest()
	offsets.ReplicaID, offsets.IsolationLevel = -1, 1
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Timestamp, p.CurrentLeaderEpoch = -1, -1
	offsets.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "t", Partitions: []kmsg.ListOffsetsRequestTopicPartition{p}}}
	if got := ask[*kmsg.ListOffsetsResponse](m.client, 7, offsets).Topics[0].Partitions[0]; got.Offset != 1 {
		t.Errorf("ListOffsets at read_committed: %+v", got)
	}
	m.want("abort", m.end(5, false), kafka.NoError)
	m.want("produce", m.send(12, 0, false, "c"), kafka.NoError)
	m.want("commit", m.end(5, true), kafka.NoError)
	if values, stable, end := m.committed(); !slices.Equal(values, []string{"plain", "behind", "c"}) || stable != end || end != 7 {
		t.Errorf("ended: committed %q, stable %d of %d", values, stable, end)
	}
}

// TestI12TxnOffsetCommit: an offset in a transaction is an error for who wants stable ones,
// until the transaction has ended.
func TestI12TxnOffsetCommit(t *testing.T) {
	m := newMover(t, "mover")
	commit := func(version int16, at int64) kafka.Error {
		req := kmsg.NewPtrTxnOffsetCommitRequest()
		req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch, req.Generation = m.id, "g", m.pid, m.epoch, -1
		p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		p.Offset, p.LeaderEpoch = at, -1
		req.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{p}}}
		return kafka.Error(ask[*kmsg.TxnOffsetCommitResponse](m.client, version, req).Topics[0].Partitions[0].ErrorCode)
	}
	fetch := func(stable bool) (int64, kafka.Error) {
		req := kmsg.NewPtrOffsetFetchRequest()
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group, g.Topics = "g", []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", Partitions: []int32{0}}}
		req.Groups, req.RequireStable = append(req.Groups, g), stable
		p := ask[*kmsg.OffsetFetchResponse](m.client, 8, req).Groups[0].Topics[0].Partitions[0]
		return p.Offset, kafka.Error(p.ErrorCode)
	}
	m.want("before 4", commit(3, 1), kafka.InvalidTxnState)
	m.want("before 5", commit(4, 1), kafka.TransactionAbortable)
	m.want("with 5", commit(5, 7), kafka.NoError)
	if at, code := fetch(true); at != -1 || code != kafka.UnstableOffsetCommit {
		t.Errorf("stable: offset %d, %s", at, code.Name())
	}
	if at, code := fetch(false); at != -1 || code != kafka.NoError {
		t.Errorf("not stable: offset %d, %s", at, code.Name())
	}
	m.want("commit", m.end(5, true), kafka.NoError)
	if at, code := fetch(true); at != 7 || code != kafka.NoError {
		t.Errorf("committed: offset %d, %s", at, code.Name())
	}
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.TransactionalID, add.ProducerID, add.ProducerEpoch, add.Group = m.id, m.pid, m.epoch, "g"
	m.want("AddOffsetsToTxn", kafka.Error(ask[*kmsg.AddOffsetsToTxnResponse](m.client, 3, add).ErrorCode), kafka.NoError)
	m.want("added", commit(3, 9), kafka.NoError)
	describe := kmsg.NewPtrDescribeTransactionsRequest()
	describe.TransactionalIDs = []string{m.id}
	if d := ask[*kmsg.DescribeTransactionsResponse](m.client, 0, describe).TransactionStates[0]; d.State != "Ongoing" || len(d.Topics) != 1 || d.Topics[0].Topic != group.OffsetsTopic {
		t.Errorf("DescribeTransactions: %+v", d)
	}
	m.want("abort", m.end(4, false), kafka.NoError)
	if at, code := fetch(true); at != 7 || code != kafka.NoError {
		t.Errorf("aborted: offset %d, %s", at, code.Name())
	}
}

// TestI13VersionsOfProduce: from 12 on a request adds its partition; before, the partition has
// to be part of the transaction already. TRANSACTION_ABORTABLE is for clients that know it.
func TestI13VersionsOfProduce(t *testing.T) {
	m := newMover(t, "mover")
	for v := int16(3); v <= 12; v++ {
		want := kafka.InvalidTxnState
		if v == 11 {
			want = kafka.TransactionAbortable
		}
		if v == 12 {
			want = kafka.NoError
		}
		m.want("not added", m.send(v, 0, false, "a"), want)
	}
	epoch := m.epoch
	m.want("commit", m.end(5, true), kafka.NoError)
	if m.epoch != epoch+1 {
		t.Errorf("epoch %d after %d", m.epoch, epoch)
	}
	m.want("add", m.add(3), kafka.NoError)
	m.want("added", m.send(9, 0, false, "b"), kafka.NoError)
	m.want("commit", m.end(4, true), kafka.NoError)
	if values, _, _ := m.committed(); !slices.Equal(values, []string{"a", "b"}) {
		t.Errorf("committed %q", values)
	}
	several := produceRequest("t", kafka.UUID{}, -1, buildBatch(batch.Builder{ProducerID: 5, Attributes: batch.Transactional}, "x"), buildBatch(batch.Builder{ProducerID: 6, Attributes: batch.Transactional}, "y"))
	several.TransactionID = &m.id
	m.want("of several producers", kafka.Error(m.produced(12, several).ErrorCode), kafka.InvalidProducerIDMapping)
}
