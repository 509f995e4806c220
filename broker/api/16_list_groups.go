package api

import (
	"slices"
	"strings"

	"github.com/varve-io/varve/broker/coordinator/group"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// ListGroups, versions 0 to 5: the groups that this broker coordinates, by id. 4: by state
// (KIP-518). 5: by type (KIP-848).
func (a groups) listGroups(r *server.Request) error {
	var req wire.ListGroupsRequest
	if err := read(r, &req); err != nil {
		return err
	}
	all := a.by(r).allowed(kafka.OpDescribe, kafka.ResourceCluster, kafka.ClusterResource)
	a.o.Groups.List(req.StatesFilter, req.TypesFilter, func(groups []group.Listed, code kafka.Error) {
		slices.SortFunc(groups, func(a, b group.Listed) int { return strings.Compare(a.ID, b.ID) })
		resp := wire.ListGroupsResponse{ErrorCode: int16(code)}
		for _, g := range groups {
			if !all && !a.by(r).allowed(kafka.OpDescribe, kafka.ResourceGroup, g.ID) {
				continue
			}
			resp.Groups = append(resp.Groups, wire.ListGroupsResponseGroup{
				GroupID: g.ID, ProtocolType: g.ProtocolType, GroupState: string(g.State), GroupType: g.Type,
			})
		}
		reply(r, &resp)
	})
	return nil
}
