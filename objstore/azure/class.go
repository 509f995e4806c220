package azure

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"

	"github.com/varve-io/varve/objstore"
)

// SetClass implements objstore.ClassSetter. It changes the tier in place: no copy, and the same
// version afterwards.
func (b *Bucket) SetClass(ctx context.Context, key string, class objstore.Class) error {
	const op = "set class"
	if err := b.CheckKey(op, key); err != nil {
		return err
	}
	if err := b.Capabilities().CheckClass(op, key, class); err != nil {
		return err
	}
	return b.do(ctx, op, key, b.conf.Write, func(ctx context.Context) error {
		_, err := b.blob(key).SetTier(ctx, blob.AccessTier(class), nil)
		return err
	})
}

// Restore implements objstore.Restorer. The service makes no temporary copies: the object moves
// to Hot, for good, within up to 15 hours.
func (b *Bucket) Restore(ctx context.Context, key string, _ int) error {
	const op = "restore"
	if a, err := b.head(ctx, op, key, ""); err != nil || !a.Offline {
		return err
	}
	return b.do(ctx, op, key, b.conf.Write, func(ctx context.Context) error {
		_, err := b.blob(key).SetTier(ctx, blob.AccessTierHot, &blob.SetTierOptions{RehydratePriority: to.Ptr(blob.RehydratePriorityStandard)})
		if bloberror.HasCode(err, bloberror.BlobBeingRehydrated) {
			return nil
		}
		return err
	})
}

// Tags implements objstore.Tagger.
func (b *Bucket) Tags(ctx context.Context, key string) (map[string]string, error) {
	if err := b.CheckKey("tags", key); err != nil {
		return nil, err
	}
	tags := make(map[string]string)
	err := b.do(ctx, "tags", key, b.conf.Read, func(ctx context.Context) error {
		out, err := b.blob(key).GetTags(ctx, nil)
		if err != nil {
			return err
		}
		for _, tag := range out.BlobTagSet {
			tags[value(tag.Key)] = value(tag.Value)
		}
		return nil
	})
	return tags, err
}

// SetTags implements objstore.Tagger.
func (b *Bucket) SetTags(ctx context.Context, key string, tags map[string]string) error {
	if err := b.CheckKey("set tags", key); err != nil {
		return err
	}
	return b.do(ctx, "set tags", key, b.conf.Write, func(ctx context.Context) error {
		_, err := b.blob(key).SetTags(ctx, tags, nil)
		return err
	})
}
