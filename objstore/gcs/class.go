package gcs

import (
	"context"
	"fmt"

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
