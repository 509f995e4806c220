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

// Settings implements objstore.Inspector. A store that knows nothing of a setting has not set it.
func (b *Bucket) Settings(ctx context.Context) (objstore.BucketSettings, error) {
	var s objstore.BucketSettings
	err := b.do(ctx, "settings", "", b.conf.Read, func(ctx context.Context) error {
		out, err := b.client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &b.conf.Bucket})
		if err == nil {
			s.Versioning = out.Status == types.BucketVersioningStatusEnabled
		}
		return err
	})
	if err != nil && !errors.Is(err, objstore.ErrUnsupported) {
		return s, err
	}
	err = b.do(ctx, "settings", "", b.conf.Read, func(ctx context.Context) error {
		out, err := b.client.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &b.conf.Bucket})
		var api smithy.APIError
		switch {
		case errors.As(err, &api) && api.ErrorCode() == "ObjectLockConfigurationNotFoundError":
			return nil
		case err != nil:
			return err
		}
		s.Locked = locked(out.ObjectLockConfiguration)
		return nil
	})
	if errors.Is(err, objstore.ErrUnsupported) {
		err = nil
	}
	return s, err
}

// locked says for how long every new object can't be deleted; a lock without a default rule
// holds none of ours.
func locked(c *types.ObjectLockConfiguration) string {
	if c == nil || c.Rule == nil || c.Rule.DefaultRetention == nil {
		return ""
	}
	r := c.Rule.DefaultRetention
	return fmt.Sprintf("object lock in mode %s for %d days and %d years", r.Mode, aws.ToInt32(r.Days), aws.ToInt32(r.Years))
}
