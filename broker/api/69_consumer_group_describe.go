package api

import (
	"slices"
	"sync/atomic"

	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// ConsumerGroupDescribe, versions 0 and 1 (KIP-848): state, epochs, members and assignments of
// groups of the consumer protocol.
//
//   - Any other group, and one that does not exist, gets GROUP_ID_NOT_FOUND.
//   - 1: which protocol a member speaks (KIP-1099).
func (a groups) consumerGroupDescribe(r *server.Request) error {
	var req wire.ConsumerGroupDescribeRequest
	if err := read(r, &req); err != nil {
		return err
	}
	var resp wire.ConsumerGroupDescribeResponse
	if len(req.GroupIDs) == 0 {
		reply(r, &resp)
		return nil
	}
	ids := slices.Clone(req.GroupIDs)
	resp.Groups = make([]wire.ConsumerGroupDescribeResponseGroup, len(ids))
	var left atomic.Int64
	left.Store(int64(len(ids)))
	for i, id := range ids {
		a.o.Groups.DescribeConsumer(id, func(g wire.ConsumerGroupDescribeResponseGroup) {
			if req.IncludeAuthorizedOperations && g.ErrorCode == 0 {
				g.AuthorizedOperations = groupOperations
			}
			resp.Groups[i] = g
			if left.Add(-1) == 0 {
				reply(r, &resp)
			}
		})
	}
	return nil
}
