package api

import (
	"context"
	"time"

	"github.com/varve-io/varve/broker/controller"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// AlterPartitionReassignments, versions 0 to 1: changes which brokers hold a partition (KIP-455).
//
//   - The brokers of now in another order are taken over at once; there is no move to cancel,
//     so that gets NO_REASSIGNMENT_IN_PROGRESS.
//   - 1: whether the number of replicas may change (KIP-860).
//
// Gaps: partitions do not move between brokers yet: other brokers than those of now get
// INVALID_REPLICA_ASSIGNMENT.
func (a admin) alterPartitionReassignments(r *server.Request) error {
	var req wire.AlterPartitionReassignmentsRequest
	if err := read(r, &req); err != nil {
		return err
	}
	if err := a.by(r).cluster(kafka.OpAlter); err != nil {
		var resp wire.AlterPartitionReassignmentsResponse
		resp.Default()
		resp.ErrorCode, resp.ErrorMessage = a.failure(err)
		resp.Responses = a.reassigned(&req, func() error { return err })
		reply(r, &resp)
		return nil
	}
	var moves []controller.Reassignment
	for i := range req.Topics {
		for _, p := range req.Topics[i].Partitions {
			moves = append(moves, controller.Reassignment{
				TopicPartition: kafka.TopicPartition{Topic: req.Topics[i].Name, Partition: p.PartitionIndex}, Replicas: p.Replicas,
			})
		}
	}
	r.Go(func() {
		ctx, cancel := context.WithTimeout(r.Ctx, time.Duration(max(req.TimeoutMs, 0))*time.Millisecond)
		defer cancel()
		var resp wire.AlterPartitionReassignmentsResponse
		resp.Default()
		resp.AllowReplicationFactorChange = req.AllowReplicationFactorChange
		if len(req.Topics) == 0 {
			resp.ErrorMessage = new(string) // Kafka's is empty where others are null
		}
		errs := a.o.Cluster.Reassign(ctx, moves, req.AllowReplicationFactorChange)
		for i, m := range moves {
			a.by(r).did(errs[i], "partition", m.TopicPartition.String(), "replicas", m.Replicas)
		}
		resp.Responses = a.reassigned(&req, func() error {
			err := errs[0]
			errs = errs[1:]
			return err
		})
		reply(r, &resp)
	})
	return nil
}

// reassigned tells what became of each partition, in the order of the request.
func (a admin) reassigned(req *wire.AlterPartitionReassignmentsRequest, next func() error) (all []wire.AlterPartitionReassignmentsResponseTopic) {
	for i := range req.Topics {
		out := wire.AlterPartitionReassignmentsResponseTopic{Name: req.Topics[i].Name}
		for _, asked := range req.Topics[i].Partitions {
			p := wire.AlterPartitionReassignmentsResponsePartition{PartitionIndex: asked.PartitionIndex}
			p.ErrorCode, p.ErrorMessage = a.failure(next())
			out.Partitions = append(out.Partitions, p)
		}
		all = append(all, out)
	}
	return all
}
