package s3

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/varve-io/varve/objstore"
)

// progress, in bytes, is what makes a broken read a fresh one: a connection that gives less
// each time is given up after as many attempts as one that gives nothing.
const progress = 64 << 10

// Head implements objstore.Bucket. S3 does not say in this answer whether it is the object or
// the whole bucket that is missing.
func (b *Bucket) Head(ctx context.Context, key string) (objstore.Attrs, error) {
	return b.head(ctx, "head", key, "")
}

func (b *Bucket) head(ctx context.Context, op, key string, ifv objstore.Version) (objstore.Attrs, error) {
	if err := b.checkKey(op, key); err != nil {
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

// offline classes have to be restored before an object can be read.
func offline(class string) bool { return class == "GLACIER" || class == "DEEP_ARCHIVE" }

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

// GetRange implements objstore.Bucket.
func (b *Bucket) GetRange(ctx context.Context, key string, off int64, p []byte, ifv objstore.Version) (objstore.Attrs, error) {
	n := int64(len(p))
	if n == 0 {
		a, err := b.head(ctx, "get", key, ifv)
		if err == nil {
			err = objstore.FullRange(key, off, 0, a.Size)
		}
		return a, err
	}
	r, a, err := b.open(ctx, "get", key, off, n, ifv)
	if err != nil {
		return objstore.Attrs{}, err
	}
	defer r.Close()
	if err := objstore.FullRange(key, off, n, a.Size); err != nil {
		return objstore.Attrs{}, err
	}
	if _, err := io.ReadFull(r, p); err != nil {
		return objstore.Attrs{}, objstore.Wrap("get", key, err)
	}
	return a, nil
}

// Open implements objstore.Bucket. The reader goes on where a connection broke, as long as the
// object is the same.
func (b *Bucket) Open(ctx context.Context, key string, off, n int64, ifv objstore.Version) (io.ReadCloser, objstore.Attrs, error) {
	r, a, err := b.open(ctx, "open", key, off, n, ifv)
	if err != nil {
		return nil, objstore.Attrs{}, err
	}
	return r, a, nil
}

func (b *Bucket) open(ctx context.Context, op, key string, off, n int64, ifv objstore.Version) (*reader, objstore.Attrs, error) {
	if err := b.checkKey(op, key); err != nil {
		return nil, objstore.Attrs{}, err
	}
	if off < 0 || n == 0 {
		return nil, objstore.Attrs{}, objstore.NewError(objstore.ErrInvalidRange, op, key, fmt.Errorf("%d bytes at %d", n, off))
	}
	r := &reader{b: b, ctx: ctx, op: op, key: key, off: off, end: -1, version: ifv}
	if n > 0 {
		r.end = off + n
	}
	if err := r.request(); err != nil {
		return nil, objstore.Attrs{}, err
	}
	n, err := objstore.ClampRange(op, key, off, n, r.attrs.Size)
	if err != nil {
		r.Close()
		return nil, objstore.Attrs{}, err
	}
	r.end = off + n
	return r, r.attrs, nil
}

// reader reads a run of an object over as many connections as it takes.
type reader struct {
	b        *Bucket
	ctx      context.Context
	op, key  string
	off, end int64 // what is left; end < 0 is the end of the object
	version  objstore.Version
	attrs    objstore.Attrs
	body     io.ReadCloser
	breaks   int   // in a row
	since    int64 // bytes read since the last break
	err      error // final
}

// request asks for what is left, under the version that was found first.
func (r *reader) request() error {
	in := &s3.GetObjectInput{Bucket: &r.b.conf.Bucket, Key: r.b.name(r.key), IfMatch: ifMatch(r.version)}
	switch {
	case r.end >= 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", r.off, r.end-1))
	case r.off > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", r.off))
	}
	// The policy's deadline is for the answer; the body has the caller's.
	policy := r.b.conf.Read
	policy.Deadline = 0
	return r.b.do(r.ctx, r.op, r.key, policy, func(context.Context) error {
		out, err := r.b.client.GetObject(r.ctx, in)
		if err != nil {
			return err
		}
		a := objstore.Attrs{
			Key: r.key, Size: aws.ToInt64(out.ContentLength), Version: objstore.Version(aws.ToString(out.ETag)),
			Modified: aws.ToTime(out.LastModified), Class: objstore.Class(out.StorageClass), Meta: lower(out.Metadata),
		}
		start := int64(0)
		if in.Range != nil {
			if start, a.Size, err = parseContentRange(aws.ToString(out.ContentRange)); err != nil {
				out.Body.Close()
				return objstore.NewError(objstore.ErrUnsupported, r.op, r.key, err)
			}
		}
		switch {
		case r.version != "" && a.Version != r.version:
			out.Body.Close() // a store that does not know If-Match
			return objstore.NewError(objstore.ErrPrecondition, r.op, r.key, nil)
		case start != r.off:
			out.Body.Close()
			return objstore.NewError(objstore.ErrUnsupported, r.op, r.key, fmt.Errorf("asked for offset %d, the store answers with %d", r.off, start))
		}
		r.version, r.attrs, r.body = a.Version, a, out.Body
		return nil
	})
}

// parseContentRange reads "bytes 10-19/100".
func parseContentRange(s string) (start, size int64, err error) {
	span, total, ok := strings.Cut(strings.TrimPrefix(s, "bytes "), "/")
	first, _, ok2 := strings.Cut(span, "-")
	start, err = strconv.ParseInt(first, 10, 64)
	if err == nil {
		size, err = strconv.ParseInt(total, 10, 64)
	}
	if !ok || !ok2 || err != nil {
		return 0, 0, fmt.Errorf("the store answers a range with Content-Range %q", s)
	}
	return start, size, nil
}

func (r *reader) Read(p []byte) (int, error) {
	for {
		switch {
		case r.err != nil:
			return 0, r.err
		case r.off >= r.end:
			return 0, io.EOF
		case len(p) == 0:
			return 0, nil
		}
		n, err := r.body.Read(p[:min(int64(len(p)), r.end-r.off)])
		r.off += int64(n)
		r.since += int64(n)
		if err != nil && r.off < r.end {
			r.err = r.resume(err)
		}
		if n > 0 {
			return n, nil
		}
	}
}

// resume opens what is left after the body broke off.
func (r *reader) resume(cause error) error {
	if cause == io.EOF {
		cause = io.ErrUnexpectedEOF
	}
	r.body.Close()
	if r.since >= progress {
		r.breaks = 0
	}
	r.breaks++
	r.since = 0
	policy := r.b.conf.Read
	broken := &objstore.Error{Kind: objstore.ErrTransient, Op: r.op, Key: r.key, Attempts: r.breaks, Err: fmt.Errorf("broken off at %d: %w", r.off, cause)}
	switch {
	case r.ctx.Err() != nil:
		return objstore.NewError(objstore.ErrCanceled, r.op, r.key, r.ctx.Err())
	case r.breaks >= policy.Attempts:
		return broken
	}
	return r.request()
}

func (r *reader) Close() error { return r.body.Close() }
