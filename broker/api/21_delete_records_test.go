package api

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/replica"
	"github.com/varve-io/varve/broker/wire"
)

// deleted deletes the records of partition 0 of a topic below an offset.
func (c *client) deleted(version int16, topic string, offset int64) kmsg.DeleteRecordsResponseTopicPartition {
	c.t.Helper()
	req := kmsg.NewPtrDeleteRecordsRequest()
	t := kmsg.NewDeleteRecordsRequestTopic()
	t.Topic = topic
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Offset = offset
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp := ask[*kmsg.DeleteRecordsResponse](c, version, req)
	if len(resp.Topics) != 1 || resp.Topics[0].Topic != topic || len(resp.Topics[0].Partitions) != 1 {
		c.t.Fatalf("answer %+v", resp)
	}
	return resp.Topics[0].Partitions[0]
}

func TestF13DeleteRecordsAtEveryVersion(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	c := k.dial(internalListener)
	c.produce("t", recordsOf("a", "b", "c", "d", "e"))
	row := k.api.byKey[wire.KeyDeleteRecords]
	for v := row.min; v <= row.max; v++ {
		start := int64(v) + 1
		if p := c.deleted(v, "t", start); p.ErrorCode != 0 || p.LowWatermark != start {
			t.Errorf("v%d: %+v, want low watermark %d", v, p, start)
		}
		if p := c.deleted(v, "t", 6); p.ErrorCode != int16(kafka.OffsetOutOfRange) || p.LowWatermark != -1 {
			t.Errorf("v%d above the high watermark: %+v", v, p)
		}
	}
	if p := c.fetched(12, fetchRequest("t", kafka.UUID{}, 2)); p.ErrorCode != int16(kafka.OffsetOutOfRange) {
		t.Errorf("below the start: %+v", p)
	}
	if p := c.fetched(12, fetchRequest("t", kafka.UUID{}, 3)); p.ErrorCode != 0 || p.LogStartOffset != 3 || len(p.RecordBatches) == 0 {
		t.Errorf("at the start: %+v", p)
	}
	if p := c.deleted(2, "t", -1); p.ErrorCode != 0 || p.LowWatermark != 5 {
		t.Errorf("all of it: %+v", p)
	}
	if p := c.listed(11, listRequest(replica.Earliest)); p.Offset != 5 {
		t.Errorf("the log starts at %d, want 5", p.Offset)
	}
}

func TestF13DeleteRecordsErrors(t *testing.T) {
	k := newKit(t)
	k.topic("compacted", "cleanup.policy", "compact")
	c := k.dial(internalListener)
	for topic, want := range map[string]kafka.Error{
		"none": kafka.UnknownTopicOrPartition, "compacted": kafka.PolicyViolation, "__consumer_offsets": kafka.InvalidTopic,
	} {
		if p := c.deleted(2, topic, -1); p.ErrorCode != int16(want) || p.LowWatermark != -1 {
			t.Errorf("%s: %+v, want %v", topic, p, want)
		}
	}
	if resp := ask[*kmsg.DeleteRecordsResponse](c, 2, kmsg.NewPtrDeleteRecordsRequest()); len(resp.Topics) != 0 {
		t.Errorf("nothing asked: %+v", resp)
	}
}

// TestF13NoTimeAtAll: a request that leaves no time is answered, whichever way it ends, and the
// broker lives.
func TestF13NoTimeAtAll(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	c := k.dial(internalListener)
	c.produce("t", recordsOf("a"))
	for i := range 200 {
		req := kmsg.NewPtrDeleteRecordsRequest()
		req.TimeoutMillis = -int32(i % 2)
		p := kmsg.NewDeleteRecordsRequestTopicPartition()
		p.Offset = 1
		req.Topics = append(req.Topics, kmsg.DeleteRecordsRequestTopic{Topic: "t", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{p}})
		code := kafka.Error(ask[*kmsg.DeleteRecordsResponse](c, 2, req).Topics[0].Partitions[0].ErrorCode)
		if code != kafka.NoError && code != kafka.RequestTimedOut {
			t.Fatalf("timeout %d: %v", req.TimeoutMillis, code)
		}
	}
}
