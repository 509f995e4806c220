package api

import (
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// JoinGroup, versions 0 to 9: joins a group, and waits until its members are complete.
//
//   - 0 has no rebalance timeout: it is the session timeout. 4: a new member is told its id
//     first (KIP-394). 5: static members (KIP-345). 9: a leader may be told that there is
//     nothing to assign (KIP-814).
//   - The connection stays with the request; a member sends its heartbeats when it has joined.
//
// Gaps: every group is a classic one. Kafka 4 advertises 0 and 1 but refuses them; here they
// are served, for clients that pin them.
func (a groups) joinGroup(r *server.Request) error {
	req := new(wire.JoinGroupRequest)
	if err := read(r, req); err != nil {
		return err
	}
	if r.Header.Version == 0 {
		req.RebalanceTimeoutMs = req.SessionTimeoutMs
	}
	if err := a.by(r).group(kafka.OpRead, req.GroupID); err != nil {
		reply(r, deniedJoin(err))
		return nil
	}
	a.o.Groups.Join(memberClient(r), req, func(resp *wire.JoinGroupResponse) { reply(r, resp) })
	return nil
}

// deniedJoin is the answer to who may not join. Source: Kafka's JoinGroupRequest.getErrorResponse.
func deniedJoin(err error) *wire.JoinGroupResponse {
	resp := new(wire.JoinGroupResponse)
	resp.Default()
	resp.ErrorCode, resp.GenerationID = int16(kafka.Code(err)), -1
	return resp
}
