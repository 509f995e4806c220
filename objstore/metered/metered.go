// Package metered counts what a Bucket is asked for: operations by outcome, bytes, seconds and
// the money that the cloud takes for requests.
//
// It owns the metrics of the object store (metrics.go) and the table of prices; it changes
// nothing that passes through. What is counted is operations as the caller sees them, with
// their retries inside; an upload in parts counts as the requests that it takes when all goes
// well. It is as safe for concurrent use as the Bucket behind it.
package metered

import (
	"cmp"
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

// Bucket counts what goes through to another one, by its optional interfaces too.
type Bucket struct {
	*objstore.Extras
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
	w := &Bucket{b: b, prices: pricesOf[scheme], metrics: m}
	w.Extras = &objstore.Extras{Behind: b, Around: w.count}
	return w, nil
}

// names of the operations that go through the optional interfaces, for their metrics.
var names = map[string]string{"set class": "set_class", "set tags": "set_tags", "custom time": "custom_time", "set custom time": "set_custom_time"}

// count is a call of one of the optional interfaces. A change of an object is priced as a put,
// whatever reads as a get; deletes are free.
func (b *Bucket) count(op, key string, call func(key string) error) error {
	begun := time.Now()
	err := call(key)
	price := b.prices.Put
	switch op {
	case "delete":
		price = 0
	case "sweep":
		price = b.prices.List
	case "tags", "custom time", "settings", "lifecycle":
		price = b.prices.Get
	}
	b.metrics.done(cmp.Or(names[op], op), begun, err, 0, price/1000)
	return err
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

// Capabilities implements objstore.Bucket.
func (b *Bucket) Capabilities() objstore.Capabilities { return b.b.Capabilities() }

// Close implements objstore.Bucket.
func (b *Bucket) Close() error { return b.b.Close() }
