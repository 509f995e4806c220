package azure

import (
	"context"
	"errors"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/retry"
)

const (
	// pageLimit is the service's own limit on a page.
	pageLimit = 5000
	// deletesAtOnce of one Delete.
	deletesAtOnce = 16
)

// Head implements objstore.Bucket. The service says by its code whether it is the object or the
// whole container that is missing.
func (b *Bucket) Head(ctx context.Context, key string) (objstore.Attrs, error) {
	return b.head(ctx, "head", key, "")
}

func (b *Bucket) head(ctx context.Context, op, key string, ifv objstore.Version) (objstore.Attrs, error) {
	if err := b.CheckKey(op, key); err != nil {
		return objstore.Attrs{}, err
	}
	var a objstore.Attrs
	err := b.do(ctx, op, key, b.conf.Read, func(ctx context.Context) error {
		out, err := b.blob(key).GetProperties(ctx, &blob.GetPropertiesOptions{AccessConditions: ifMatch(ifv)})
		if err != nil {
			return err
		}
		a = objstore.Attrs{
			Key: key, Size: value(out.ContentLength), Version: version(out.ETag), Modified: value(out.LastModified),
			Class: objstore.Class(value(out.AccessTier)), Offline: value(out.AccessTier) == string(blob.AccessTierArchive),
		}
		a.Meta, a.CRC32C, a.HasCRC = plain(out.Metadata)
		return nil
	})
	return a, err
}

// value of what the SDK points at; nothing is the zero value.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// List implements objstore.Bucket. A server that doesn't know where to start sends what comes
// before, page by page, and it is passed over here.
func (b *Bucket) List(ctx context.Context, prefix, after string, limit int) (objstore.Page, error) {
	if err := objstore.CheckList(prefix, after); err != nil {
		return objstore.Page{}, err
	}
	if limit <= 0 || limit > pageLimit {
		limit = pageLimit
	}
	o := &container.ListBlobsFlatOptions{Prefix: to.Ptr(b.Prefix + prefix), MaxResults: to.Ptr(int32(limit))}
	if after != "" {
		o.StartFrom = to.Ptr(b.Prefix + after)
		o.MaxResults = to.Ptr(int32(min(limit+1, pageLimit))) // the start itself is in the answer
	}
	for {
		var out container.ListBlobsFlatResponse
		err := b.do(ctx, "list", prefix, b.conf.Read, func(ctx context.Context) (err error) {
			out, err = b.client.NewListBlobsFlatPager(o).NextPage(ctx)
			return err
		})
		if err != nil {
			return objstore.Page{}, err
		}
		page := b.page(out, prefix, after, limit)
		if len(page.Objects) > 0 || value(out.NextMarker) == "" {
			return page, nil
		}
		o.Marker = out.NextMarker
	}
}

func (b *Bucket) page(out container.ListBlobsFlatResponse, prefix, after string, limit int) objstore.Page {
	var page objstore.Page
	more := value(out.NextMarker) != ""
	if out.Segment == nil {
		return page
	}
	for _, item := range out.Segment.BlobItems {
		key, ours := strings.CutPrefix(value(item.Name), b.Prefix)
		p := item.Properties
		if !ours || !strings.HasPrefix(key, prefix) || key <= after || p == nil {
			continue
		}
		if len(page.Objects) == limit {
			more = true
			break
		}
		page.Objects = append(page.Objects, objstore.Attrs{
			Key: key, Size: value(p.ContentLength), Version: version(p.ETag), Modified: value(p.LastModified),
			Class: objstore.Class(value(p.AccessTier)), Offline: value(p.AccessTier) == blob.AccessTierArchive,
		})
	}
	if more && len(page.Objects) > 0 {
		page.Next = page.Objects[len(page.Objects)-1].Key
	}
	return page
}

// Delete implements objstore.Bucket. A request each, some at once: the service's batches cost
// the same per object and can't be retried in part.
func (b *Bucket) Delete(ctx context.Context, keys ...string) error {
	errs := make([]error, len(keys))
	// The error of one key ends no other.
	_ = retry.Each(context.WithoutCancel(ctx), len(keys), deletesAtOnce, func(_ context.Context, i int) error {
		if errs[i] = b.CheckKey("delete", keys[i]); errs[i] == nil {
			errs[i] = b.deleteOne(ctx, keys[i], "")
		}
		return nil
	})
	var batch objstore.Batch
	for i, key := range keys {
		batch.Add(key, errs[i])
	}
	return batch.Err()
}

func (b *Bucket) deleteOne(ctx context.Context, key string, ifv objstore.Version) error {
	return b.do(ctx, "delete", key, b.conf.Write, func(ctx context.Context) error {
		_, err := b.blob(key).Delete(ctx, &blob.DeleteOptions{
			AccessConditions: ifMatch(ifv), DeleteSnapshots: to.Ptr(blob.DeleteSnapshotsOptionTypeInclude),
		})
		if err = classify(ctx, "delete", key, err); ifv == "" && objstore.KindOf(err) == objstore.ErrNotFound && err != nil {
			return nil
		}
		return err
	})
}

// DeleteIf implements objstore.ConditionalDeleter. The service answers a missing object as it
// does one at another version, so that is looked up then. A delete whose reply was lost and
// whose repetition finds nothing is ErrAmbiguous.
func (b *Bucket) DeleteIf(ctx context.Context, key string, v objstore.Version) error {
	if err := b.CheckKey("delete", key); err != nil {
		return err
	}
	err := b.deleteOne(ctx, key, v)
	if errors.Is(err, objstore.ErrPrecondition) {
		if _, herr := b.Head(ctx, key); errors.Is(herr, objstore.ErrNotFound) {
			return objstore.NewError(objstore.ErrNotFound, "delete", key, nil)
		}
	}
	return err
}
