package api

import (
	"context"
	"fmt"
	"time"

	"github.com/varve-io/varve/broker/controller"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// CreatePartitions, versions 0 to 3: adds partitions to topics, or only checks whether it could.
//
//   - The count is that of all partitions afterwards, and must be an increase.
//   - A manual assignment names the brokers of each new partition.
//   - New partitions count against the client's quota, which refuses from 3 on (KIP-599).
//   - A topic that is named twice gets none. When the answer leaves, Metadata shows the new ones.
//
// Gaps: the request is not forwarded, so it has to reach the controller.
func (a admin) createPartitions(r *server.Request) error {
	var req wire.CreatePartitionsRequest
	if err := read(r, &req); err != nil {
		return err
	}
	r.Go(func() {
		ctx, cancel := context.WithTimeout(r.Ctx, time.Duration(max(req.TimeoutMs, 0))*time.Millisecond)
		defer cancel()
		reply(r, a.growAll(ctx, r, &req, mayMutate(a.o.Quotas, r, 3)))
	})
	return nil
}

// growAll lets the topics grow, and answers in the order of the request.
func (a admin) growAll(ctx context.Context, r *server.Request, req *wire.CreatePartitionsRequest, charge controller.Charge) *wire.CreatePartitionsResponse {
	var resp wire.CreatePartitionsResponse
	resp.Default()
	named := make(map[string]int, len(req.Topics))
	for i := range req.Topics {
		named[req.Topics[i].Name]++
	}
	var topics []controller.NewPartitions
	var place []int // of topics, in the answer
	for i := range req.Topics {
		asked := &req.Topics[i]
		out := wire.CreatePartitionsResponseResult{Name: asked.Name}
		switch n := named[asked.Name]; {
		case n == 0:
			continue // answered with its first mention
		case n > 1:
			named[asked.Name] = 0
			out.ErrorCode, out.ErrorMessage = a.failure(fmt.Errorf("%q is named more than once: %w", asked.Name, kafka.InvalidRequest))
		default:
			if err := a.by(r).topic(kafka.OpAlter, asked.Name); err != nil {
				out.ErrorCode, out.ErrorMessage = a.failure(err)
				break
			}
			topics, place = append(topics, newPartitions(asked, charge)), append(place, len(resp.Results))
		}
		resp.Results = append(resp.Results, out)
	}
	if len(topics) == 0 {
		return &resp
	}
	for i, err := range a.o.Cluster.CreatePartitions(ctx, topics, req.ValidateOnly) {
		out := &resp.Results[place[i]]
		out.ErrorCode, out.ErrorMessage = a.failure(err)
		if !req.ValidateOnly {
			a.by(r).did(err, "topic", topics[i].Topic, "partitions", topics[i].Count)
		}
	}
	return &resp
}

func newPartitions(asked *wire.CreatePartitionsRequestTopic, charge controller.Charge) controller.NewPartitions {
	t := controller.NewPartitions{Topic: asked.Name, Count: asked.Count, Charge: charge}
	if asked.Assignments != nil {
		t.Assignments = make([][]int32, len(asked.Assignments))
		for i := range asked.Assignments {
			t.Assignments[i] = asked.Assignments[i].BrokerIDs
		}
	}
	return t
}
