package api

import (
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// LeaveGroup, versions 0 to 5: takes members out of a group.
//
//   - 3: many members, and static ones by instance id alone, which is how an administrator
//     removes them (KIP-345). Before, the error of the one member is the error of the answer.
func (a groups) leaveGroup(r *server.Request) error {
	var req wire.LeaveGroupRequest
	if err := read(r, &req); err != nil {
		return err
	}
	one := r.Header.Version < 3
	if one {
		req.Members = []wire.LeaveGroupRequestMember{{MemberID: req.MemberID}}
	}
	if err := a.by(r).group(kafka.OpRead, req.GroupID); err != nil {
		reply(r, &wire.LeaveGroupResponse{ErrorCode: int16(kafka.Code(err))})
		return nil
	}
	a.o.Groups.Leave(req.GroupID, req.Members, func(members []wire.LeaveGroupResponseMember, code kafka.Error) {
		resp := wire.LeaveGroupResponse{ErrorCode: int16(code), Members: members}
		if one && code == kafka.NoError {
			resp.ErrorCode = members[0].ErrorCode
		}
		reply(r, &resp)
	})
	return nil
}
