package api

import (
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// Heartbeat, versions 0 to 4: keeps a member's session; REBALANCE_IN_PROGRESS asks it to join
// again. 3: static members (KIP-345).
func (a groups) heartbeat(r *server.Request) error {
	req := new(wire.HeartbeatRequest)
	if err := read(r, req); err != nil {
		return err
	}
	if err := a.by(r).group(kafka.OpRead, req.GroupID); err != nil {
		reply(r, &wire.HeartbeatResponse{ErrorCode: int16(kafka.Code(err))})
		return nil
	}
	a.o.Groups.Heartbeat(req, func(code kafka.Error) { reply(r, &wire.HeartbeatResponse{ErrorCode: int16(code)}) })
	return nil
}
