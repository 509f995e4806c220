// Package prefix shows what lies below one prefix of a Bucket as a Bucket of its own.
//
// It owns the translation of keys, in errors too, and nothing else. It is as safe for concurrent
// use as the Bucket behind it.
package prefix

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/varve-io/varve/objstore"
)

// Bucket is a part of another one, with its optional interfaces. Settings and lifecycle rules are
// those of the whole bucket.
type Bucket struct {
	*objstore.Extras
	b    objstore.Bucket
	root string // with its final slash
}

// Wrap is what lies below root in b. The root is a key by the rules of objstore.
func Wrap(b objstore.Bucket, root string) (*Bucket, error) {
	if err := objstore.CheckKey(root); err != nil {
		return nil, err
	}
	w := &Bucket{b: b, root: root + "/"}
	w.Extras = &objstore.Extras{Behind: b, Around: w.around}
	return w, nil
}

// around translates the key of a call on one of the optional interfaces.
func (b *Bucket) around(op, key string, call func(key string) error) error {
	switch op {
	case "settings", "lifecycle":
		return call(key)
	case "sweep": // a prefix, which may be cut anywhere
		return b.err(call(b.root + key))
	}
	in, err := b.in(key)
	if err != nil {
		return err
	}
	return b.err(call(in))
}

// in is the key within the Bucket behind. A key that is none stays so: "" must not become the
// root, nor "../x" what lies beside it.
func (b *Bucket) in(key string) (string, error) {
	if err := objstore.CheckKey(key); err != nil {
		return "", err
	}
	return b.root + key, nil
}

// out undoes in for an answer.
func (b *Bucket) out(a objstore.Attrs) objstore.Attrs {
	a.Key = strings.TrimPrefix(a.Key, b.root)
	return a
}

// err undoes in for an error.
func (b *Bucket) err(err error) error {
	var e *objstore.Error
	if err == nil || !errors.As(err, &e) {
		return err
	}
	c := *e
	c.Key = strings.TrimPrefix(c.Key, b.root)
	return &c
}

// Put implements objstore.Bucket.
func (b *Bucket) Put(ctx context.Context, key string, src objstore.Source, o objstore.PutOpts) (objstore.Attrs, error) {
	in, err := b.in(key)
	if err != nil {
		return objstore.Attrs{}, err
	}
	a, err := b.b.Put(ctx, in, src, o)
	return b.out(a), b.err(err)
}

// GetRange implements objstore.Bucket.
func (b *Bucket) GetRange(ctx context.Context, key string, off int64, p []byte, ifv objstore.Version) (objstore.Attrs, error) {
	in, err := b.in(key)
	if err != nil {
		return objstore.Attrs{}, err
	}
	a, err := b.b.GetRange(ctx, in, off, p, ifv)
	return b.out(a), b.err(err)
}

// Open implements objstore.Bucket.
func (b *Bucket) Open(ctx context.Context, key string, off, n int64, ifv objstore.Version) (io.ReadCloser, objstore.Attrs, error) {
	in, err := b.in(key)
	if err != nil {
		return nil, objstore.Attrs{}, err
	}
	r, a, err := b.b.Open(ctx, in, off, n, ifv)
	return r, b.out(a), b.err(err)
}

// Head implements objstore.Bucket.
func (b *Bucket) Head(ctx context.Context, key string) (objstore.Attrs, error) {
	in, err := b.in(key)
	if err != nil {
		return objstore.Attrs{}, err
	}
	a, err := b.b.Head(ctx, in)
	return b.out(a), b.err(err)
}

// List implements objstore.Bucket.
func (b *Bucket) List(ctx context.Context, prefix, after string, limit int) (objstore.Page, error) {
	if err := objstore.CheckList(prefix, after); err != nil {
		return objstore.Page{}, err
	}
	if after != "" {
		after = b.root + after
	}
	page, err := b.b.List(ctx, b.root+prefix, after, limit)
	for i, a := range page.Objects {
		page.Objects[i] = b.out(a)
	}
	page.Next = strings.TrimPrefix(page.Next, b.root)
	return page, b.err(err)
}

// Delete implements objstore.Bucket.
func (b *Bucket) Delete(ctx context.Context, keys ...string) error {
	var batch objstore.Batch
	in := make([]string, 0, len(keys))
	for _, key := range keys {
		k, err := b.in(key)
		if err != nil {
			batch.Add(key, err)
			continue
		}
		in = append(in, k)
	}
	var failed *objstore.BatchError
	switch err := b.b.Delete(ctx, in...); {
	case errors.As(err, &failed):
		for _, e := range failed.Failed {
			batch.Add(strings.TrimPrefix(e.Key, b.root), e)
		}
	case err != nil:
		return b.err(err)
	}
	return batch.Err()
}

// Capabilities implements objstore.Bucket.
func (b *Bucket) Capabilities() objstore.Capabilities { return b.b.Capabilities() }

// Close implements objstore.Bucket: it closes the Bucket behind it.
func (b *Bucket) Close() error { return b.b.Close() }
