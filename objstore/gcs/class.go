package gcs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

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

// CustomTime implements objstore.Timer.
func (b *Bucket) CustomTime(ctx context.Context, key string) (at time.Time, err error) {
	const op = "custom time"
	if err := b.CheckKey(op, key); err != nil {
		return at, err
	}
	err = b.do(ctx, op, key, b.conf.Read, func(ctx context.Context) error {
		a, err := b.object(key).Attrs(ctx)
		if err == nil {
			at = a.CustomTime
		}
		return err
	})
	return at, err
}

// SetCustomTime implements objstore.Timer. The service never puts it back.
func (b *Bucket) SetCustomTime(ctx context.Context, key string, at time.Time) error {
	const op = "set custom time"
	if err := b.CheckKey(op, key); err != nil {
		return err
	}
	err := b.do(ctx, op, key, b.conf.Write, func(ctx context.Context) error {
		_, err := b.object(key).Update(ctx, storage.ObjectAttrsToUpdate{CustomTime: at})
		return err
	})
	var e *objstore.Error
	if errors.As(err, &e) && e.HTTP == http.StatusBadRequest {
		e.Kind = objstore.ErrInvalid
	}
	return err
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
