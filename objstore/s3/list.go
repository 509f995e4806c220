package s3

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/varve-io/varve/objstore"
)

// List implements objstore.Bucket.
func (b *Bucket) List(ctx context.Context, prefix, after string, limit int) (objstore.Page, error) {
	if err := objstore.CheckList(prefix, after); err != nil {
		return objstore.Page{}, err
	}
	if limit <= 0 || limit > pageLimit {
		limit = pageLimit
	}
	// Never one: MinIO then takes an object that is named as the prefix for the whole answer.
	in := &s3.ListObjectsV2Input{Bucket: &b.conf.Bucket, Prefix: b.name(prefix), MaxKeys: aws.Int32(int32(max(limit, 2)))}
	if after != "" {
		in.StartAfter = b.name(after)
	}
	var page objstore.Page
	err := b.do(ctx, "list", prefix, b.conf.Read, func(ctx context.Context) error {
		out, err := b.client.ListObjectsV2(ctx, in)
		if err != nil {
			return err
		}
		if !slices.IsSortedFunc(out.Contents, func(a, b types.Object) int { return strings.Compare(aws.ToString(a.Key), aws.ToString(b.Key)) }) {
			return objstore.NewError(objstore.ErrUnsupported, "list", prefix,
				errors.New("the store lists keys in no order, as directory buckets (S3 Express) do: use a general purpose bucket"))
		}
		page = b.page(out, prefix, after, limit)
		return nil
	})
	return page, err
}

func (b *Bucket) page(out *s3.ListObjectsV2Output, prefix, after string, limit int) objstore.Page {
	var page objstore.Page
	for _, o := range out.Contents {
		key, ours := strings.CutPrefix(aws.ToString(o.Key), b.Prefix)
		if !ours || !strings.HasPrefix(key, prefix) || key <= after {
			continue // a store with an idea of its own about StartAfter
		}
		if len(page.Objects) == limit {
			page.Next = page.Objects[limit-1].Key
			return page
		}
		page.Objects = append(page.Objects, objstore.Attrs{
			Key: key, Size: aws.ToInt64(o.Size), Version: objstore.Version(aws.ToString(o.ETag)), Modified: aws.ToTime(o.LastModified),
			Class: objstore.Class(o.StorageClass), Offline: offline(string(o.StorageClass)) && !isRestored(o.RestoreStatus),
		})
	}
	if aws.ToBool(out.IsTruncated) && len(out.Contents) > 0 {
		page.Next = strings.TrimPrefix(aws.ToString(out.Contents[len(out.Contents)-1].Key), b.Prefix)
	}
	return page
}

func isRestored(s *types.RestoreStatus) bool {
	return s != nil && !aws.ToBool(s.IsRestoreInProgress) && s.RestoreExpiryDate != nil
}

// Delete implements objstore.Bucket.
func (b *Bucket) Delete(ctx context.Context, keys ...string) error {
	var batch objstore.Batch
	good := make([]string, 0, len(keys))
	for _, key := range keys {
		if err := b.CheckKey("delete", key); err != nil {
			batch.Add(key, err)
			continue
		}
		good = append(good, key)
	}
	for len(good) > 0 {
		n := min(len(good), pageLimit)
		if n == 1 {
			batch.Add(good[0], b.deleteOne(ctx, good[0], ""))
		} else {
			b.deleteSome(ctx, good[:n], &batch)
		}
		good = good[n:]
	}
	return batch.Err()
}

func (b *Bucket) deleteOne(ctx context.Context, key string, ifv objstore.Version) error {
	return b.do(ctx, "delete", key, b.conf.Write, func(ctx context.Context) error {
		_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.conf.Bucket, Key: b.name(key), IfMatch: ifMatch(ifv)})
		if ifv == "" && errors.Is(classify(ctx, "delete", key, err), objstore.ErrNotFound) {
			return nil
		}
		return err
	})
}

// DeleteIf implements objstore.ConditionalDeleter. S3 deletes a missing object with success
// whatever the condition, so that is looked up first; a delete whose reply was lost and whose
// repetition finds nothing is ErrAmbiguous.
func (b *Bucket) DeleteIf(ctx context.Context, key string, v objstore.Version) error {
	a, err := b.head(ctx, "head", key, "")
	switch {
	case err != nil:
		return err
	case a.Version != v:
		return objstore.NewError(objstore.ErrPrecondition, "delete", key, nil)
	}
	return b.deleteOne(ctx, key, v)
}

// deleteSome deletes up to 1000 keys in one request, and those again that failed for a reason
// that passes.
func (b *Bucket) deleteSome(ctx context.Context, keys []string, batch *objstore.Batch) {
	pending := keys
	failed := make(map[string]error)
	err := b.do(ctx, "delete", keys[0], b.conf.Write, func(ctx context.Context) error {
		ids := make([]types.ObjectIdentifier, len(pending))
		for i, key := range pending {
			ids[i].Key = b.name(key)
		}
		out, err := b.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{
			Bucket: &b.conf.Bucket, Delete: &types.Delete{Objects: ids, Quiet: aws.Bool(true)},
		})
		if err != nil {
			return err
		}
		pending = nil
		var again *objstore.Error
		for _, e := range out.Errors {
			key := strings.TrimPrefix(aws.ToString(e.Key), b.Prefix)
			kind := kindOf(0, aws.ToString(e.Code), objstore.ErrTransient)
			ke := &objstore.Error{Kind: kind, Op: "delete", Key: key, Code: aws.ToString(e.Code), Err: errors.New(aws.ToString(e.Message))}
			switch {
			case kind == objstore.ErrNotFound:
			case kind.Retriable():
				pending, again = append(pending, key), ke
				failed[key] = ke
			default:
				batch.Add(key, ke)
			}
		}
		if again != nil {
			return again
		}
		return nil
	})
	for _, key := range pending {
		if err != nil {
			if failed[key] == nil || ctx.Err() != nil {
				failed[key] = err
			}
			batch.Add(key, failed[key])
		}
	}
}
