package api

import (
	"slices"
	"sync/atomic"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// DescribeGroups, versions 0 to 6: state and members of classic groups.
//
//   - A group that does not exist is "Dead", from 6 on with GROUP_ID_NOT_FOUND (KIP-1043).
//   - 3: authorized operations (KIP-430).
func (a groups) describeGroups(r *server.Request) error {
	var req wire.DescribeGroupsRequest
	if err := read(r, &req); err != nil {
		return err
	}
	var resp wire.DescribeGroupsResponse
	if len(req.Groups) == 0 {
		reply(r, &resp)
		return nil
	}
	ids := slices.Clone(req.Groups)
	resp.Groups = make([]wire.DescribeGroupsResponseGroup, len(ids))
	var left atomic.Int64
	left.Store(int64(len(ids)))
	for i, id := range ids {
		answer := func(g wire.DescribeGroupsResponseGroup) {
			if g.ErrorCode == int16(kafka.GroupIDNotFound) && r.Header.Version < 6 {
				g.ErrorCode, g.ErrorMessage = 0, nil
			}
			if req.IncludeAuthorizedOperations && g.ErrorCode == 0 {
				g.AuthorizedOperations = a.by(r).operations(kafka.ResourceGroup, id)
			}
			resp.Groups[i] = g
			if left.Add(-1) == 0 {
				reply(r, &resp)
			}
		}
		if err := a.by(r).group(kafka.OpDescribe, id); err != nil {
			var g wire.DescribeGroupsResponseGroup
			g.Default()
			g.GroupID = id
			g.ErrorCode, g.ErrorMessage = a.failure(err)
			answer(g)
			continue
		}
		a.o.Groups.Describe(id, answer)
	}
	return nil
}
