package api

import (
	"fmt"
	"maps"
	"slices"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// The parts of an entity that has quotas, as the protocol names them.
const (
	quotaUser     = "user"
	quotaClientID = "client-id"
	quotaIP       = "ip"
)

// How a part of an entity is matched.
const (
	matchExact     int8 = 0
	matchDefault   int8 = 1
	matchSpecified int8 = 2
)

// quotaParts lists the parts of an entity under their names.
func quotaParts(e *metadata.QuotaEntity) map[string]*metadata.QuotaPart {
	return map[string]*metadata.QuotaPart{quotaUser: &e.User, quotaClientID: &e.ClientID, quotaIP: &e.IP}
}

// DescribeClientQuotas, versions 0 to 1: the quotas of all entities that match (KIP-546).
//
//   - Every component of the filter must match; with strict, an entity has no other parts.
//
// Gaps: none known.
func (a admin) describeClientQuotas(r *server.Request) error {
	var req wire.DescribeClientQuotasRequest
	if err := read(r, &req); err != nil {
		return err
	}
	var resp wire.DescribeClientQuotasResponse
	resp.Default()
	filter, err := quotaFilter(req.Components)
	if denied := a.by(r).cluster(kafka.OpDescribeConfigs); denied != nil {
		err = denied
	}
	if resp.ErrorCode, resp.ErrorMessage = a.failure(err); err != nil {
		resp.Entries = nil
		reply(r, &resp)
		return nil
	}
	resp.ErrorMessage = new(string) // as Kafka's
	resp.Entries = []wire.DescribeClientQuotasResponseEntry{}
	img := a.o.Cluster.Image()
	for e := range img.QuotaEntities() {
		if !matches(&e, filter, req.Strict) {
			continue
		}
		var out wire.DescribeClientQuotasResponseEntry
		for _, name := range []string{quotaUser, quotaClientID, quotaIP} {
			if p := quotaParts(&e)[name]; p.Type != metadata.QuotaAbsent {
				out.Entity = append(out.Entity, wire.DescribeClientQuotasResponseEntity{EntityType: name, EntityName: optional(p.Name)})
			}
		}
		quotas := img.Quotas(e)
		for _, name := range slices.Sorted(maps.Keys(quotas)) {
			out.Values = append(out.Values, wire.DescribeClientQuotasResponseValue{Key: name, Value: quotas[name]})
		}
		resp.Entries = append(resp.Entries, out)
	}
	reply(r, &resp)
	return nil
}

// quotaFilter checks a filter. Source: Kafka's ClientQuotasImage.
func quotaFilter(components []wire.DescribeClientQuotasRequestComponent) (map[string]wire.DescribeClientQuotasRequestComponent, error) {
	filter := make(map[string]wire.DescribeClientQuotasRequestComponent, len(components))
	for _, c := range components {
		_, twice := filter[c.EntityType]
		switch {
		case c.EntityType == "":
			return nil, fmt.Errorf("a component of the filter has no entity type: %w", kafka.InvalidRequest)
		case twice:
			return nil, fmt.Errorf("entity type %s is in the filter more than once: %w", c.EntityType, kafka.InvalidRequest)
		case quotaParts(&metadata.QuotaEntity{})[c.EntityType] == nil:
			return nil, fmt.Errorf("entity type %q is not known: want user, client-id or ip: %w", c.EntityType, kafka.UnsupportedVersion)
		case c.MatchType < matchExact || c.MatchType > matchSpecified:
			return nil, fmt.Errorf("match type %d is not known: want 0 for a name, 1 for the default, 2 for any: %w", c.MatchType, kafka.InvalidRequest)
		case c.MatchType == matchExact && c.Match == nil:
			return nil, fmt.Errorf("match type 0 for %s goes without a name: %w", c.EntityType, kafka.InvalidRequest)
		case c.MatchType != matchExact && c.Match != nil:
			return nil, fmt.Errorf("match type %d for %s goes with a name: %w", c.MatchType, c.EntityType, kafka.InvalidRequest)
		}
		filter[c.EntityType] = c
	}
	if _, ip := filter[quotaIP]; ip && len(filter) > 1 {
		return nil, fmt.Errorf("a filter for an ip cannot be for a user or client-id as well: %w", kafka.InvalidRequest)
	}
	return filter, nil
}

// matches says whether an entity passes a filter.
func matches(e *metadata.QuotaEntity, filter map[string]wire.DescribeClientQuotasRequestComponent, strict bool) bool {
	for name, p := range quotaParts(e) {
		c, asked := filter[name]
		switch {
		case !asked && strict && p.Type != metadata.QuotaAbsent,
			asked && p.Type == metadata.QuotaAbsent,
			asked && c.MatchType == matchDefault && p.Type != metadata.QuotaDefault,
			asked && c.MatchType == matchExact && (p.Type != metadata.QuotaNamed || p.Name != *c.Match):
			return false
		}
	}
	return true
}
