package api

import (
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// ListPartitionReassignments, version 0: which partitions are on the move (KIP-455).
//
// Gaps: partitions do not move between brokers yet, so there are none.
func (a admin) listPartitionReassignments(r *server.Request) error {
	var req wire.ListPartitionReassignmentsRequest
	if err := read(r, &req); err != nil {
		return err
	}
	var resp wire.ListPartitionReassignmentsResponse
	resp.Default()
	resp.ErrorCode, resp.ErrorMessage = a.failure(a.by(r).cluster(kafka.OpDescribe))
	reply(r, &resp)
	return nil
}
