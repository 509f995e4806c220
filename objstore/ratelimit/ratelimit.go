// Package ratelimit bounds the bytes per second that go to and come from a Bucket, so that work
// in the background leaves room on the line, within one large object too.
//
// It owns two rates, one each way, shared by all operations. It bounds bytes of objects, not
// requests, and delays nothing that is smaller than what has been saved up.
// A Bucket may be used from any number of goroutines.
package ratelimit

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/varve-io/varve/objstore"
)

// piece, in bytes, is what is paid for at once: it is the finest step of a slow upload.
const piece = 64 << 10

// Bucket delays what goes through to another one. Its optional interfaces carry no bytes, and pass.
type Bucket struct {
	objstore.Bucket
	*objstore.Extras
	write, read *rate
}

// Wrap bounds b to so many bytes per second each way; 0 is no bound.
func Wrap(b objstore.Bucket, writeBytes, readBytes int64) *Bucket {
	return &Bucket{Bucket: b, Extras: &objstore.Extras{Behind: b}, write: newRate(writeBytes), read: newRate(readBytes)}
}

// rate is a purse into which a second's bytes go each second, up to one second's worth.
type rate struct {
	perSecond float64
	mu        struct {
		sync.Mutex
		purse float64 // may be in debt
		at    time.Time
	}
}

func newRate(perSecond int64) *rate {
	r := &rate{perSecond: float64(perSecond)}
	r.mu.purse, r.mu.at = r.perSecond, time.Now()
	return r
}

// pay takes n bytes' worth, and waits until a debt is paid. Who comes while others wait, waits
// longer.
func (r *rate) pay(ctx context.Context, n int) error {
	if r.perSecond <= 0 || n == 0 {
		return ctx.Err()
	}
	r.mu.Lock()
	now := time.Now()
	r.mu.purse = min(r.mu.purse+now.Sub(r.mu.at).Seconds()*r.perSecond, r.perSecond) - float64(n)
	r.mu.at = now
	debt := -r.mu.purse
	r.mu.Unlock()
	if debt <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(time.Duration(debt / r.perSecond * float64(time.Second)))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// source is what a Put reads, no faster than allowed. Bytes that are sent again are paid again,
// and those that are read for their checksum alone: give the source its checksum.
type source struct {
	ctx  context.Context
	r    io.ReaderAt
	rate *rate
}

func (s source) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) && err == nil {
		step := p[n:min(n+piece, len(p))]
		if err = s.rate.pay(s.ctx, len(step)); err != nil {
			return n, err
		}
		var m int
		m, err = s.r.ReadAt(step, off+int64(n))
		n += m
	}
	return n, err
}

// Put implements objstore.Bucket.
func (b *Bucket) Put(ctx context.Context, key string, src objstore.Source, o objstore.PutOpts) (objstore.Attrs, error) {
	if src.R != nil {
		src.R = source{ctx: ctx, r: src.R, rate: b.write}
	}
	a, err := b.Bucket.Put(ctx, key, src, o)
	if err != nil && ctx.Err() != nil { // and no failure of the source, as it looks from below
		err = objstore.NewError(objstore.ErrCanceled, "put", key, ctx.Err())
	}
	return a, err
}

// GetRange implements objstore.Bucket.
func (b *Bucket) GetRange(ctx context.Context, key string, off int64, p []byte, ifv objstore.Version) (objstore.Attrs, error) {
	if err := b.read.pay(ctx, len(p)); err != nil {
		return objstore.Attrs{}, objstore.Wrap("get", key, err)
	}
	return b.Bucket.GetRange(ctx, key, off, p, ifv)
}

// Open implements objstore.Bucket.
func (b *Bucket) Open(ctx context.Context, key string, off, n int64, ifv objstore.Version) (io.ReadCloser, objstore.Attrs, error) {
	r, a, err := b.Bucket.Open(ctx, key, off, n, ifv)
	if err != nil {
		return nil, a, err
	}
	return &reader{ReadCloser: r, ctx: ctx, key: key, rate: b.read}, a, nil
}

type reader struct {
	io.ReadCloser
	ctx  context.Context
	key  string
	rate *rate
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p[:min(len(p), piece)])
	if perr := r.rate.pay(r.ctx, n); perr != nil && err == nil {
		err = objstore.Wrap("open", r.key, perr)
	}
	return n, err
}
