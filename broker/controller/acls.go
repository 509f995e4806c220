package controller

import (
	"context"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

// ACLs changes the rules of access.
type ACLs struct{ c *Controller }

// ACLs is what changes the rules of access.
func (c *Controller) ACLs() ACLs { return ACLs{c} }

// Create adds the rules that are sound, all in one entry; one that is there already is none
// the less created. The errors are in the order of rules: nil, or a wrapped kafka.Error.
// Source: Kafka's AclControlManager.
func (a ACLs) Create(ctx context.Context, rules []kafka.ACL) []error {
	errs := make([]error, len(rules))
	_, err := a.c.change(ctx, func(img *metadata.Image) ([]metadata.Record, error) {
		var records []metadata.Record
		added := make(map[kafka.ACL]bool, len(rules))
		for i, rule := range rules {
			if errs[i] = rule.Valid(); errs[i] != nil || added[rule] || img.HasACL(rule) {
				continue
			}
			added[rule] = true
			records = append(records, metadata.ACLRecord{ACL: rule})
		}
		return records, nil
	})
	for i := range errs {
		if errs[i] == nil {
			errs[i] = err
		}
	}
	return errs
}

// DeletedACLs is what became of one filter.
type DeletedACLs struct {
	Rules []kafka.ACL // that it found, in a fixed order
	Err   error       // nil, or a wrapped kafka.Error; then nothing was deleted for it
}

// Delete takes away all rules that the filters find, in one entry. The results are in the
// order of filters; a rule that several find is in the result of each.
func (a ACLs) Delete(ctx context.Context, filters []kafka.ACLFilter) []DeletedACLs {
	results := make([]DeletedACLs, len(filters))
	_, err := a.c.change(ctx, func(img *metadata.Image) ([]metadata.Record, error) {
		var records []metadata.Record
		gone := map[kafka.ACL]bool{}
		for i, f := range filters {
			results[i] = DeletedACLs{Err: f.Valid()}
			if results[i].Err != nil {
				continue
			}
			for rule := range img.ACLs() {
				if !f.Matches(rule) {
					continue
				}
				results[i].Rules = append(results[i].Rules, rule)
				if !gone[rule] {
					gone[rule] = true
					records = append(records, metadata.ACLRecord{ACL: rule, Remove: true})
				}
			}
		}
		return records, nil
	})
	for i := range results {
		if err != nil && results[i].Err == nil {
			results[i] = DeletedACLs{Err: err}
		}
	}
	return results
}
