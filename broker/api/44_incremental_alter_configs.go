package api

import (
	"github.com/varve-io/varve/broker/controller"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// IncrementalAlterConfigs, versions 0 to 1: changes single dynamic settings (KIP-339) of topics,
// of this broker, of all brokers, of groups and of client metrics subscriptions, and the level
// of the broker's log.
//
//   - The changes of a resource count together or not at all.
//   - APPEND and SUBTRACT start from the default where nothing is set, and are for lists only.
//   - A resource that is named twice, a setting that is named twice in one, and a null value
//     get INVALID_REQUEST.
//   - When the answer leaves, the change is in force on this broker.
//
// Gaps: the request is not forwarded, so it has to reach the controller.
func (a admin) incrementalAlterConfigs(r *server.Request) error {
	var req wire.IncrementalAlterConfigsRequest
	if err := read(r, &req); err != nil {
		return err
	}
	list := make([]alteration, len(req.Resources))
	for i := range req.Resources {
		from, to := &req.Resources[i], &list[i]
		to.kind, to.name = from.ResourceType, from.ResourceName
		for _, c := range from.Configs {
			to.edits = append(to.edits, edit{name: c.Name, op: controller.ConfigOp(c.ConfigOperation), value: c.Value})
		}
	}
	r.Go(func() {
		a.alter(r, list, req.ValidateOnly)
		var resp wire.IncrementalAlterConfigsResponse
		resp.Default()
		resp.Responses = make([]wire.IncrementalAlterConfigsResponseResource, len(list))
		for i := range list {
			out := &resp.Responses[i]
			out.ResourceType, out.ResourceName = list[i].kind, list[i].name
			out.ErrorCode, out.ErrorMessage = a.failure(list[i].err)
		}
		reply(r, &resp)
	})
	return nil
}
