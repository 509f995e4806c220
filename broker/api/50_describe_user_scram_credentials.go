package api

import (
	"fmt"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// DescribeUserScramCredentials, version 0: which credentials users have (KIP-554): mechanisms and
// iterations, never a key or a salt.
//
//   - Null and an empty list both mean all users.
//   - A user without any gets RESOURCE_NOT_FOUND, one that is named twice DUPLICATE_RESOURCE.
//
// Gaps: none known.
func (a admin) describeScram(r *server.Request) error {
	var req wire.DescribeUserScramCredentialsRequest
	if err := read(r, &req); err != nil {
		return err
	}
	img := a.o.Cluster.Image()
	var resp wire.DescribeUserScramCredentialsResponse
	resp.Default()
	resp.ErrorMessage = new(string)
	if err := a.by(r).cluster(kafka.OpDescribe); err != nil {
		resp.ErrorCode, resp.ErrorMessage = a.failure(err)
		reply(r, &resp)
		return nil
	}
	at := map[string]int{} // of a user in the results
	add := func(c metadata.ScramCredential) {
		i, there := at[c.User]
		if !there {
			i = len(resp.Results)
			at[c.User] = i
			resp.Results = append(resp.Results, wire.DescribeUserScramCredentialsResponseResult{User: c.User, ErrorMessage: new(string)})
		}
		resp.Results[i].CredentialInfos = append(resp.Results[i].CredentialInfos,
			wire.DescribeUserScramCredentialsResponseCredentialInfo{Mechanism: int8(c.Mechanism), Iterations: c.Iterations})
	}
	if len(req.Users) == 0 {
		for c := range img.ScramCredentials() {
			add(c)
		}
		reply(r, &resp)
		return nil
	}
	named := make(map[string]int, len(req.Users))
	for _, u := range req.Users {
		named[u.Name]++
	}
	for _, u := range req.Users {
		times := named[u.Name]
		if times == 0 {
			continue // told already
		}
		named[u.Name] = 0
		if times > 1 {
			resp.Results = append(resp.Results, a.noCredential(u.Name, fmt.Errorf("Cannot describe SCRAM credentials for the same user twice in a single request: %s: %w", u.Name, kafka.DuplicateResource)))
			continue
		}
		before := len(resp.Results)
		for _, m := range []metadata.ScramMechanism{metadata.ScramSHA256, metadata.ScramSHA512} {
			if c, ok := img.Scram(u.Name, m); ok {
				add(c)
			}
		}
		if len(resp.Results) == before {
			resp.Results = append(resp.Results, a.noCredential(u.Name, fmt.Errorf("Attempt to describe a user credential that does not exist: %s: %w", u.Name, kafka.ResourceNotFound)))
		}
	}
	reply(r, &resp)
	return nil
}

func (a admin) noCredential(user string, err error) wire.DescribeUserScramCredentialsResponseResult {
	out := wire.DescribeUserScramCredentialsResponseResult{User: user}
	out.ErrorCode, out.ErrorMessage = a.failure(err)
	return out
}
