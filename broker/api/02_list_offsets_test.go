package api

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/replica"
	"github.com/varve-io/varve/broker/wire"
)

// listRequest asks for the offsets of times in partition 0 of "t".
func listRequest(tsMs int64) *kmsg.ListOffsetsRequest {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.TimeoutMillis = -1, 5000
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = "t"
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.CurrentLeaderEpoch, p.Timestamp = -1, tsMs
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

func (c *client) listed(version int16, req *kmsg.ListOffsetsRequest) kmsg.ListOffsetsResponseTopicPartition {
	c.t.Helper()
	return ask[*kmsg.ListOffsetsResponse](c, version, req).Topics[0].Partitions[0]
}

func TestF11ListOffsetsAtEveryVersion(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	c := k.dial(internalListener)
	for _, ms := range []int64{1000, 3000, 2000} {
		c.produce("t", buildBatch(batch.Builder{BaseTimestampMs: ms}, "a", "b"))
	}
	row := k.api.byKey[wire.KeyListOffsets]
	for v := row.min; v <= row.max; v++ {
		for _, q := range []struct {
			ts, off, found int64
			since          int16
		}{
			{replica.Latest, 6, -1, 1}, {replica.Earliest, 0, -1, 1}, {replica.MaxTimestamp, 2, 3000, 7},
			{replica.EarliestLocal, 0, -1, 8}, {replica.LatestTiered, -1, -1, 9}, {replica.EarliestPendingUpload, -1, -1, 11},
			{-7, -1, -1, 99}, {0, 0, 1000, 1}, {1000, 0, 1000, 1}, {1001, 2, 3000, 1}, {3000, 2, 3000, 1}, {3001, -1, -1, 1},
		} {
			p := c.listed(v, listRequest(q.ts))
			if v < q.since {
				if p.ErrorCode != int16(kafka.UnsupportedVersion) {
					t.Errorf("v%d time %d: error %d, want UNSUPPORTED_VERSION", v, q.ts, p.ErrorCode)
				}
				continue
			}
			if p.ErrorCode != 0 || p.Offset != q.off || p.Timestamp != q.found {
				t.Errorf("v%d time %d: %+v, want offset %d and time %d", v, q.ts, p, q.off, q.found)
			}
		}
	}
}

// TestF12AnEmptyLogHasTheLeadersEpoch: what is appended first will be of it.
func TestF12AnEmptyLogHasTheLeadersEpoch(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	want := k.cluster.Image().Topic("t").Partitions[0].LeaderEpoch
	c := k.dial(internalListener)
	for _, ms := range []int64{replica.Latest, replica.Earliest, replica.EarliestLocal} {
		if p := c.listed(11, listRequest(ms)); p.Offset != 0 || p.LeaderEpoch != want {
			t.Errorf("at %d: %+v, want offset 0 of epoch %d", ms, p, want)
		}
	}
}

func TestListOffsetsErrors(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	c := k.dial(internalListener)
	none := listRequest(replica.Latest)
	none.Topics[0].Topic = "none"
	if p := c.listed(11, none); p.ErrorCode != int16(kafka.UnknownTopicOrPartition) || p.Offset != -1 {
		t.Errorf("an unknown topic: %+v", p)
	}
	newer := listRequest(replica.Latest)
	newer.Topics[0].Partitions[0].CurrentLeaderEpoch = 1000
	if p := c.listed(11, newer); p.ErrorCode != int16(kafka.UnknownLeaderEpoch) {
		t.Errorf("a newer epoch: %+v", p)
	}
	twice := listRequest(replica.Latest)
	twice.Topics[0].Partitions = append(twice.Topics[0].Partitions, twice.Topics[0].Partitions...)
	if p := c.listed(11, twice); p.ErrorCode != int16(kafka.InvalidRequest) {
		t.Errorf("a partition named twice: %+v", p)
	}
}
