package azure

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/retry"
)

// mould is that of retry, with how its requests are authorized. It never changes.
type mould struct {
	// Mould is nil if the SDK has to make each request itself.
	*retry.Mould
	// cast is when: a token is used again for mouldAge, and the SDK renews one minutes before its end.
	cast time.Time
	// byKey: each request is signed with the account's key.
	byKey bool
}

// mouldAge is how long a mould is used.
const mouldAge = time.Minute

// perRequest are the headers that no two reads have in common.
var perRequest = []string{"X-Ms-Date", "X-Ms-Range", "X-Ms-Client-Request-Id"}

// cast has the SDK make a request and takes its mould.
func (b *Bucket) cast(ctx context.Context, now time.Time) (*mould, error) {
	cast, err := retry.Cast(ctx, url.PathEscape, perRequest, func(ctx context.Context, name string) error {
		_, err := b.client.NewBlobClient(name).DownloadStream(ctx, &blob.DownloadStreamOptions{Range: blob.HTTPRange{Count: 1}})
		return err
	})
	if err != nil {
		return nil, err
	}
	m := &mould{cast: now}
	if cast != nil {
		how, _, _ := strings.Cut(cast.Made.Header.Get("Authorization"), " ")
		m.byKey = how == "SharedKey" && b.key != nil && signable(cast.Made)
		if m.byKey || how == "Bearer" || how == "" && cast.Made.URL.Query().Has("sig") {
			m.Mould = cast
		}
	}
	b.mould.Store(m)
	return m, nil
}

// signed are the headers of the service's own that sign knows, in the order of their names.
var signed = []string{"X-Ms-Date", "X-Ms-Range", "X-Ms-Version"}

// signable says that sign knows all that a request has.
func signable(r *http.Request) bool {
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Ms-") && !slices.Contains(signed, name) && !slices.Contains(perRequest, name) {
			return false
		}
	}
	return r.URL.RawQuery == ""
}

// sign adds the time and the signature of the account's key.
// Source: "Authorize with Shared Key" of the service's reference, for a GET without a query.
func (b *Bucket) sign(r *http.Request, now time.Time) {
	h := r.Header
	h["X-Ms-Date"] = []string{now.UTC().Format(http.TimeFormat)}
	text := "GET\n\n\n\n\n\n\n\n" + h.Get("If-Match") + "\n\n\n\n"
	for _, name := range signed {
		if v := h[name]; len(v) > 0 {
			text += strings.ToLower(name) + ":" + v[0] + "\n"
		}
	}
	mac := hmac.New(sha256.New, b.key)
	io.WriteString(mac, text+"/"+b.conf.Account+r.URL.EscapedPath())
	h["Authorization"] = []string{"SharedKey " + b.conf.Account + ":" + base64.StdEncoding.EncodeToString(mac.Sum(nil))}
}

// get asks for an object, or a part of it, once. Where the service answers with an error the SDK reads it.
func (b *Bucket) get(ctx context.Context, op, key string, off, end int64, v objstore.Version) (retry.Answer, error) {
	span := blob.HTTPRange{Offset: off, Count: max(0, end-off)}
	m, now := b.mould.Load(), time.Now()
	if m == nil || now.Sub(m.cast) > mouldAge {
		var err error
		if m, err = b.cast(ctx, now); err != nil {
			return retry.Answer{}, err
		}
	}
	if m.Mould == nil {
		return b.getBySDK(ctx, op, key, span, v)
	}
	r := m.Request(ctx, b.Prefix+key)
	if span != (blob.HTTPRange{}) {
		r.Header["X-Ms-Range"] = []string{rangeOf(span)}
	}
	if v != "" {
		r.Header["If-Match"] = []string{`"` + string(v) + `"`}
	}
	if m.byKey {
		b.sign(r, now)
	}
	resp, err := b.watched.Do(r)
	if err != nil {
		return retry.Answer{}, err
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusPartialContent:
		return answerOf(op, key, resp, span != (blob.HTTPRange{}))
	case http.StatusNotFound, http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable:
	default:
		b.mould.CompareAndSwap(m, nil)
	}
	a, err := b.getBySDK(retry.Answered(ctx, resp), op, key, span, v)
	if err != nil {
		resp.Body.Close() // which the SDK has done, if it got that far
	}
	return a, err
}

func rangeOf(span blob.HTTPRange) string {
	s := "bytes=" + strconv.FormatInt(span.Offset, 10) + "-"
	if span.Count > 0 {
		s += strconv.FormatInt(span.Offset+span.Count-1, 10)
	}
	return s
}

// answerOf is a success.
func answerOf(op, key string, resp *http.Response, ranged bool) (retry.Answer, error) {
	h := resp.Header
	meta := make(map[string]*string)
	for name, values := range h {
		if name, is := strings.CutPrefix(name, "X-Ms-Meta-"); is && len(values) > 0 {
			meta[name] = &values[0]
		}
	}
	a := retry.Answer{Body: resp.Body, Attrs: objstore.Attrs{
		Key: key, Size: resp.ContentLength, Version: objstore.Version(strings.Trim(h.Get("Etag"), `"`)), Class: objstore.Class(h.Get("X-Ms-Access-Tier")),
	}}
	a.Attrs.Meta, _, _ = plain(meta)
	a.Attrs.Modified, _ = http.ParseTime(h.Get("Last-Modified")) // one that says nothing is not asked
	return within(op, a, h.Get("Content-Range"), ranged)
}

// getBySDK asks the same through the whole of the SDK.
func (b *Bucket) getBySDK(ctx context.Context, op, key string, span blob.HTTPRange, v objstore.Version) (retry.Answer, error) {
	out, err := b.blob(key).DownloadStream(ctx, &blob.DownloadStreamOptions{AccessConditions: ifMatch(v), Range: span})
	if err != nil {
		return retry.Answer{}, err
	}
	meta, _, _ := plain(out.Metadata)
	a := retry.Answer{Body: out.Body, Attrs: objstore.Attrs{
		Key: key, Size: value(out.ContentLength), Version: version(out.ETag), Modified: value(out.LastModified),
		Class: objstore.Class(value(out.AccessTier)), Meta: meta,
	}}
	return within(op, a, value(out.ContentRange), span != (blob.HTTPRange{}))
}

// within takes the place in the object from the answer to a range.
func within(op string, a retry.Answer, contentRange string, ranged bool) (retry.Answer, error) {
	if !ranged {
		return a, nil
	}
	if a.Attrs.Size == 0 { // a server that knows no 416
		a.Body.Close()
		return retry.Answer{}, objstore.NewError(objstore.ErrInvalidRange, op, a.Attrs.Key, nil)
	}
	var err error
	if a.Start, a.Attrs.Size, err = retry.ContentRange(contentRange); err != nil {
		a.Body.Close()
		return retry.Answer{}, objstore.NewError(objstore.ErrUnsupported, op, a.Attrs.Key, err)
	}
	return a, nil
}
