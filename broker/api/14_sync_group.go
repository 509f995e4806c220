package api

import (
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// SyncGroup, versions 0 to 5: the leader hands in what each member is to do, and every member
// gets its share.
//
//   - A member that is faster than the leader waits. The assignment is written to the offsets
//     topic before anybody is told.
//   - 5: names the protocol, which is checked (KIP-559).
func (a groups) syncGroup(r *server.Request) error {
	req := new(wire.SyncGroupRequest)
	if err := read(r, req); err != nil {
		return err
	}
	if r.Header.Version >= 5 && (req.ProtocolType == nil || req.ProtocolName == nil) {
		reply(r, &wire.SyncGroupResponse{ErrorCode: int16(kafka.InconsistentGroupProtocol)})
		return nil
	}
	if err := a.by(r).group(kafka.OpRead, req.GroupID); err != nil {
		reply(r, &wire.SyncGroupResponse{ErrorCode: int16(kafka.Code(err))})
		return nil
	}
	a.o.Groups.Sync(req, func(resp *wire.SyncGroupResponse) { reply(r, resp) })
	return nil
}
