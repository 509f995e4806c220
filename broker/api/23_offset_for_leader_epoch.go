package api

import (
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// OffsetForLeaderEpoch, versions 2 to 4: where leader epochs end, by which consumers find
// out that the log they were reading was truncated (KIP-101, KIP-320).
//
//   - Only the leader answers, whoever asks; it says where its own log ends, not the high
//     watermark. 3: who asks is told and makes no difference.
//   - An epoch that is unknown here is no error: epoch and offset are -1.
func (a *API) offsetForLeaderEpoch(r *server.Request) error {
	var req wire.OffsetForLeaderEpochRequest
	if err := read(r, &req); err != nil {
		return err
	}
	var resp wire.OffsetForLeaderEpochResponse
	resp.Default()
	all := a.by(r).allowed(kafka.OpClusterAction, kafka.ResourceCluster, kafka.ClusterResource)
	resp.Topics = make([]wire.OffsetForLeaderEpochResponseTopic, len(req.Topics))
	for i := range req.Topics {
		from, to := &req.Topics[i], &resp.Topics[i]
		to.Topic = from.Topic
		denied := error(nil)
		if !all {
			denied = a.by(r).topic(kafka.OpDescribe, from.Topic)
		}
		to.Partitions = make([]wire.OffsetForLeaderEpochResponsePartition, len(from.Partitions))
		for j := range from.Partitions {
			epochEnd(a, denied, from.Topic, &from.Partitions[j], &to.Partitions[j])
		}
	}
	reply(r, &resp)
	return nil
}

func epochEnd(a *API, denied error, topic string, from *wire.OffsetForLeaderEpochRequestPartition, to *wire.OffsetForLeaderEpochResponsePartition) {
	to.Partition, to.LeaderEpoch, to.EndOffset = from.Partition, kafka.NoEpoch, kafka.NoOffset
	if denied != nil {
		to.ErrorCode = int16(kafka.Code(denied))
		return
	}
	p, err := a.o.Replicas.Partition(topic, from.Partition)
	if err == nil {
		end, lookErr := p.EpochEnd(from.LeaderEpoch, from.CurrentLeaderEpoch)
		to.LeaderEpoch, to.EndOffset, err = end.Epoch, end.End, lookErr
	}
	to.ErrorCode, _ = a.failure(err)
}
