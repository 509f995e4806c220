package api

import (
	"github.com/varve-io/varve/broker/controller"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/security"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// AlterUserScramCredentials, version 0: sets and removes credentials of users (KIP-554). The client
// salts the password; the keys that are kept are made here, and the salted password is forgotten.
//
//   - A user that is named twice gets DUPLICATE_RESOURCE, iterations below 4096 or above 16384
//     UNACCEPTABLE_CREDENTIAL, the removal of what is not there RESOURCE_NOT_FOUND.
//   - What is sound is changed, whatever is wrong with other users of the request.
//
// Gaps: the request is not forwarded, so it has to reach the controller.
func (a admin) alterScram(r *server.Request) error {
	var req wire.AlterUserScramCredentialsRequest
	if err := read(r, &req); err != nil {
		return err
	}
	changes := make([]controller.ScramChange, 0, len(req.Deletions)+len(req.Upsertions))
	for _, d := range req.Deletions {
		changes = append(changes, controller.ScramChange{User: d.Name, Mechanism: metadata.ScramMechanism(d.Mechanism)})
	}
	for _, u := range req.Upsertions {
		m := metadata.ScramMechanism(u.Mechanism)
		ch := controller.ScramChange{User: u.Name, Mechanism: m, Refused: security.CheckScram(u.Name, m, u.Iterations)}
		if ch.Refused == nil {
			c := security.ScramCredentialOf(u.Name, m, u.Salt, u.SaltedPassword, int(u.Iterations))
			ch.Set = &c
		}
		changes = append(changes, ch)
	}
	if err := a.by(r).cluster(kafka.OpAlter); err != nil {
		for i := range changes {
			changes[i].Refused = err
		}
	}
	r.Go(func() {
		var resp wire.AlterUserScramCredentialsResponse
		resp.Default()
		told := make(map[string]bool, len(changes))
		for i, err := range a.o.Cluster.AlterScram(r.Ctx, changes) {
			a.by(r).did(err, "user", changes[i].User, "mechanism", changes[i].Mechanism, "removed", changes[i].Set == nil)
			if user := changes[i].User; !told[user] {
				told[user] = true
				out := wire.AlterUserScramCredentialsResponseResult{User: user}
				out.ErrorCode, out.ErrorMessage = a.failure(err)
				resp.Results = append(resp.Results, out)
			}
		}
		reply(r, &resp)
	})
	return nil
}
