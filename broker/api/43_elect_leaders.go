package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/varve-io/varve/broker/controller"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// ElectLeaders, versions 0 to 2: elects leaders of partitions.
//
//   - A partition that has the wanted leader gets ELECTION_NOT_NEEDED, and is left out when
//     all partitions are asked for.
//   - 1: unclean elections (KIP-460), and an error of the request as a whole.
//
// Gaps: the request is not forwarded, so it has to reach the controller.
func (a admin) electLeaders(r *server.Request) error {
	var req wire.ElectLeadersRequest
	if err := read(r, &req); err != nil {
		return err
	}
	r.Go(func() {
		ctx, cancel := context.WithTimeout(r.Ctx, time.Duration(max(req.TimeoutMs, 0))*time.Millisecond)
		defer cancel()
		reply(r, a.electAll(ctx, r, &req))
	})
	return nil
}

func (a admin) electAll(ctx context.Context, r *server.Request, req *wire.ElectLeadersRequest) *wire.ElectLeadersResponse {
	var resp wire.ElectLeadersResponse
	resp.Default()
	topics, all := req.TopicPartitions, req.TopicPartitions == nil
	if all {
		for t := range a.o.Cluster.Image().Topics() {
			topic := wire.ElectLeadersRequestTopic{Topic: t.Name}
			for i := range t.Partitions {
				topic.Partitions = append(topic.Partitions, int32(i))
			}
			topics = append(topics, topic)
		}
	}
	var partitions []kafka.TopicPartition
	for i := range topics {
		for _, index := range topics[i].Partitions {
			partitions = append(partitions, kafka.TopicPartition{Topic: topics[i].Topic, Partition: index})
		}
	}
	kind := controller.Election(req.ElectionType)
	errs := make([]error, len(partitions))
	denied := a.by(r).cluster(kafka.OpAlter)
	if denied != nil && all {
		resp.ErrorCode, _ = a.failure(denied)
		return &resp
	}
	if denied == nil && (kind == controller.Preferred || kind == controller.Unclean) {
		errs = a.o.Cluster.ElectLeaders(ctx, kind, partitions)
	} else {
		err := fmt.Errorf("election of kind %d: want 0 for the preferred replica, 1 for any: %w", kind, kafka.InvalidRequest)
		if denied != nil {
			err = denied
		}
		resp.ErrorCode, _ = a.failure(err)
		for i := range errs {
			errs[i] = err
		}
	}
	for i := range topics {
		out := wire.ElectLeadersResponseTopic{Topic: topics[i].Topic}
		for _, index := range topics[i].Partitions {
			err := errs[0]
			errs = errs[1:]
			if all && errors.Is(err, kafka.ElectionNotNeeded) {
				continue
			}
			p := wire.ElectLeadersResponsePartition{PartitionID: index}
			p.ErrorCode, p.ErrorMessage = a.failure(err)
			a.by(r).did(err, "partition", kafka.TopicPartition{Topic: topics[i].Topic, Partition: index}.String())
			out.PartitionResult = append(out.PartitionResult, p)
		}
		resp.ReplicaElectionResults = append(resp.ReplicaElectionResults, out)
	}
	return &resp
}
