package api

import (
	"fmt"

	"github.com/varve-io/varve/broker/controller"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// AlterClientQuotas, versions 0 to 1: sets and removes quotas (KIP-546).
//
//   - An entity's changes count together or not at all. One that is named twice is not changed.
//   - When the answer leaves, the quotas hold.
//
// Gaps: the request is not forwarded, so it has to reach the controller.
func (a admin) alterClientQuotas(r *server.Request) error {
	var req wire.AlterClientQuotasRequest
	if err := read(r, &req); err != nil {
		return err
	}
	denied := a.by(r).cluster(kafka.OpAlterConfigs)
	r.Go(func() {
		var resp wire.AlterClientQuotasResponse
		resp.Default()
		named := map[metadata.QuotaEntity]int{}
		var changes []controller.QuotaChange
		var place []int // of changes, in the answer
		for i := range req.Entries {
			ch, err := quotaChange(&req.Entries[i])
			if denied != nil {
				err = denied
			}
			out := wire.AlterClientQuotasResponseEntry{}
			for _, p := range req.Entries[i].Entity {
				out.Entity = append(out.Entity, wire.AlterClientQuotasResponseEntity(p))
			}
			if out.ErrorCode, out.ErrorMessage = a.failure(err); err == nil {
				named[ch.Entity]++
				changes, place = append(changes, ch), append(place, len(resp.Entries))
			}
			resp.Entries = append(resp.Entries, out)
		}
		var once []controller.QuotaChange
		var at []int
		for i, ch := range changes {
			if named[ch.Entity] == 1 {
				once, at = append(once, ch), append(at, place[i])
				continue
			}
			out := &resp.Entries[place[i]]
			out.ErrorCode, out.ErrorMessage = a.failure(fmt.Errorf("the entity is named more than once: %w", kafka.InvalidRequest))
		}
		if len(once) > 0 {
			for i, err := range a.o.Cluster.AlterQuotas(r.Ctx, once, req.ValidateOnly) {
				out := &resp.Entries[at[i]]
				out.ErrorCode, out.ErrorMessage = a.failure(err)
				if !req.ValidateOnly {
					a.by(r).did(err, "quota", once[i].Entity.String(), "set", once[i].Set, "removed", once[i].Remove)
				}
			}
		}
		reply(r, &resp)
	})
	return nil
}

// quotaChange reads what to change of one entity.
func quotaChange(asked *wire.AlterClientQuotasRequestEntry) (controller.QuotaChange, error) {
	ch := controller.QuotaChange{Set: map[string]float64{}}
	parts := quotaParts(&ch.Entity)
	for _, p := range asked.Entity {
		part := parts[p.EntityType]
		switch {
		case part == nil:
			return ch, fmt.Errorf("entity type %q is not known: want user, client-id or ip: %w", p.EntityType, kafka.InvalidRequest)
		case p.EntityName == nil:
			*part = metadata.QuotaPart{Type: metadata.QuotaDefault}
		case *p.EntityName == "":
			return ch, fmt.Errorf("the name of the %s is empty: %w", p.EntityType, kafka.InvalidRequest)
		default:
			*part = metadata.QuotaPart{Type: metadata.QuotaNamed, Name: *p.EntityName}
		}
	}
	seen := map[string]bool{}
	for _, op := range asked.Ops {
		switch {
		case seen[op.Key]:
			return ch, fmt.Errorf("%s is named more than once: %w", op.Key, kafka.InvalidRequest)
		case op.Remove:
			ch.Remove = append(ch.Remove, op.Key)
		default:
			ch.Set[op.Key] = op.Value
		}
		seen[op.Key] = true
	}
	return ch, nil
}
