// Package mem is the object store in memory: the reference implementation, small enough to
// be read as the meaning of objstore.Bucket, and the store of tests and of `varve demo`.
//
// It owns nothing that outlives the process. New gives a private store, Open one that is
// shared by name inside this process. All methods may be called from any goroutine; a put
// takes effect at one moment, under one lock, after its bytes were read and checked.
package mem

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/varve-io/varve/objstore"
)

// pageLimit is the most objects a List answers with, as on S3.
const pageLimit = 1000

// Bucket is a store in memory.
type Bucket struct {
	mu struct {
		sync.RWMutex
		objects map[string]object
		writes  uint64 // numbers the versions; never goes back
	}
}

// object is immutable once it is in the map: an overwrite puts another one in its place, so
// that readers keep the bytes they started with.
type object struct {
	data  []byte
	attrs objstore.Attrs
}

// shared holds the stores of Open. It is the one package variable with a state: two nodes in
// one process that name the same store must find the same one.
var shared sync.Map // name → *Bucket

// New is an empty store that nobody else sees.
func New() *Bucket {
	b := &Bucket{}
	b.mu.objects = make(map[string]object)
	return b
}

// Open is the store of that name in this process, which the first call creates. It lasts as
// long as the process, whoever closes it.
func Open(name string) *Bucket {
	b, _ := shared.LoadOrStore(name, New())
	return b.(*Bucket)
}

// Capabilities implements objstore.Bucket.
func (b *Bucket) Capabilities() objstore.Capabilities {
	return objstore.Capabilities{IfAbsent: true, IfVersion: true, DeleteIf: true, Checksum: true}
}

// Put implements objstore.Bucket.
func (b *Bucket) Put(ctx context.Context, key string, src objstore.Source, o objstore.PutOpts) (objstore.Attrs, error) {
	if err := objstore.CheckPut(key, src, o, b.Capabilities()); err != nil {
		return objstore.Attrs{}, err
	}
	return objstore.PutSettled(ctx, key, src, o, b.Head, func(ctx context.Context, o objstore.PutOpts) (objstore.Attrs, error) {
		return b.put(ctx, key, src, o)
	})
}

func (b *Bucket) put(ctx context.Context, key string, src objstore.Source, o objstore.PutOpts) (objstore.Attrs, error) {
	data := make([]byte, src.Size)
	if _, err := io.ReadFull(src.Reader(), data); err != nil {
		return objstore.Attrs{}, objstore.NewError(objstore.ErrUnknown, "put", key, fmt.Errorf("reading the source: %w", err))
	}
	sum := crc32.Checksum(data, objstore.Castagnoli)
	if src.HasCRC && sum != src.CRC32C {
		err := fmt.Errorf("the source has CRC32C %08x, its owner says %08x", sum, src.CRC32C)
		return objstore.Attrs{}, objstore.NewError(objstore.ErrCorrupt, "put", key, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return objstore.Attrs{}, objstore.Wrap("put", key, err)
	}
	old, exists := b.mu.objects[key]
	if o.IfAbsent && exists || o.IfVersion != "" && (!exists || old.attrs.Version != o.IfVersion) {
		return objstore.Attrs{}, objstore.NewError(objstore.ErrPrecondition, "put", key, nil)
	}
	b.mu.writes++
	a := objstore.Attrs{
		Key: key, Size: src.Size, Version: objstore.Version("m" + strconv.FormatUint(b.mu.writes, 10)),
		Modified: time.Now(), Meta: maps.Clone(o.Meta), CRC32C: sum, HasCRC: true,
	}
	b.mu.objects[key] = object{data: data, attrs: a}
	return own(a), nil
}

// own gives the caller metadata of his own, so that he can not change ours.
func own(a objstore.Attrs) objstore.Attrs {
	a.Meta = maps.Clone(a.Meta)
	return a
}

// find is the object at key, if it is at version ifv or that is "".
func (b *Bucket) find(ctx context.Context, op, key string, ifv objstore.Version) (object, error) {
	if err := objstore.CheckKey(key); err != nil {
		return object{}, err
	}
	if err := ctx.Err(); err != nil {
		return object{}, objstore.Wrap(op, key, err)
	}
	b.mu.RLock()
	obj, ok := b.mu.objects[key]
	b.mu.RUnlock()
	switch {
	case !ok:
		return object{}, objstore.NewError(objstore.ErrNotFound, op, key, nil)
	case ifv != "" && obj.attrs.Version != ifv:
		return object{}, objstore.NewError(objstore.ErrPrecondition, op, key, nil)
	}
	return obj, nil
}

// GetRange implements objstore.Bucket.
func (b *Bucket) GetRange(ctx context.Context, key string, off int64, p []byte, ifv objstore.Version) (objstore.Attrs, error) {
	obj, err := b.find(ctx, "get", key, ifv)
	if err != nil {
		return objstore.Attrs{}, err
	}
	if err := objstore.FullRange(key, off, int64(len(p)), obj.attrs.Size); err != nil {
		return objstore.Attrs{}, err
	}
	copy(p, obj.data[off:])
	return own(obj.attrs), nil
}

// Open implements objstore.Bucket.
func (b *Bucket) Open(ctx context.Context, key string, off, n int64, ifv objstore.Version) (io.ReadCloser, objstore.Attrs, error) {
	obj, err := b.find(ctx, "open", key, ifv)
	if err != nil {
		return nil, objstore.Attrs{}, err
	}
	if n, err = objstore.ClampRange("open", key, off, n, obj.attrs.Size); err != nil {
		return nil, objstore.Attrs{}, err
	}
	return &reader{ctx: ctx, key: key, r: bytes.NewReader(obj.data[off : off+n])}, own(obj.attrs), nil
}

// reader ends with the context, as a read from a network would.
type reader struct {
	ctx context.Context
	key string
	r   *bytes.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, objstore.Wrap("open", r.key, err)
	}
	return r.r.Read(p)
}

func (r *reader) Close() error { return nil }

// Head implements objstore.Bucket.
func (b *Bucket) Head(ctx context.Context, key string) (objstore.Attrs, error) {
	obj, err := b.find(ctx, "head", key, "")
	return own(obj.attrs), err
}

// List implements objstore.Bucket.
func (b *Bucket) List(ctx context.Context, prefix, after string, limit int) (objstore.Page, error) {
	if err := objstore.CheckList(prefix, after); err != nil {
		return objstore.Page{}, err
	}
	if err := ctx.Err(); err != nil {
		return objstore.Page{}, objstore.Wrap("list", prefix, err)
	}
	if limit <= 0 || limit > pageLimit {
		limit = pageLimit
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	var keys []string
	for key := range b.mu.objects {
		if strings.HasPrefix(key, prefix) && key > after {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	var page objstore.Page
	if len(keys) > limit {
		keys = keys[:limit]
		page.Next = keys[limit-1]
	}
	for _, key := range keys {
		a := b.mu.objects[key].attrs
		a.Meta, a.CRC32C, a.HasCRC = nil, 0, false
		page.Objects = append(page.Objects, a)
	}
	return page, nil
}

// Delete implements objstore.Bucket.
func (b *Bucket) Delete(ctx context.Context, keys ...string) error {
	var batch objstore.Batch
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range keys {
		err := objstore.CheckKey(key)
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			delete(b.mu.objects, key)
		}
		batch.Add(key, err)
	}
	return batch.Err()
}

// DeleteIf implements objstore.ConditionalDeleter.
func (b *Bucket) DeleteIf(ctx context.Context, key string, v objstore.Version) error {
	if err := objstore.CheckKey(key); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	old, exists := b.mu.objects[key]
	switch {
	case ctx.Err() != nil:
		return objstore.Wrap("delete", key, ctx.Err())
	case !exists:
		return objstore.NewError(objstore.ErrNotFound, "delete", key, nil)
	case old.attrs.Version != v:
		return objstore.NewError(objstore.ErrPrecondition, "delete", key, nil)
	}
	delete(b.mu.objects, key)
	return nil
}

// Close implements objstore.Bucket; the objects stay.
func (b *Bucket) Close() error { return nil }
