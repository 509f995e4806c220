// Package metered counts what a Bucket is asked for: operations by outcome, bytes, seconds and
// the money that the cloud takes for requests.
//
// It owns the metrics of the object store (metrics.go) and the table of prices; it changes
// nothing that passes through. What is counted is operations as the caller sees them, with
// their retries inside; an upload in parts counts as the requests that it takes when all goes
// well. It is as safe for concurrent use as the Bucket behind it.
package metered

import (
	"context"
	"io"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varve-io/varve/objstore"
)

// Prices are dollars for a thousand requests. They are list prices of the standard class in
// one large American region: good for seeing what costs, not for checking a bill.
// Source: the price pages of the three providers.
type Prices struct {
	// Put, and each part of one; List; Get, Head and each range.
	Put, List, Get float64
}

// pricesOf a scheme. Deletes are free everywhere; what lies on a disk is too.
var pricesOf = map[string]Prices{
	"s3":     {Put: 0.005, List: 0.005, Get: 0.0004},
	"azblob": {Put: 0.005, List: 0.005, Get: 0.0004},
	"gs":     {Put: 0.005, List: 0.005, Get: 0.0004},
}

// Bucket counts what goes through to another one.
type Bucket struct {
	b       objstore.Bucket
	prices  Prices
	metrics *metrics
}

// Wrap is b with its metrics in reg. The scheme, that of the store's URL, chooses the prices.
func Wrap(b objstore.Bucket, scheme string, reg prometheus.Registerer) (*Bucket, error) {
	m, err := newMetrics(reg)
	if err != nil {
		return nil, err
	}
	return &Bucket{b: b, prices: pricesOf[scheme], metrics: m}, nil
}

// wholeBytes and partBytes are what the providers do with an upload that leaves it to them.
const wholeBytes, partBytes = 64 << 20, 32 << 20

// requests that an upload takes.
func requests(size int64, o objstore.PutOpts) int64 {
	part := o.PartSize
	switch {
	case part > 0 && size <= part, part == 0 && size <= wholeBytes:
		return 1
	case part == 0:
		part = partBytes
	}
	return 2 + (size+part-1)/part // begin, the parts, complete
}

// Put implements objstore.Bucket.
func (b *Bucket) Put(ctx context.Context, key string, src objstore.Source, o objstore.PutOpts) (objstore.Attrs, error) {
	begun := time.Now()
	a, err := b.b.Put(ctx, key, src, o)
	n := int64(0)
	if err == nil {
		n = src.Size
	}
	b.metrics.done("put", begun, err, n, float64(requests(src.Size, o))*b.prices.Put/1000)
	return a, err
}

// GetRange implements objstore.Bucket.
func (b *Bucket) GetRange(ctx context.Context, key string, off int64, p []byte, ifv objstore.Version) (objstore.Attrs, error) {
	begun := time.Now()
	a, err := b.b.GetRange(ctx, key, off, p, ifv)
	n := int64(0)
	if err == nil {
		n = int64(len(p))
	}
	b.metrics.done("get", begun, err, n, b.prices.Get/1000)
	return a, err
}

// Open implements objstore.Bucket. Its seconds end with the first byte, its bytes are what is read.
func (b *Bucket) Open(ctx context.Context, key string, off, n int64, ifv objstore.Version) (io.ReadCloser, objstore.Attrs, error) {
	begun := time.Now()
	r, a, err := b.b.Open(ctx, key, off, n, ifv)
	b.metrics.done("open", begun, err, 0, b.prices.Get/1000)
	if err != nil {
		return nil, a, err
	}
	return &reader{ReadCloser: r, m: b.metrics}, a, nil
}

// reader counts bytes as they are read, and the failure that ends it.
type reader struct {
	io.ReadCloser
	m *metrics
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.m.read(n, err)
	return n, err
}

// Head implements objstore.Bucket.
func (b *Bucket) Head(ctx context.Context, key string) (objstore.Attrs, error) {
	begun := time.Now()
	a, err := b.b.Head(ctx, key)
	b.metrics.done("head", begun, err, 0, b.prices.Get/1000)
	return a, err
}

// List implements objstore.Bucket.
func (b *Bucket) List(ctx context.Context, prefix, after string, limit int) (objstore.Page, error) {
	begun := time.Now()
	p, err := b.b.List(ctx, prefix, after, limit)
	b.metrics.done("list", begun, err, 0, b.prices.List/1000)
	return p, err
}

// Delete implements objstore.Bucket.
func (b *Bucket) Delete(ctx context.Context, keys ...string) error {
	begun := time.Now()
	err := b.b.Delete(ctx, keys...)
	b.metrics.done("delete", begun, err, 0, 0)
	return err
}

// DeleteIf implements objstore.ConditionalDeleter, if the Bucket behind it does.
func (b *Bucket) DeleteIf(ctx context.Context, key string, v objstore.Version) error {
	d, ok := b.b.(objstore.ConditionalDeleter)
	if !ok {
		return objstore.NewError(objstore.ErrUnsupported, "delete", key, nil)
	}
	begun := time.Now()
	err := d.DeleteIf(ctx, key, v)
	b.metrics.done("delete", begun, err, 0, 0)
	return err
}

// SweepUploads implements objstore.Sweeper. Where the Bucket behind it holds no unfinished
// writes there is nothing to sweep.
func (b *Bucket) SweepUploads(ctx context.Context, prefix string, age time.Duration) (int, error) {
	s, ok := b.b.(objstore.Sweeper)
	if !ok {
		return 0, nil
	}
	begun := time.Now()
	n, err := s.SweepUploads(ctx, prefix, age)
	b.metrics.done("sweep", begun, err, 0, b.prices.List/1000)
	return n, err
}

// Capabilities implements objstore.Bucket.
func (b *Bucket) Capabilities() objstore.Capabilities { return b.b.Capabilities() }

// Close implements objstore.Bucket.
func (b *Bucket) Close() error { return b.b.Close() }
