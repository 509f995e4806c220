package api

import (
	"fmt"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// errNoAuthorizer is what requests about rules get while nothing is checked against them.
var errNoAuthorizer = fmt.Errorf("No Authorizer is configured on the broker: %w", kafka.SecurityDisabled)

// DescribeAcls, versions 1 to 3: the rules of access that a filter finds, by resource.
//
// Gaps: none known.
func (a admin) describeACLs(r *server.Request) error {
	var req wire.DescribeAclsRequest
	if err := read(r, &req); err != nil {
		return err
	}
	var resp wire.DescribeAclsResponse
	resp.Default()
	filter := kafka.ACLFilter{
		Resource: kafka.ACLResource(req.ResourceType), Name: req.ResourceName, Pattern: kafka.ACLPattern(req.ResourcePatternType),
		Principal: req.Principal, Host: req.Host, Operation: kafka.ACLOperation(req.Operation), Permission: kafka.ACLPermission(req.PermissionType),
	}
	err := a.by(r).cluster(kafka.OpDescribe)
	if err == nil && a.o.Authorizer == nil {
		err = errNoAuthorizer
	}
	if err == nil {
		err = filter.Valid()
	}
	if resp.ErrorCode, resp.ErrorMessage = a.outcome(err); err != nil {
		reply(r, &resp)
		return nil
	}
	type resource struct {
		kind    kafka.ACLResource
		pattern kafka.ACLPattern
		name    string
	}
	at := map[resource]int{}
	for rule := range a.o.Cluster.Image().ACLs() {
		if !filter.Matches(rule) {
			continue
		}
		key := resource{rule.Resource, rule.Pattern, rule.Name}
		i, there := at[key]
		if !there {
			i = len(resp.Resources)
			at[key] = i
			resp.Resources = append(resp.Resources, wire.DescribeAclsResponseResource{
				ResourceType: int8(rule.Resource), ResourceName: rule.Name, ResourcePatternType: int8(rule.Pattern),
			})
		}
		resp.Resources[i].ACLs = append(resp.Resources[i].ACLs, wire.DescribeAclsResponseACL{
			Principal: rule.Principal, Host: rule.Host, Operation: int8(rule.Operation), PermissionType: int8(rule.Permission),
		})
	}
	reply(r, &resp)
	return nil
}
