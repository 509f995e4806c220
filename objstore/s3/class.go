package s3

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/varve-io/varve/objstore"
)

// copyMax, in bytes, is the largest object that S3 copies in one request.
const copyMax = 5 << 30

// SetClass implements objstore.ClassSetter. S3 knows no other way than to copy the object onto
// itself, which costs a put; both conditions keep a writer in between from being undone.
func (b *Bucket) SetClass(ctx context.Context, key string, class objstore.Class) error {
	const op = "set class"
	if err := b.Capabilities().CheckClass(op, key, class); err != nil {
		return err
	}
	a, err := b.head(ctx, op, key, "")
	switch {
	case err != nil:
		return err
	case a.Size > copyMax:
		return objstore.NewError(objstore.ErrTooLarge, op, key, fmt.Errorf("%d bytes, and S3 copies at most %d at once", a.Size, copyMax))
	}
	return b.do(ctx, op, key, b.conf.Write, func(ctx context.Context) error {
		_, err := b.client.CopyObject(ctx, &s3.CopyObjectInput{
			Bucket: &b.conf.Bucket, Key: b.name(key), CopySource: aws.String(b.conf.Bucket + "/" + *b.name(key)),
			CopySourceIfMatch: ifMatch(a.Version), IfMatch: ifMatch(a.Version),
			StorageClass: types.StorageClass(class), MetadataDirective: types.MetadataDirectiveCopy,
		})
		return err
	})
}

// Restore implements objstore.Restorer: a temporary copy, at the standard speed and price.
func (b *Bucket) Restore(ctx context.Context, key string, days int) error {
	const op = "restore"
	if a, err := b.head(ctx, op, key, ""); err != nil || !a.Offline {
		return err
	}
	return b.do(ctx, op, key, b.conf.Write, func(ctx context.Context) error {
		_, err := b.client.RestoreObject(ctx, &s3.RestoreObjectInput{
			Bucket: &b.conf.Bucket, Key: b.name(key),
			RestoreRequest: &types.RestoreRequest{
				Days: aws.Int32(int32(days)), GlacierJobParameters: &types.GlacierJobParameters{Tier: types.TierStandard},
			},
		})
		var api smithy.APIError
		if errors.As(err, &api) && api.ErrorCode() == "RestoreAlreadyInProgress" {
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
		out, err := b.client.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: &b.conf.Bucket, Key: b.name(key)})
		if err != nil {
			return err
		}
		for _, tag := range out.TagSet {
			tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
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
	set := []types.Tag{}
	for name, value := range tags {
		set = append(set, types.Tag{Key: aws.String(name), Value: aws.String(value)})
	}
	return b.do(ctx, "set tags", key, b.conf.Write, func(ctx context.Context) error {
		_, err := b.client.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{
			Bucket: &b.conf.Bucket, Key: b.name(key), Tagging: &types.Tagging{TagSet: set},
		})
		return err
	})
}
