package api

import (
	"github.com/varve-io/varve/broker/controller"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// DeleteAcls, versions 1 to 3: takes away all rules of access that filters find, and tells which.
//
// When the answer leaves, the rules hold no more on this broker.
//
// Gaps: the request is not forwarded, so it has to reach the controller.
func (a admin) deleteACLs(r *server.Request) error {
	var req wire.DeleteAclsRequest
	if err := read(r, &req); err != nil {
		return err
	}
	filters := make([]kafka.ACLFilter, len(req.Filters))
	for i, f := range req.Filters {
		filters[i] = kafka.ACLFilter{
			Resource: kafka.ACLResource(f.ResourceType), Name: f.ResourceName, Pattern: kafka.ACLPattern(f.ResourcePatternType),
			Principal: f.Principal, Host: f.Host, Operation: kafka.ACLOperation(f.Operation), Permission: kafka.ACLPermission(f.PermissionType),
		}
	}
	if err := a.mayAlterACLs(r); err != nil {
		results := make([]controller.DeletedACLs, len(filters))
		for i := range results {
			results[i].Err = err
		}
		reply(r, a.deletedACLs(results))
		return nil
	}
	r.Go(func() {
		results := a.o.Cluster.ACLs().Delete(r.Ctx, filters)
		for _, res := range results {
			for _, rule := range res.Rules {
				a.by(r).did(nil, "rule", rule.String())
			}
		}
		reply(r, a.deletedACLs(results))
	})
	return nil
}

// deletedACLs is the answer with what became of each filter.
func (a admin) deletedACLs(results []controller.DeletedACLs) *wire.DeleteAclsResponse {
	resp := new(wire.DeleteAclsResponse)
	resp.Default()
	resp.Results = make([]wire.DeleteAclsResponseResult, len(results))
	for i, res := range results {
		out := &resp.Results[i]
		out.ErrorCode, out.ErrorMessage = a.failure(res.Err)
		for _, rule := range res.Rules {
			out.MatchingACLs = append(out.MatchingACLs, wire.DeleteAclsResponseMatchingACL{
				ResourceType: int8(rule.Resource), ResourceName: rule.Name, ResourcePatternType: int8(rule.Pattern),
				Principal: rule.Principal, Host: rule.Host, Operation: int8(rule.Operation), PermissionType: int8(rule.Permission),
			})
		}
	}
	return resp
}
