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
	if err := b.checkKey("tags", key); err != nil {
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
	if err := b.checkKey("set tags", key); err != nil {
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

// LifecycleRules implements objstore.LifecycleReader.
func (b *Bucket) LifecycleRules(ctx context.Context) ([]objstore.LifecycleRule, error) {
	var rules []objstore.LifecycleRule
	err := b.do(ctx, "lifecycle", "", b.conf.Read, func(ctx context.Context) error {
		out, err := b.client.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: &b.conf.Bucket})
		var api smithy.APIError
		switch {
		case errors.As(err, &api) && api.ErrorCode() == "NoSuchLifecycleConfiguration":
			return nil
		case err != nil:
			return err
		}
		rules = nil
		for _, r := range out.Rules {
			rules = append(rules, lifecycle(r)...)
		}
		return nil
	})
	return rules, err
}

// lifecycle is one of S3's rules, which may say several things.
func lifecycle(r types.LifecycleRule) []objstore.LifecycleRule {
	base := objstore.LifecycleRule{ID: aws.ToString(r.ID), Prefix: aws.ToString(r.Prefix), Enabled: r.Status == types.ExpirationStatusEnabled}
	if f := r.Filter; f != nil {
		if f.Prefix != nil {
			base.Prefix = *f.Prefix
		}
		base.Narrow = f.Tag != nil || f.ObjectSizeGreaterThan != nil || f.ObjectSizeLessThan != nil
		if f.And != nil {
			base.Prefix, base.Narrow = aws.ToString(f.And.Prefix), true
		}
	}
	var out []objstore.LifecycleRule
	if r.Expiration != nil && !aws.ToBool(r.Expiration.ExpiredObjectDeleteMarker) {
		rule := base
		rule.Expire, rule.Days = true, int(aws.ToInt32(r.Expiration.Days))
		out = append(out, rule)
	}
	for _, tr := range r.Transitions {
		rule := base
		rule.Class, rule.Days = objstore.Class(tr.StorageClass), int(aws.ToInt32(tr.Days))
		out = append(out, rule)
	}
	if r.AbortIncompleteMultipartUpload != nil {
		rule := base
		rule.AbortUploads, rule.Days = true, int(aws.ToInt32(r.AbortIncompleteMultipartUpload.DaysAfterInitiation))
		out = append(out, rule)
	}
	return out
}
