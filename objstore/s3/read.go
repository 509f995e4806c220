package s3

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/varve-io/varve/objstore"
)

// Head implements objstore.Bucket. S3 does not say in this answer whether it is the object or
// the whole bucket that is missing.
func (b *Bucket) Head(ctx context.Context, key string) (objstore.Attrs, error) {
	return b.head(ctx, "head", key, "")
}

func (b *Bucket) head(ctx context.Context, op, key string, ifv objstore.Version) (objstore.Attrs, error) {
	if err := b.CheckKey(op, key); err != nil {
		return objstore.Attrs{}, err
	}
	in := &s3.HeadObjectInput{Bucket: &b.conf.Bucket, Key: b.name(key), IfMatch: ifMatch(ifv)}
	if !b.conf.NoChecksum {
		in.ChecksumMode = types.ChecksumModeEnabled
	}
	var a objstore.Attrs
	err := b.do(ctx, op, key, b.conf.Read, func(ctx context.Context) error {
		out, err := b.client.HeadObject(ctx, in)
		if err != nil {
			return err
		}
		a = objstore.Attrs{
			Key: key, Size: aws.ToInt64(out.ContentLength), Version: objstore.Version(aws.ToString(out.ETag)),
			Modified: aws.ToTime(out.LastModified), Class: objstore.Class(out.StorageClass), Meta: lower(out.Metadata),
			Offline: offline(string(out.StorageClass)) && !restored(out.Restore),
		}
		a.CRC32C, a.HasCRC = parseSum(out.ChecksumCRC32C)
		return nil
	})
	return a, err
}

func offline(class string) bool { return slices.Contains(offlineClasses, objstore.Class(class)) }

// restored reads the header that a restored object has: ongoing-request="false", expiry-date=…
func restored(header *string) bool {
	return strings.Contains(aws.ToString(header), `ongoing-request="false"`)
}

// lower makes metadata names what they were; some stores give them back in another case.
func lower(meta map[string]string) map[string]string {
	out := make(map[string]string, len(meta))
	for name, value := range meta {
		out[strings.ToLower(name)] = value
	}
	return out
}

func ifMatch(v objstore.Version) *string {
	if v == "" {
		return nil
	}
	return aws.String(string(v))
}
