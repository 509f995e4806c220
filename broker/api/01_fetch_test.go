package api

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/wire"
)

func TestFetchAtEveryVersion(t *testing.T) {
	k := newKit(t)
	id := k.topic("t")
	c := k.dial(internalListener)
	c.produce("t", recordsOf("a", "b"))
	row := k.api.byKey[wire.KeyFetch]
	for v := row.min; v <= row.max; v++ {
		p := c.fetched(v, fetchRequest("t", id, 0))
		if got := values(t, p.RecordBatches); p.ErrorCode != 0 || p.HighWatermark != 2 || p.LastStableOffset != 2 || !reflect.DeepEqual(got, []string{"a", "b"}) {
			t.Errorf("v%d: error %d, high watermark %d, last stable %d, values %q", v, p.ErrorCode, p.HighWatermark, p.LastStableOffset, got)
		}
	}
}

func TestF1MinOneBatchAcrossPartitions(t *testing.T) {
	k := newKit(t)
	k.topic("a")
	k.topic("b")
	c := k.dial(internalListener)
	c.produce("a", recordsOf("1", "2"))
	c.produce("b", recordsOf("3"))
	req := fetchRequest("a", kafka.UUID{}, 0)
	req.MaxBytes = 1
	req.Topics = append(req.Topics, fetchRequest("b", kafka.UUID{}, 0).Topics...)
	resp := ask[*kmsg.FetchResponse](c, 12, req)
	first, second := resp.Topics[0].Partitions[0].RecordBatches, resp.Topics[1].Partitions[0].RecordBatches
	if got := values(t, first); !reflect.DeepEqual(got, []string{"1", "2"}) || len(second) > 0 {
		t.Errorf("first partition: %q; second: %d bytes", got, len(second))
	}
}

func TestF2TheWholeBatchComes(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	c := k.dial(internalListener)
	c.produce("t", recordsOf("a", "b", "c"))
	if got := values(t, c.fetched(12, fetchRequest("t", kafka.UUID{}, 2)).RecordBatches); len(got) != 3 {
		t.Errorf("values %q, want the batch that holds offset 2", got)
	}
}

func TestF3LongPoll(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	waiting, other := k.dial(internalListener), k.dial(internalListener)
	req := fetchRequest("t", kafka.UUID{}, 0)
	req.MaxWaitMillis = 15_000
	req.SetVersion(12)
	waiting.send(req)
	other.produce("t", recordsOf("a")) // C8: the parked fetch delays nobody else
	resp := waiting.receive(req).(*kmsg.FetchResponse)
	if got := values(t, resp.Topics[0].Partitions[0].RecordBatches); len(got) != 1 {
		t.Errorf("values %q, want one", got)
	}
	req = fetchRequest("t", kafka.UUID{}, 1)
	req.MaxWaitMillis = 1
	if p := waiting.fetched(12, req); p.ErrorCode != 0 || len(p.RecordBatches) != 0 || p.HighWatermark != 1 {
		t.Errorf("at the end: %+v", p)
	}
}

func TestC8AProduceBehindAWaitingFetch(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	c := k.dial(internalListener)
	fetch := fetchRequest("t", kafka.UUID{}, 0)
	fetch.MaxWaitMillis = 15_000
	fetch.SetVersion(12)
	produce := produceRequest("t", kafka.UUID{}, -1, recordsOf("a"))
	produce.SetVersion(9)
	c.send(fetch)
	c.send(produce) // which the fetch, ahead of it on the same connection, waits for
	c.corr = 1
	if resp := c.receive(fetch).(*kmsg.FetchResponse); len(values(t, resp.Topics[0].Partitions[0].RecordBatches)) != 1 {
		t.Errorf("answer %+v", resp)
	}
	c.corr = 2
	if resp := c.receive(produce).(*kmsg.ProduceResponse); resp.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Errorf("answer %+v", resp)
	}
}

func TestF4OffsetOutOfRange(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	c := k.dial(internalListener)
	c.produce("t", recordsOf("a", "b"))
	for _, off := range []int64{3, math.MaxInt64, -5} {
		p := c.fetched(12, fetchRequest("t", kafka.UUID{}, off))
		if p.ErrorCode != int16(kafka.OffsetOutOfRange) || p.HighWatermark != -1 || p.LogStartOffset != -1 {
			t.Errorf("offset %d: %+v", off, p)
		}
	}
	if p := c.fetched(12, fetchRequest("t", kafka.UUID{}, 2)); p.ErrorCode != 0 {
		t.Errorf("at the end: error %d", p.ErrorCode)
	}
}

func TestF5LeaderEpochs(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	epoch := k.cluster.Image().Topic("t").Partitions[0].LeaderEpoch
	c := k.dial(internalListener)
	c.produce("t", recordsOf("a"))
	for e, want := range map[int32]kafka.Error{epoch + 1: kafka.UnknownLeaderEpoch, epoch: kafka.NoError, -1: kafka.NoError, -2: kafka.NoError} {
		req := fetchRequest("t", kafka.UUID{}, 0)
		req.Topics[0].Partitions[0].CurrentLeaderEpoch = e
		if p := c.fetched(12, req); p.ErrorCode != int16(want) {
			t.Errorf("epoch %d: error %d, want %d", e, p.ErrorCode, want)
		}
	}
}

// TestAbortedTransactionsAreAListOrNull: a list, if an empty one, where Kafka's answer has one.
func TestAbortedTransactionsAreAListOrNull(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	c := k.dial(internalListener)
	c.produce("t", recordsOf("a"))
	for _, x := range []struct {
		topic string
		level int8
		list  bool
	}{{"t", 0, false}, {"t", 1, true}, {"nobody", 0, true}} {
		req := fetchRequest(x.topic, kafka.UUID{}, 0)
		req.IsolationLevel = x.level
		if p := c.fetched(12, req); (p.AbortedTransactions != nil) != x.list {
			t.Errorf("%s at isolation level %d: %+v, want a list: %v", x.topic, x.level, p.AbortedTransactions, x.list)
		}
	}
}

func TestP13TheLeaderIsNamed(t *testing.T) {
	id := kafka.NewUUID()
	img, d, err := new(metadata.Image).Apply(1, []metadata.Record{
		metadata.ClusterRecord{ClusterID: "c"},
		metadata.RegisterBrokerRecord{ID: testNode, Incarnation: kafka.NewUUID(), Epoch: 1, Endpoints: []metadata.Endpoint{{Name: internalListener, Host: "one", Port: 1}}},
		metadata.RegisterBrokerRecord{ID: 8, Incarnation: kafka.NewUUID(), Epoch: 2, Rack: "r", Endpoints: []metadata.Endpoint{{Name: internalListener, Host: "eight", Port: 8}}},
		metadata.TopicRecord{ID: id, Name: "t", Version: 1},
		metadata.PartitionRecord{TopicID: id, Partition: metadata.Partition{
			Replicas: []int32{8, testNode}, Dirs: make([]kafka.UUID, 2), ISR: []int32{8, testNode}, Leader: 8, LeaderEpoch: 3,
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	k := newKitOn(t, picture{image: img, leader: testNode})
	if err := k.replicas.Apply(img, d); err != nil {
		t.Fatal(err)
	}
	c := k.dial(internalListener)
	fetched := ask[*kmsg.FetchResponse](c, 16, fetchRequest("", id, 0))
	p := fetched.Topics[0].Partitions[0]
	if p.ErrorCode != int16(kafka.NotLeaderOrFollower) || p.CurrentLeader.LeaderID != 8 || p.CurrentLeader.LeaderEpoch != 3 {
		t.Errorf("fetch: %+v", p)
	}
	if len(fetched.Brokers) != 1 || fetched.Brokers[0].Host != "eight" || fetched.Brokers[0].Port != 8 || text(fetched.Brokers[0].Rack) != "r" {
		t.Errorf("fetch: endpoints %+v", fetched.Brokers)
	}
	produced := ask[*kmsg.ProduceResponse](c, 10, produceRequest("t", id, 1, recordsOf("a")))
	q := produced.Topics[0].Partitions[0]
	if q.ErrorCode != int16(kafka.NotLeaderOrFollower) || q.CurrentLeader.LeaderID != 8 || q.CurrentLeader.LeaderEpoch != 3 || len(produced.Brokers) != 1 {
		t.Errorf("produce: %+v, endpoints %+v", q, produced.Brokers)
	}
	if q := k.dial(externalListener).produced(10, produceRequest("t", id, 1, recordsOf("a"))); q.CurrentLeader.LeaderID != -1 {
		t.Errorf("on a listener that the leader does not have: %+v", q.CurrentLeader)
	}
}

func TestF7TopicIDs(t *testing.T) {
	k := newKit(t)
	old := k.topic("t")
	c := k.dial(internalListener)
	c.produce("t", recordsOf("old"))
	del := kmsg.NewPtrDeleteTopicsRequest()
	del.TopicNames = []string{"t"}
	ask[*kmsg.DeleteTopicsResponse](c, 3, del)
	id := k.topic("t")
	c.produce("t", recordsOf("new"))
	if p := c.fetched(13, fetchRequest("", old, 0)); p.ErrorCode != int16(kafka.UnknownTopicID) || len(p.RecordBatches) > 0 {
		t.Errorf("the old id: %+v", p)
	}
	if got := values(t, c.fetched(13, fetchRequest("", id, 0)).RecordBatches); !reflect.DeepEqual(got, []string{"new"}) {
		t.Errorf("the new id reads %q", got)
	}
}

func TestF8OldVersionsAreNotServed(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	for v := range int16(4) {
		c := k.dial(internalListener)
		req := fetchRequest("t", kafka.UUID{}, 0)
		req.SetVersion(v)
		c.send(req)
		c.wantClosed()
	}
	k.wantAlive()
}

func TestFollowersAreNotServedYet(t *testing.T) {
	k := newKit(t)
	id := k.topic("t")
	c := k.dial(internalListener)
	req := fetchRequest("t", id, 0)
	req.ReplicaID, req.ReplicaState.ID = 8, 8
	for _, v := range []int16{12, 17} {
		if p := c.fetched(v, req); p.ErrorCode != int16(kafka.NotLeaderOrFollower) {
			t.Errorf("v%d: error %d", v, p.ErrorCode)
		}
	}
}

// TestFranzGoRoundTrip has a real client, idempotent and with every codec, produce on many
// partitions at once and read all of it back.
func TestFranzGoRoundTrip(t *testing.T) {
	k := newKit(t)
	const partitions, records = 3, 2000
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics = append(req.Topics, newTopic("t", partitions, 1))
	ask[*kmsg.CreateTopicsResponse](k.dial(internalListener), 7, req)
	seed := kgo.SeedBrokers(k.srv.Addr(internalListener).String())
	ctx := testContext(t)

	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
	var wg sync.WaitGroup
	for i, codec := range codecs {
		wg.Go(func() { produceAll(ctx, t, i, records, seed, kgo.ProducerBatchCompression(codec)) })
	}
	from := make(map[int32]kgo.Offset)
	for i := range int32(partitions) {
		from[i] = kgo.NewOffset().AtStart()
	}
	cl, err := kgo.NewClient(seed, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"t": from}), kgo.FetchMaxWait(200*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	seen := make(map[string]int)
	next := make(map[int32]int64)
	for len(seen) < len(codecs)*records {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%v after %d records", err, len(seen))
		}
		fetches.EachRecord(func(r *kgo.Record) {
			seen[string(r.Value)]++
			if r.Offset != next[r.Partition] {
				t.Errorf("partition %d: offset %d after %d", r.Partition, r.Offset, next[r.Partition]-1)
			}
			next[r.Partition] = r.Offset + 1
		})
	}
	wg.Wait()
	for v, n := range seen {
		if n != 1 {
			t.Errorf("%s was read %d times", v, n)
		}
	}
}

func produceAll(ctx context.Context, t *testing.T, producer, records int, opts ...kgo.Opt) {
	cl, err := kgo.NewClient(append(opts, kgo.DefaultProduceTopic("t"), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))...)
	if err != nil {
		t.Error(err)
		return
	}
	defer cl.Close()
	for i := range records {
		cl.Produce(ctx, &kgo.Record{Value: fmt.Appendf(nil, "%d/%d", producer, i)}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		t.Error(err)
	}
}
