package api

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
)

func TestI14DescribeProducers(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	c := k.dial(internalListener)
	c.produce("t", recordsOf("nobody's"))
	c.produce("t", buildBatch(batch.Builder{ProducerID: 7, ProducerEpoch: 2, BaseTimestampMs: 1_700_000_000_000}, "a", "b"))
	req := kmsg.NewPtrDescribeProducersRequest()
	req.Topics = []kmsg.DescribeProducersRequestTopic{
		{Topic: "t", Partitions: []int32{0, 5}}, {Topic: "none", Partitions: []int32{0}}, {Topic: "no such/name", Partitions: []int32{0}},
	}
	resp := ask[*kmsg.DescribeProducersResponse](c, 0, req)
	if len(resp.Topics) != 3 || len(resp.Topics[0].Partitions) != 2 {
		t.Fatalf("answer %+v", resp)
	}
	p := resp.Topics[0].Partitions[0]
	if p.ErrorCode != 0 || p.ErrorMessage != nil || len(p.ActiveProducers) != 1 {
		t.Fatalf("partition %+v", p)
	}
	if got := p.ActiveProducers[0]; got.ProducerID != 7 || got.ProducerEpoch != 2 || got.LastSequence != 1 ||
		got.LastTimestamp != 1_700_000_000_000 || got.CoordinatorEpoch != -1 || got.CurrentTxnStartOffset != -1 {
		t.Errorf("producer %+v", got)
	}
	for i, got := range []kmsg.DescribeProducersResponseTopicPartition{resp.Topics[0].Partitions[1], resp.Topics[1].Partitions[0], resp.Topics[2].Partitions[0]} {
		want := []kafka.Error{kafka.UnknownTopicOrPartition, kafka.UnknownTopicOrPartition, kafka.InvalidTopic}[i]
		if got.ErrorCode != int16(want) || got.ErrorMessage == nil || len(got.ActiveProducers) != 0 {
			t.Errorf("%+v, want error %v", got, want)
		}
	}
}
