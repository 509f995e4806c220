package api

import (
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// AlterConfigs, versions 0 to 2: replaces all dynamic settings of a resource; what the request
// leaves out has its default again. Clients that can use IncrementalAlterConfigs.
//
//   - The rules are those of IncrementalAlterConfigs; log levels cannot be changed.
//
// Gaps: the request is not forwarded, so it has to reach the controller.
func (a admin) alterConfigs(r *server.Request) error {
	var req wire.AlterConfigsRequest
	if err := read(r, &req); err != nil {
		return err
	}
	list := make([]alteration, len(req.Resources))
	for i := range req.Resources {
		from, to := &req.Resources[i], &list[i]
		to.kind, to.name, to.replace = from.ResourceType, from.ResourceName, true
		for _, c := range from.Configs {
			to.edits = append(to.edits, edit{name: c.Name, value: c.Value})
		}
	}
	r.Go(func() {
		a.alter(r, list, req.ValidateOnly)
		var resp wire.AlterConfigsResponse
		resp.Default()
		resp.Responses = make([]wire.AlterConfigsResponseResource, len(list))
		for i := range list {
			out := &resp.Responses[i]
			out.ResourceType, out.ResourceName = list[i].kind, list[i].name
			out.ErrorCode, out.ErrorMessage = a.failure(list[i].err)
		}
		reply(r, &resp)
	})
	return nil
}
