package s3

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/retry"
)

// Sizes in bytes. Each part is a request that is paid for, so one request carries what a
// segment usually has; S3 takes parts of 5 MiB to 5 GiB, 10,000 of them.
const (
	wholeDefault = 64 << 20
	partDefault  = 32 << 20
	partMin      = 5 << 20
	partMax      = 5 << 30
	partsMax     = 10_000
	// parallelDefault parts are on their way at once.
	parallelDefault = 4
	// abortTimeout bounds the clean-up after a failed upload, which must not depend on the
	// context that failed it.
	abortTimeout = 10 * time.Second
	// restarts of an upload that met another writer (409): S3 wants it begun anew.
	restarts = 3
)

// partSize is the size of the parts of an object; one that is not larger goes up whole.
func partSize(size, asked int64) int64 {
	part := asked
	switch {
	case asked > 0:
		part = min(max(asked, partMin), partMax)
	case size <= wholeDefault:
		return wholeDefault
	default:
		part = partDefault
	}
	for part < partMax && (size+part-1)/part > partsMax {
		part = min(2*part, partMax)
	}
	return part
}

// putParts uploads in parts; the condition is checked when they are put together.
func (b *Bucket) putParts(ctx context.Context, key string, src objstore.Source, o objstore.PutOpts, size int64) (objstore.Attrs, error) {
	for try := 1; ; try++ {
		a, err := b.upload(ctx, key, src, o, size)
		if err == nil || !errors.Is(err, objstore.ErrConflict) || try == restarts {
			return a, err
		}
	}
}

// upload is one multipart upload from its creation to its end; a failed one leaves nothing.
func (b *Bucket) upload(ctx context.Context, key string, src objstore.Source, o objstore.PutOpts, size int64) (a objstore.Attrs, err error) {
	up := &upload{b: b, key: key, src: src, size: size}
	if err := up.create(ctx, o); err != nil {
		return objstore.Attrs{}, err
	}
	defer func() {
		if err != nil {
			up.abort(ctx)
		}
	}()
	if err := up.sendAll(ctx, o.Parallel); err != nil {
		return objstore.Attrs{}, err
	}
	return up.complete(ctx, o)
}

// upload is a multipart upload under way.
type upload struct {
	b     *Bucket
	key   string
	src   objstore.Source
	size  int64 // of each part but the last
	id    *string
	parts []types.CompletedPart
}

func (u *upload) create(ctx context.Context, o objstore.PutOpts) error {
	in := &s3.CreateMultipartUploadInput{
		Bucket: &u.b.conf.Bucket, Key: u.b.name(u.key),
		Metadata: o.Meta, StorageClass: types.StorageClass(o.Class), Tagging: tagging(o.Tags),
	}
	if !u.b.conf.NoChecksum {
		in.ChecksumAlgorithm, in.ChecksumType = types.ChecksumAlgorithmCrc32c, types.ChecksumTypeFullObject
	}
	return u.b.do(ctx, "create upload", u.key, u.b.conf.Write, func(ctx context.Context) error {
		out, err := u.b.client.CreateMultipartUpload(ctx, in)
		if err == nil {
			u.id = out.UploadId
		}
		return err
	})
}

// sendAll uploads every part, some at once; the first failure ends the others.
func (u *upload) sendAll(ctx context.Context, parallel int) error {
	u.parts = make([]types.CompletedPart, (u.src.Size+u.size-1)/u.size)
	if parallel <= 0 {
		parallel = parallelDefault
	}
	return objstore.Wrap("put", u.key, retry.Each(ctx, len(u.parts), parallel, u.send))
}

// send uploads part i, counted from 0.
func (u *upload) send(ctx context.Context, i int) error {
	off := int64(i) * u.size
	part := u.src.Part(off, min(u.size, u.src.Size-off))
	number := aws.Int32(int32(i + 1))
	var sum *string
	if !u.b.conf.NoChecksum {
		crc, err := part.Checksum()
		if err != nil {
			return retry.SourceError(u.key, err)
		}
		sum = u.b.sum(crc)
	}
	return u.b.do(ctx, "put part", u.key, u.b.conf.Write, func(ctx context.Context) error {
		body := retry.NewBody(u.key, part)
		out, err := u.b.client.UploadPart(ctx, &s3.UploadPartInput{
			Bucket: &u.b.conf.Bucket, Key: u.b.name(u.key), UploadId: u.id, PartNumber: number,
			Body: body, ContentLength: aws.Int64(part.Size), ChecksumCRC32C: sum,
		}, unsigned)
		if err != nil {
			return body.Blame(err)
		}
		u.parts[i] = types.CompletedPart{PartNumber: number, ETag: out.ETag, ChecksumCRC32C: sum}
		return nil
	})
}

// complete puts the parts together, if the condition holds. A repetition of a request whose
// reply was lost finds no upload any more; whether that is our success, the write token tells.
func (u *upload) complete(ctx context.Context, o objstore.PutOpts) (objstore.Attrs, error) {
	in := &s3.CompleteMultipartUploadInput{
		Bucket: &u.b.conf.Bucket, Key: u.b.name(u.key), UploadId: u.id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts},
		IfNoneMatch:     ifAbsent(o), IfMatch: ifVersion(o),
	}
	if !u.b.conf.NoChecksum {
		in.ChecksumType, in.ChecksumCRC32C = types.ChecksumTypeFullObject, u.b.sum(u.src.CRC32C)
	}
	var (
		a        objstore.Attrs
		conflict error
		attempts int
	)
	err := u.b.do(ctx, "put", u.key, u.b.conf.Write, func(ctx context.Context) error {
		attempts++
		out, err := u.b.client.CompleteMultipartUpload(ctx, in)
		var api smithy.APIError
		switch {
		case err == nil:
			a = putAttrs(u.key, u.src, o, out.ETag, out.ChecksumCRC32C)
			return nil
		case errors.As(err, &api) && api.ErrorCode() == "ConditionalRequestConflict" && attempts == 1:
			conflict = classify(ctx, "put", u.key, err) // this upload is done for: begin anew
			return nil
		case errors.As(err, &api) && api.ErrorCode() == "NoSuchUpload":
			return &objstore.Error{Kind: objstore.ErrAmbiguous, Op: "put", Key: u.key, Code: api.ErrorCode(), Err: err}
		}
		return ifMatchMissing(o, u.key, err)
	})
	if err == nil {
		err = conflict
	}
	return a, err
}

// abort ends an upload that failed, so that its parts are not paid for. After it, a request to
// complete that is still on its way can do nothing any more. What it fails to remove is left
// to SweepUploads.
func (u *upload) abort(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	// The upload failed for a reason that the caller knows; this one adds nothing to it.
	_ = u.b.abort(ctx, u.b.name(u.key), u.id)
}

// abort ends the upload of a name within the bucket. One that is gone already is success.
func (b *Bucket) abort(ctx context.Context, name, id *string) error {
	return b.do(ctx, "abort upload", aws.ToString(name), b.conf.Read, func(ctx context.Context) error {
		_, err := b.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &b.conf.Bucket, Key: name, UploadId: id})
		var api smithy.APIError
		if errors.As(err, &api) && api.ErrorCode() == "NoSuchUpload" {
			return nil
		}
		return err
	})
}

// SweepUploads implements objstore.Sweeper.
func (b *Bucket) SweepUploads(ctx context.Context, prefix string, age time.Duration) (int, error) {
	if err := objstore.CheckList(prefix, ""); err != nil {
		return 0, err
	}
	swept := 0
	before := time.Now().Add(-age)
	in := &s3.ListMultipartUploadsInput{Bucket: &b.conf.Bucket, Prefix: b.name(prefix)}
	for {
		var out *s3.ListMultipartUploadsOutput
		err := b.do(ctx, "sweep", prefix, b.conf.Read, func(ctx context.Context) (err error) {
			out, err = b.client.ListMultipartUploads(ctx, in)
			return err
		})
		if err != nil {
			return swept, err
		}
		for _, up := range out.Uploads {
			if aws.ToTime(up.Initiated).After(before) {
				continue
			}
			if err := b.abort(ctx, up.Key, up.UploadId); err != nil {
				return swept, err
			}
			swept++
		}
		if !aws.ToBool(out.IsTruncated) {
			return swept, nil
		}
		in.KeyMarker, in.UploadIdMarker = out.NextKeyMarker, out.NextUploadIdMarker
	}
}
