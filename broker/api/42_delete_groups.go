package api

import (
	"sync/atomic"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// DeleteGroups, versions 0 to 3: deletes groups without members, and their offsets. 3: a
// message for each error (KIP-1331).
func (a groups) deleteGroups(r *server.Request) error {
	var req wire.DeleteGroupsRequest
	if err := read(r, &req); err != nil {
		return err
	}
	var ids []string // each once, in the order of the request
	seen := make(map[string]bool, len(req.GroupsNames))
	for _, id := range req.GroupsNames {
		if !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	resp := wire.DeleteGroupsResponse{Results: make([]wire.DeleteGroupsResponseResult, len(ids))}
	if len(ids) == 0 {
		reply(r, &resp)
		return nil
	}
	var left atomic.Int64
	left.Store(int64(len(ids)))
	for i, id := range ids {
		answer := func(code kafka.Error) {
			out := &resp.Results[i]
			out.GroupID, out.ErrorCode = id, int16(code)
			if code != kafka.NoError {
				text := code.Error()
				out.ErrorMessage = &text
			} else {
				a.by(r).did(nil, "group", id)
			}
			if left.Add(-1) == 0 {
				reply(r, &resp)
			}
		}
		if err := a.by(r).group(kafka.OpDelete, id); err != nil {
			answer(kafka.Code(err))
			continue
		}
		a.o.Groups.Delete(id, answer)
	}
	return nil
}
