package api

import (
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// CreateAcls, versions 1 to 3: adds rules of access. One that is there already is no error.
//
// When the answer leaves, the rules hold on this broker.
//
// Gaps: the request is not forwarded, so it has to reach the controller.
func (a admin) createACLs(r *server.Request) error {
	var req wire.CreateAclsRequest
	if err := read(r, &req); err != nil {
		return err
	}
	rules := make([]kafka.ACL, len(req.Creations))
	for i, c := range req.Creations {
		rules[i] = kafka.ACL{
			Resource: kafka.ACLResource(c.ResourceType), Name: c.ResourceName, Pattern: kafka.ACLPattern(c.ResourcePatternType),
			Principal: c.Principal, Host: c.Host, Operation: kafka.ACLOperation(c.Operation), Permission: kafka.ACLPermission(c.PermissionType),
		}
	}
	answer := func(err func(i int) error) {
		var resp wire.CreateAclsResponse
		resp.Default()
		resp.Results = make([]wire.CreateAclsResponseResult, len(rules))
		for i := range rules {
			out := &resp.Results[i]
			out.ErrorCode, out.ErrorMessage = a.outcome(err(i))
		}
		reply(r, &resp)
	}
	if err := a.mayAlterACLs(r); err != nil {
		answer(func(int) error { return err })
		return nil
	}
	r.Go(func() {
		errs := a.o.Cluster.ACLs().Create(r.Ctx, rules)
		for i, err := range errs {
			a.by(r).did(err, "rule", rules[i].String())
		}
		answer(func(i int) error { return errs[i] })
	})
	return nil
}

// mayAlterACLs says why the client can change no rules.
func (a admin) mayAlterACLs(r *server.Request) error {
	if a.o.Authorizer == nil {
		return errNoAuthorizer
	}
	return a.by(r).cluster(kafka.OpAlter)
}
