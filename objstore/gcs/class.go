package gcs

import (
	"context"
	"fmt"

	"cloud.google.com/go/storage"

	"github.com/varve-io/varve/objstore"
)

// SetClass implements objstore.ClassSetter: the service rewrites the object onto itself, which
// makes a new generation. The condition keeps a writer in between from being undone.
func (b *Bucket) SetClass(ctx context.Context, key string, class objstore.Class) error {
	const op = "set class"
	if err := b.Capabilities().CheckClass(op, key, class); err != nil {
		return err
	}
	a, err := b.head(ctx, op, key, "")
	if err != nil {
		return err
	}
	return b.do(ctx, op, key, b.conf.Write, func(ctx context.Context) error {
		at := b.at(key, a.Version)
		rewrite := at.CopierFrom(at)
		rewrite.StorageClass, rewrite.Metadata, rewrite.DestinationKMSKeyName = string(class), a.Meta, b.conf.KMSKey
		_, err := rewrite.Run(ctx)
		return err
	})
}

// Settings implements objstore.Inspector.
func (b *Bucket) Settings(ctx context.Context) (objstore.BucketSettings, error) {
	var s objstore.BucketSettings
	err := b.do(ctx, "settings", "", b.conf.Read, func(ctx context.Context) error {
		a, err := b.bucket.Attrs(ctx)
		if err != nil {
			return err
		}
		s.Versioning = a.VersioningEnabled
		s.Hierarchical = a.HierarchicalNamespace != nil && a.HierarchicalNamespace.Enabled
		if a.RetentionPolicy != nil {
			s.Locked = fmt.Sprintf("a retention policy of %v", a.RetentionPolicy.RetentionPeriod)
		}
		return nil
	})
	return s, err
}

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
