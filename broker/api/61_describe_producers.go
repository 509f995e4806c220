package api

import (
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/replica"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// DescribeProducers, version 0: the producers that partitions know, with their open
// transactions, for those who look for one that hangs (KIP-664). Any replica answers.
// Producers that have expired are left out, whether or not the log has swept them yet.
func (a *API) describeProducers(r *server.Request) error {
	var req wire.DescribeProducersRequest
	if err := read(r, &req); err != nil {
		return err
	}
	var resp wire.DescribeProducersResponse
	resp.Default()
	resp.Topics = make([]wire.DescribeProducersResponseTopic, len(req.Topics))
	var partitions []*replica.Partition
	var places []*wire.DescribeProducersResponsePartition
	for i := range req.Topics {
		from, to := &req.Topics[i], &resp.Topics[i]
		to.Name = from.Name
		to.Partitions = make([]wire.DescribeProducersResponsePartition, len(from.PartitionIndexes))
		badName := a.by(r).topic(kafka.OpRead, from.Name)
		if badName == nil {
			badName = metadata.ValidateTopicName(from.Name)
		}
		for j, index := range from.PartitionIndexes {
			out := &to.Partitions[j]
			out.PartitionIndex = index
			p, err := a.o.Replicas.Partition(from.Name, index)
			if badName != nil {
				err = badName
			}
			if err != nil {
				out.ErrorCode, out.ErrorMessage = a.failure(err)
				continue
			}
			partitions, places = append(partitions, p), append(places, out)
		}
	}
	a.o.Replicas.Producers(partitions, func(results []replica.ProducersResult) {
		for i := range results {
			a.producers(&results[i], places[i])
		}
		reply(r, &resp)
	})
	return nil
}

// producers fills one partition in.
func (a *API) producers(res *replica.ProducersResult, out *wire.DescribeProducersResponsePartition) {
	out.ErrorCode, out.ErrorMessage = a.failure(res.Err)
	out.ActiveProducers = make([]wire.DescribeProducersResponseProducer, len(res.Producers))
	for i, p := range res.Producers {
		out.ActiveProducers[i] = wire.DescribeProducersResponseProducer{
			ProducerID: p.ProducerID, ProducerEpoch: int32(p.Epoch), LastSequence: p.LastSequence,
			LastTimestamp: p.TimestampMs, CoordinatorEpoch: p.CoordinatorEpoch, CurrentTxnStartOffset: p.TxnFirstOffset,
		}
	}
}
