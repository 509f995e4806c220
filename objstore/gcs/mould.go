package gcs

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/retry"
)

// perRequest are the headers that no two reads have in common. The credentials are added below.
var perRequest = []string{"Authorization", "Range", "X-Goog-Api-Client", "X-Goog-Gcs-Idempotency-Token"}

// get asks for a part of an object, once. Where the service answers with an error the SDK reads it.
func (b *Bucket) get(ctx context.Context, op, key string, off, end int64, v objstore.Version) (retry.Answer, error) {
	if end < 0 { // the SDK compares the checksum of an object that is read whole
		return b.getBySDK(ctx, key, off, -1, v)
	}
	m := b.mould.Load()
	if m == nil {
		var err error
		m, err = retry.Cast(ctx, url.QueryEscape, perRequest, func(ctx context.Context, name string) error {
			_, err := b.bucket.Object(name).NewRangeReader(ctx, 0, 1)
			return err
		})
		if err != nil {
			return retry.Answer{}, err
		}
		b.mould.Store(m)
	}
	if m == nil {
		return b.getBySDK(ctx, key, off, end-off, v)
	}
	r := m.Request(ctx, b.Prefix+key)
	r.Header["Range"] = []string{"bytes=" + strconv.FormatInt(off, 10) + "-" + strconv.FormatInt(end-1, 10)}
	if v != "" {
		r.URL.RawQuery += "&ifGenerationMatch=" + strconv.FormatInt(generation(v), 10)
	}
	resp, err := b.signed.Do(r)
	if err != nil {
		return retry.Answer{}, err
	}
	switch resp.StatusCode {
	case http.StatusPartialContent:
		return answerOf(op, key, resp)
	case http.StatusNotFound, http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable:
	default:
		b.mould.CompareAndSwap(m, nil)
	}
	a, err := b.getBySDK(retry.Answered(ctx, resp), key, off, end-off, v)
	if err != nil {
		resp.Body.Close() // which the SDK has done, if it got that far
	}
	return a, err
}

// answerOf is the answer to a range.
func answerOf(op, key string, resp *http.Response) (retry.Answer, error) {
	h := resp.Header
	a := retry.Answer{Body: resp.Body, Attrs: objstore.Attrs{Key: key, Version: objstore.Version(h.Get("X-Goog-Generation")), Meta: make(map[string]string)}}
	var err error
	if a.Start, a.Attrs.Size, err = retry.ContentRange(h.Get("Content-Range")); err != nil {
		resp.Body.Close()
		return retry.Answer{}, objstore.NewError(objstore.ErrUnsupported, op, key, err)
	}
	a.Attrs.Modified, _ = http.ParseTime(h.Get("Last-Modified")) // one that says nothing is not asked
	for name, values := range h {
		if name, is := strings.CutPrefix(name, "X-Goog-Meta-"); is && len(values) > 0 {
			a.Attrs.Meta[strings.ToLower(name)] = values[0]
		}
	}
	return a, nil
}

// getBySDK asks through the whole of the SDK; n < 0 reads to the end.
func (b *Bucket) getBySDK(ctx context.Context, key string, off, n int64, v objstore.Version) (retry.Answer, error) {
	r, err := b.at(key, v).NewRangeReader(ctx, off, n)
	if err != nil {
		return retry.Answer{}, err
	}
	return retry.Answer{Body: r, Start: r.Attrs.StartOffset, Attrs: objstore.Attrs{
		Key: key, Size: r.Attrs.Size, Version: version(r.Attrs.Generation), Modified: r.Attrs.LastModified, Meta: lower(r.Metadata()),
	}}, nil
}
