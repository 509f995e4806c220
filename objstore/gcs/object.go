package gcs

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"

	"cloud.google.com/go/storage"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/retry"
)

const (
	// wholeDefault bytes go up in one request, larger objects in chunks of chunkDefault, which
	// the SDK holds in memory.
	wholeDefault = 64 << 20
	chunkDefault = 16 << 20
	// pageLimit is the service's own limit on a page.
	pageLimit = 1000
	// deletesAtOnce of one Delete.
	deletesAtOnce = 16
)

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
	sum, err := src.Checksum()
	if err != nil {
		return objstore.Attrs{}, retry.SourceError(key, err)
	}
	src.CRC32C, src.HasCRC = sum, true
	a, err := objstore.PutSettled(ctx, key, src, o, b.Head, func(ctx context.Context, o objstore.PutOpts) (objstore.Attrs, error) {
		var a objstore.Attrs
		err := b.do(ctx, "put", key, b.conf.Write, func(ctx context.Context) (err error) {
			a, err = b.put(ctx, key, src, sum, o)
			return err
		})
		return a, err
	})
	if errors.Is(err, objstore.ErrCorrupt) && a.Version != "" { // its reply was lost, or it had been undone
		return objstore.Attrs{}, b.undo(ctx, a, o)
	}
	return a, err
}

// put is one upload. Its context ends with it: the SDK knows no other way to give one up.
func (b *Bucket) put(ctx context.Context, key string, src objstore.Source, sum uint32, o objstore.PutOpts) (objstore.Attrs, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	object := b.at(key, o.IfVersion)
	if o.IfAbsent {
		object = b.object(key).If(storage.Conditions{DoesNotExist: true})
	}
	w := object.NewWriter(ctx)
	w.StorageClass, w.Metadata = string(o.Class), o.Meta
	w.KMSKeyName = b.conf.KMSKey
	w.ContentType = "application/octet-stream"
	w.CRC32C, w.SendCRC32C, w.DisableAutoChecksum = sum, true, true
	w.ChunkSize = chunkSize(src.Size, o.PartSize)
	var progress atomic.Bool
	w.ProgressFunc = func(int64) { progress.Store(true) }
	body, sent := retry.NewBody(key, src), crc32.New(objstore.Castagnoli)
	_, err := io.Copy(io.MultiWriter(w, sent), body)
	if err == nil && sent.Sum32() != sum {
		// The service would find out at the end, if it checks; the end is not sent.
		err = objstore.NewError(objstore.ErrCorrupt, "put", key, fmt.Errorf("the source has CRC32C %08x and says %08x", sent.Sum32(), sum))
	}
	if err != nil {
		cancel()
		_ = w.Close() // ends the goroutine of the upload
		return objstore.Attrs{}, body.Blame(err)
	}
	if err := w.Close(); err != nil {
		if progress.Load() && gone(err) {
			return objstore.Attrs{}, objstore.NewError(objstore.ErrAmbiguous, "put", key, errors.New("the service knows nothing of this upload any more"))
		}
		return objstore.Attrs{}, body.Blame(err)
	}
	a := attrs(key, w.Attrs(), maps.Clone(o.Meta))
	if a.Size != src.Size || a.CRC32C != sum {
		return objstore.Attrs{}, b.undo(ctx, a, o)
	}
	return a, nil
}

// gone says that an upload in chunks has ended: its last reply was lost, or it was given up.
func gone(err error) bool {
	var api *googleapi.Error
	return errors.As(err, &api) && (api.Code == http.StatusNotFound || api.Code == http.StatusGone)
}

// undo removes an object that the service has made of other bytes than it was sent; nobody
// else's object was there before, if the write was create-only. Else it stays, and is known.
func (b *Bucket) undo(ctx context.Context, a objstore.Attrs, o objstore.PutOpts) error {
	err := objstore.NewError(objstore.ErrCorrupt, "put", a.Key, fmt.Errorf("the service has stored %d bytes with CRC32C %08x", a.Size, a.CRC32C))
	if o.IfAbsent && b.at(a.Key, a.Version).Delete(ctx) == nil {
		err.Kind = objstore.ErrTransient // nothing is there: once more
	}
	return err
}

// chunkSize is 0 for an object that goes up in one request.
func chunkSize(size, asked int64) int {
	switch {
	case asked == 0 && size <= wholeDefault, asked >= size:
		return 0
	case asked == 0:
		return chunkDefault
	}
	return int(min(asked, wholeDefault))
}

func attrs(key string, a *storage.ObjectAttrs, meta map[string]string) objstore.Attrs {
	return objstore.Attrs{
		Key: key, Size: a.Size, Version: version(a.Generation), Modified: a.Updated, Class: objstore.Class(a.StorageClass),
		Meta: meta, CRC32C: a.CRC32C, HasCRC: true,
	}
}

// Head implements objstore.Bucket. The service does not say in this answer whether it is the
// object or the whole bucket that is missing.
func (b *Bucket) Head(ctx context.Context, key string) (objstore.Attrs, error) {
	return b.head(ctx, "head", key, "")
}

func (b *Bucket) head(ctx context.Context, op, key string, ifv objstore.Version) (objstore.Attrs, error) {
	if err := b.CheckKey(op, key); err != nil {
		return objstore.Attrs{}, err
	}
	var a objstore.Attrs
	err := b.do(ctx, op, key, b.conf.Read, func(ctx context.Context) error {
		found, err := b.object(key).Attrs(ctx)
		if err != nil {
			return err
		}
		a = attrs(key, found, lower(found.Metadata))
		return nil
	})
	if err == nil && ifv != "" && a.Version != ifv {
		return objstore.Attrs{}, objstore.NewError(objstore.ErrPrecondition, op, key, nil)
	}
	return a, err
}

// lower makes metadata names what they were; headers give them back in another case.
func lower(meta map[string]string) map[string]string {
	out := make(map[string]string, len(meta))
	for name, value := range meta {
		out[strings.ToLower(name)] = value
	}
	return out
}

// List implements objstore.Bucket.
func (b *Bucket) List(ctx context.Context, prefix, after string, limit int) (objstore.Page, error) {
	if err := objstore.CheckList(prefix, after); err != nil {
		return objstore.Page{}, err
	}
	if limit <= 0 || limit > pageLimit {
		limit = pageLimit
	}
	q := &storage.Query{Prefix: b.Prefix + prefix}
	if after != "" {
		q.StartOffset = b.Prefix + after + "\x00" // the service's start is inclusive
	}
	if err := q.SetAttrSelection([]string{"Name", "Size", "Generation", "Updated", "StorageClass"}); err != nil {
		return objstore.Page{}, objstore.NewError(objstore.ErrInvalid, "list", prefix, err)
	}
	var page objstore.Page
	err := b.do(ctx, "list", prefix, b.conf.Read, func(ctx context.Context) error {
		var found []*storage.ObjectAttrs
		next, err := iterator.NewPager(b.bucket.Objects(ctx, q), limit, "").NextPage(&found)
		if err != nil {
			return err
		}
		page = objstore.Page{}
		for _, o := range found {
			key, ours := strings.CutPrefix(o.Name, b.Prefix)
			if !ours || !strings.HasPrefix(key, prefix) || key <= after {
				continue
			}
			a := attrs(key, o, nil)
			a.CRC32C, a.HasCRC = 0, false
			page.Objects = append(page.Objects, a)
		}
		if next != "" && len(page.Objects) > 0 {
			page.Next = page.Objects[len(page.Objects)-1].Key
		}
		return nil
	})
	return page, err
}

// Delete implements objstore.Bucket: a request each, some at once.
func (b *Bucket) Delete(ctx context.Context, keys ...string) error {
	errs := make([]error, len(keys))
	// The error of one key ends no other.
	_ = retry.Each(context.WithoutCancel(ctx), len(keys), deletesAtOnce, func(_ context.Context, i int) error {
		if errs[i] = b.CheckKey("delete", keys[i]); errs[i] == nil {
			errs[i] = b.deleteOne(ctx, keys[i], "")
		}
		return nil
	})
	var batch objstore.Batch
	for i, key := range keys {
		batch.Add(key, errs[i])
	}
	return batch.Err()
}

func (b *Bucket) deleteOne(ctx context.Context, key string, ifv objstore.Version) error {
	return b.do(ctx, "delete", key, b.conf.Write, func(ctx context.Context) error {
		err := b.at(key, ifv).Delete(ctx)
		if ifv == "" && errors.Is(classify(ctx, "delete", key, err), objstore.ErrNotFound) {
			return nil
		}
		return err
	})
}

// DeleteIf implements objstore.ConditionalDeleter. Emulators delete whatever the condition, so
// the version is looked up first too; a delete whose reply was lost and whose repetition finds
// nothing is ErrAmbiguous.
func (b *Bucket) DeleteIf(ctx context.Context, key string, v objstore.Version) error {
	a, err := b.head(ctx, "head", key, "")
	switch {
	case err != nil:
		return err
	case a.Version != v:
		return objstore.NewError(objstore.ErrPrecondition, "delete", key, nil)
	}
	return b.deleteOne(ctx, key, v)
}
