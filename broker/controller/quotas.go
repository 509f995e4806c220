package controller

import (
	"context"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

// QuotaChange sets and removes quotas of one entity.
type QuotaChange struct {
	Entity metadata.QuotaEntity
	// Set has the new bounds by Kafka's names, Remove the quotas that end.
	Set    map[string]float64
	Remove []string
}

// AlterQuotas changes what can be changed, all in one entry; with validateOnly it says what
// would happen and writes nothing. The errors are in the order of changes: nil, or a wrapped
// kafka.Error. Source: Kafka's ClientQuotaControlManager (KIP-546).
func (c *Controller) AlterQuotas(ctx context.Context, changes []QuotaChange, validateOnly bool) []error {
	errs := make([]error, len(changes))
	_, err := c.change(ctx, func(img *metadata.Image) ([]metadata.Record, error) {
		p := plan{img: img}
		for i, ch := range changes {
			errs[i] = p.quotas(ch)
		}
		if validateOnly {
			return nil, nil
		}
		return p.all, nil
	})
	for i := range errs {
		if errs[i] == nil {
			errs[i] = err
		}
	}
	return errs
}

// quotas decides one entity.
func (p *plan) quotas(ch QuotaChange) error {
	if err := validEntity(ch.Entity); err != nil {
		return err
	}
	old := p.img.Quotas(ch.Entity)
	next := maps.Clone(old)
	if next == nil {
		next = map[string]float64{}
	}
	for _, name := range ch.Remove {
		delete(next, name)
	}
	for name, bound := range ch.Set {
		if err := validQuota(ch.Entity, name, bound); err != nil {
			return err
		}
		next[name] = bound
	}
	if maps.Equal(old, next) {
		return nil
	}
	return p.try(metadata.ClientQuotaRecord{Entity: ch.Entity, Quotas: next})
}

// validEntity checks that the parts of an entity go together.
func validEntity(e metadata.QuotaEntity) error {
	client := e.User.Type != metadata.QuotaAbsent || e.ClientID.Type != metadata.QuotaAbsent
	switch {
	case e.IP.Type == metadata.QuotaAbsent && !client:
		return fmt.Errorf("a quota is for a user, a client-id, both, or an ip, and none is named: %w", kafka.InvalidRequest)
	case e.IP.Type != metadata.QuotaAbsent && client:
		return fmt.Errorf("a quota for an ip cannot be for a user or client-id as well: %w", kafka.InvalidRequest)
	case e.IP.Type == metadata.QuotaNamed:
		if _, err := netip.ParseAddr(e.IP.Name); err != nil {
			return fmt.Errorf("%q is not an ip address: %w", e.IP.Name, kafka.InvalidRequest)
		}
	}
	return nil
}

// byteRates are the quotas of bytes that users and client ids may have: Kafka's, and ours of the
// traffic with the object store.
func byteRates() []string {
	return []string{"producer_byte_rate", "consumer_byte_rate", "varve_remote_fetch_byte_rate", "varve_upload_byte_rate"}
}

// validQuota checks a bound, and that such an entity may have it. Rates are whole numbers,
// but for shares of time and changes of partitions. Source: Kafka's QuotaConfig.
func validQuota(e metadata.QuotaEntity, name string, bound float64) error {
	most, whole := math.MaxFloat64, false
	switch isIP := e.IP.Type != metadata.QuotaAbsent; {
	case isIP && name == "connection_creation_rate":
		most, whole = math.MaxInt32, true
	case !isIP && slices.Contains(byteRates(), name):
		most, whole = math.MaxInt64, true
	case !isIP && (name == "request_percentage" || name == "controller_mutation_rate"):
	case isIP:
		return fmt.Errorf("%q is no quota of an ip: want connection_creation_rate: %w", name, kafka.InvalidRequest)
	default:
		return fmt.Errorf("%q is no quota of a user or client-id: want %s, request_percentage or controller_mutation_rate: %w", name, strings.Join(byteRates(), ", "), kafka.InvalidRequest)
	}
	switch {
	case math.IsNaN(bound) || bound <= 0:
		return fmt.Errorf("%s is %v, it must be greater than 0: %w", name, bound, kafka.InvalidRequest)
	case bound > most:
		return fmt.Errorf("%s is %v, it can be %v at most: %w", name, bound, most, kafka.InvalidRequest)
	case whole && bound != math.Trunc(bound):
		return fmt.Errorf("%s is %v, it must be a whole number: %w", name, bound, kafka.InvalidRequest)
	}
	return nil
}
