package s3

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/retry"
)

// unsigned sends a payload without hashing it for the signature: its CRC32C is checked by the
// store, and a SHA-256 costs three times the CPU of the whole upload.
var unsigned = s3.WithAPIOptions(v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)

// Put implements objstore.Bucket.
func (b *Bucket) Put(ctx context.Context, key string, src objstore.Source, o objstore.PutOpts) (objstore.Attrs, error) {
	if err := b.CheckKey("put", key); err != nil {
		return objstore.Attrs{}, err
	}
	if err := objstore.CheckPut(key, src, o, b.Capabilities()); err != nil {
		return objstore.Attrs{}, err
	}
	if err := ctx.Err(); err != nil {
		return objstore.Attrs{}, objstore.Wrap("put", key, err)
	}
	if !b.conf.NoChecksum && !src.HasCRC {
		sum, err := src.Checksum()
		if err != nil {
			return objstore.Attrs{}, retry.SourceError(key, err)
		}
		src.CRC32C, src.HasCRC = sum, true
	}
	return objstore.PutSettled(ctx, key, src, o, b.Head, func(ctx context.Context, o objstore.PutOpts) (objstore.Attrs, error) {
		if size := partSize(src.Size, o.PartSize); size < src.Size {
			return b.putParts(ctx, key, src, o, size)
		}
		return b.putWhole(ctx, key, src, o)
	})
}

// putWhole uploads in one request.
func (b *Bucket) putWhole(ctx context.Context, key string, src objstore.Source, o objstore.PutOpts) (objstore.Attrs, error) {
	var a objstore.Attrs
	err := b.do(ctx, "put", key, b.conf.Write, func(ctx context.Context) error {
		body := retry.NewBody(key, src)
		out, err := b.client.PutObject(ctx, &s3.PutObjectInput{
			Bucket: &b.conf.Bucket, Key: b.name(key),
			Body: body, ContentLength: aws.Int64(src.Size),
			ChecksumCRC32C: b.sum(src.CRC32C),
			IfNoneMatch:    ifAbsent(o), IfMatch: ifVersion(o),
			Metadata: o.Meta, StorageClass: types.StorageClass(o.Class), Tagging: tagging(o.Tags),
		}, unsigned)
		if err != nil {
			return body.Blame(ifMatchMissing(o, key, err))
		}
		a = putAttrs(key, src, o, out.ETag, out.ChecksumCRC32C)
		return nil
	})
	return a, err
}

// ifMatchMissing turns the 404 that S3 gives to an If-Match on a missing object into what it
// is for the caller: a condition that does not hold.
func ifMatchMissing(o objstore.PutOpts, key string, err error) error {
	var api smithy.APIError
	if o.IfVersion != "" && errors.As(err, &api) && api.ErrorCode() == "NoSuchKey" {
		return objstore.NewError(objstore.ErrPrecondition, "put", key, errors.New("the object is missing"))
	}
	return err
}

func ifAbsent(o objstore.PutOpts) *string {
	if o.IfAbsent {
		return aws.String("*")
	}
	return nil
}

func ifVersion(o objstore.PutOpts) *string {
	if o.IfVersion != "" {
		return aws.String(string(o.IfVersion))
	}
	return nil
}

// sum is the header's form of a CRC32C: base64 of its four bytes, the highest first.
func (b *Bucket) sum(crc uint32) *string {
	if b.conf.NoChecksum {
		return nil
	}
	return aws.String(base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc)))
}

// parseSum reads the header's form; a checksum of checksums ("…-3") is not one of the object.
func parseSum(s *string) (uint32, bool) {
	raw, err := base64.StdEncoding.DecodeString(aws.ToString(s))
	if err != nil || len(raw) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(raw), true
}

func tagging(tags map[string]string) *string {
	if len(tags) == 0 {
		return nil
	}
	v := make(url.Values, len(tags))
	for name, value := range tags {
		v.Set(name, value)
	}
	return aws.String(v.Encode())
}

func putAttrs(key string, src objstore.Source, o objstore.PutOpts, etag, sum *string) objstore.Attrs {
	a := objstore.Attrs{Key: key, Size: src.Size, Version: objstore.Version(aws.ToString(etag)), Class: o.Class, Meta: o.Meta}
	a.CRC32C, a.HasCRC = parseSum(sum)
	return a
}
