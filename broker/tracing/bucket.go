package tracing

import (
	"context"
	"io"

	"go.opentelemetry.io/otel/trace"

	"github.com/varve-io/varve/objstore"
)

// bucket is a Bucket whose calls are parts of the spans that they are made in.
type bucket struct {
	*objstore.Extras
	b        objstore.Bucket
	provider string
}

// Bucket is b with a span for each call that is made in one. The provider is the scheme of its
// URL. Without a Tracer it is b itself.
func (t *Tracer) Bucket(b objstore.Bucket, provider string) objstore.Bucket {
	if t == nil {
		return b
	}
	return bucket{&objstore.Extras{Behind: b}, b, provider}
}

// call begins the span of a call.
func (b bucket) call(ctx context.Context, op, key string) (context.Context, *Span) {
	ctx, s := start(ctx, "objstore "+op, trace.SpanKindClient)
	s.String("varve.objstore.provider", b.provider)
	s.String("varve.objstore.operation", op)
	s.String("varve.objstore.key", key)
	return ctx, s
}

// Put implements objstore.Bucket.
func (b bucket) Put(ctx context.Context, key string, src objstore.Source, o objstore.PutOpts) (objstore.Attrs, error) {
	ctx, s := b.call(ctx, "put", key)
	s.Int("varve.objstore.bytes", src.Size)
	a, err := b.b.Put(ctx, key, src, o)
	s.End(err)
	return a, err
}

// GetRange implements objstore.Bucket.
func (b bucket) GetRange(ctx context.Context, key string, off int64, p []byte, ifv objstore.Version) (objstore.Attrs, error) {
	ctx, s := b.call(ctx, "get", key)
	s.Int("varve.objstore.bytes", int64(len(p)))
	a, err := b.b.GetRange(ctx, key, off, p, ifv)
	s.End(err)
	return a, err
}

// Open implements objstore.Bucket. Its span ends with the first byte.
func (b bucket) Open(ctx context.Context, key string, off, n int64, ifv objstore.Version) (io.ReadCloser, objstore.Attrs, error) {
	ctx, s := b.call(ctx, "open", key)
	r, a, err := b.b.Open(ctx, key, off, n, ifv)
	s.End(err)
	return r, a, err
}

// Head implements objstore.Bucket.
func (b bucket) Head(ctx context.Context, key string) (objstore.Attrs, error) {
	ctx, s := b.call(ctx, "head", key)
	a, err := b.b.Head(ctx, key)
	s.End(err)
	return a, err
}

// List implements objstore.Bucket.
func (b bucket) List(ctx context.Context, prefix, after string, limit int) (objstore.Page, error) {
	ctx, s := b.call(ctx, "list", prefix)
	p, err := b.b.List(ctx, prefix, after, limit)
	s.End(err)
	return p, err
}

// Delete implements objstore.Bucket. Of many keys the first one is named.
func (b bucket) Delete(ctx context.Context, keys ...string) error {
	first := ""
	if len(keys) > 0 {
		first = keys[0]
	}
	ctx, s := b.call(ctx, "delete", first)
	s.Int("varve.objstore.keys", int64(len(keys)))
	err := b.b.Delete(ctx, keys...)
	s.End(err)
	return err
}

// Capabilities implements objstore.Bucket.
func (b bucket) Capabilities() objstore.Capabilities { return b.b.Capabilities() }

// Close implements objstore.Bucket.
func (b bucket) Close() error { return b.b.Close() }
