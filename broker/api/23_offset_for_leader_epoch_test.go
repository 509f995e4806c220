package api

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/wire"
)

// epochEnd asks where an epoch of partition 0 of a topic ends.
func (c *client) epochEnd(version int16, topic string, epoch, current int32) kmsg.OffsetForLeaderEpochResponseTopicPartition {
	c.t.Helper()
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	req.ReplicaID = -1
	t := kmsg.NewOffsetForLeaderEpochRequestTopic()
	t.Topic = topic
	p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	p.LeaderEpoch, p.CurrentLeaderEpoch = epoch, current
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp := ask[*kmsg.OffsetForLeaderEpochResponse](c, version, req)
	if len(resp.Topics) != 1 || resp.Topics[0].Topic != topic || len(resp.Topics[0].Partitions) != 1 {
		c.t.Fatalf("answer %+v", resp)
	}
	return resp.Topics[0].Partitions[0]
}

func TestF10OffsetForLeaderEpochAtEveryVersion(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	c := k.dial(internalListener)
	c.produce("t", recordsOf("a", "b", "c"))
	epoch := k.cluster.Image().Topic("t").Partitions[0].LeaderEpoch
	row := k.api.byKey[wire.KeyOffsetForLeaderEpoch]
	for v := row.min; v <= row.max; v++ {
		for _, q := range []struct {
			asked, current int32
			err            kafka.Error
			epoch          int32
			end            int64
		}{
			{epoch, -1, kafka.NoError, epoch, 3},
			{epoch, epoch, kafka.NoError, epoch, 3},
			{epoch + 1, epoch, kafka.NoError, -1, -1},
			{-1, -1, kafka.NoError, -1, -1},
			{epoch, epoch + 1, kafka.UnknownLeaderEpoch, -1, -1},
		} {
			p := c.epochEnd(v, "t", q.asked, q.current)
			if p.ErrorCode != int16(q.err) || p.LeaderEpoch != q.epoch || p.EndOffset != q.end {
				t.Errorf("v%d %+v: %+v", v, q, p)
			}
		}
		if p := c.epochEnd(v, "none", 0, -1); p.ErrorCode != int16(kafka.UnknownTopicOrPartition) || p.EndOffset != -1 {
			t.Errorf("v%d, an unknown topic: %+v", v, p)
		}
	}
}
