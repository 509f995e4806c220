package gcs

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"cloud.google.com/go/storage"

	"github.com/varve-io/varve/objstore"
)

// LifecycleRules implements objstore.LifecycleReader.
func (b *Bucket) LifecycleRules(ctx context.Context) ([]objstore.LifecycleRule, error) {
	var rules []objstore.LifecycleRule
	err := b.do(ctx, "lifecycle", "", b.conf.Read, func(ctx context.Context) error {
		a, err := b.bucket.Attrs(ctx)
		if err != nil {
			return err
		}
		rules = nil
		for i, r := range a.Lifecycle.Rules {
			rules = append(rules, lifecycle(i, r)...)
		}
		return nil
	})
	return rules, err
}

// lifecycle is the i-th rule of a bucket, once for each of its prefixes. Rules have no names.
func lifecycle(i int, r storage.LifecycleRule) []objstore.LifecycleRule {
	c := r.Condition
	rule := objstore.LifecycleRule{
		ID: fmt.Sprintf("rule %d", i+1), Days: int(c.AgeInDays), Enabled: true,
		Narrow: len(c.MatchesSuffix) > 0 || len(c.MatchesStorageClasses) > 0 || c.NumNewerVersions > 0 || c.Liveness == storage.Archived ||
			c.DaysSinceCustomTime > 0 || c.DaysSinceNoncurrentTime > 0 || !c.CreatedBefore.IsZero() || !c.CustomTimeBefore.IsZero() ||
			!c.NoncurrentTimeBefore.IsZero(),
	}
	switch r.Action.Type {
	case storage.DeleteAction:
		rule.Expire = true
	case storage.SetStorageClassAction:
		rule.Class = objstore.Class(r.Action.StorageClass)
	case storage.AbortIncompleteMPUAction:
		rule.AbortUploads = true
	}
	if len(c.MatchesPrefix) == 0 {
		return []objstore.LifecycleRule{rule}
	}
	var out []objstore.LifecycleRule
	for _, prefix := range c.MatchesPrefix {
		rule.Prefix = prefix
		out = append(out, rule)
	}
	return out
}

// ApplyLifecycle implements objstore.LifecycleWriter. The bucket's metageneration keeps another's
// change from being lost.
func (b *Bucket) ApplyLifecycle(ctx context.Context, rules []objstore.LifecycleRule) error {
	const op = "lifecycle"
	if err := b.Capabilities().CheckLifecycle(rules); err != nil {
		return err
	}
	var now *storage.BucketAttrs
	err := b.do(ctx, op, "", b.conf.Read, func(ctx context.Context) (err error) {
		now, err = b.bucket.Attrs(ctx)
		return err
	})
	if err != nil {
		return err
	}
	all := now.Lifecycle.Rules
	for _, r := range rules {
		mine := rule(r)
		all = slices.DeleteFunc(all, func(old storage.LifecycleRule) bool { return replaces(mine, old) })
		all = append(all, mine)
	}
	return b.do(ctx, op, "", b.conf.Write, func(ctx context.Context) error {
		_, err := b.bucket.If(storage.BucketConditions{MetagenerationMatch: now.MetaGeneration}).
			Update(ctx, storage.BucketAttrsToUpdate{Lifecycle: &storage.Lifecycle{Rules: all}})
		return err
	})
}

// replaces says that old does what mine does, to the same objects, after other days perhaps.
func replaces(mine, old storage.LifecycleRule) bool {
	c := old.Condition
	narrow := lifecycle(0, old)[0].Narrow
	return !narrow && mine.Action == old.Action && slices.Equal(mine.Condition.MatchesPrefix, c.MatchesPrefix)
}

// rule is one of ours as the service has it.
func rule(r objstore.LifecycleRule) storage.LifecycleRule {
	out := storage.LifecycleRule{Condition: storage.LifecycleCondition{AgeInDays: int64(r.Days)}}
	if r.Prefix != "" {
		out.Condition.MatchesPrefix = []string{r.Prefix}
	}
	if r.AbortUploads {
		out.Action.Type = storage.AbortIncompleteMPUAction
	} else {
		out.Action = storage.LifecycleAction{Type: storage.SetStorageClassAction, StorageClass: string(r.Class)}
	}
	return out
}

// The document that Google's command line takes: the members of the API under their own names.
type (
	ruleDoc struct {
		Action    actionDoc    `json:"action"`
		Condition conditionDoc `json:"condition"`
	}
	actionDoc struct {
		Type  string `json:"type"`
		Class string `json:"storageClass,omitempty"`
	}
	conditionDoc struct {
		Age    int64    `json:"age"`
		Prefix []string `json:"matchesPrefix,omitempty"`
	}
)

// RenderLifecycle implements objstore.LifecycleRenderer.
func (b *Bucket) RenderLifecycle(rules []objstore.LifecycleRule) ([]byte, string, error) {
	if err := b.Capabilities().CheckLifecycle(rules); err != nil {
		return nil, "", err
	}
	doc := struct {
		Lifecycle struct {
			Rules []ruleDoc `json:"rule"`
		} `json:"lifecycle"`
	}{}
	doc.Lifecycle.Rules = []ruleDoc{}
	for _, r := range rules {
		mine := rule(r)
		doc.Lifecycle.Rules = append(doc.Lifecycle.Rules, ruleDoc{
			actionDoc{mine.Action.Type, mine.Action.StorageClass}, conditionDoc{mine.Condition.AgeInDays, mine.Condition.MatchesPrefix},
		})
	}
	raw, err := json.MarshalIndent(doc, "", "  ")
	return raw, "gcloud storage buckets update gs://" + b.conf.Bucket + " --lifecycle-file=FILE", err
}
