package s3

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/encoding/httpbinding"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/retry"
)

// mould is that of retry, with what the SDK's signer needs. It never changes.
type mould struct {
	// Mould is nil if the SDK has to make each request itself: it signs them in another way than the
	// common one, as those of a directory bucket's sessions.
	*retry.Mould
	payload, region, service string
	// skew is by how far the SDK has found this machine's clock to be wrong.
	skew time.Duration
}

const (
	amzDate = "20060102T150405Z"
	// skewLeast is what a clock may be off without a word.
	skewLeast = time.Minute
)

// perRequest are the headers that no two requests have in common.
var perRequest = []string{"Authorization", "X-Amz-Date", "X-Amz-Security-Token", "Amz-Sdk-Invocation-Id", "Amz-Sdk-Request"}

func escape(name string) string { return httpbinding.EscapePath(name, false) }

// cast has the SDK make a request and takes its mould.
func (b *Bucket) cast(ctx context.Context, now time.Time) (*mould, error) {
	cast, err := retry.Cast(ctx, escape, perRequest, func(ctx context.Context, name string) error {
		_, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.conf.Bucket, Key: &name})
		return err
	})
	if err != nil {
		return nil, err
	}
	m := mouldOf(cast, now)
	b.mould.Store(m)
	return m, nil
}

func mouldOf(cast *retry.Mould, now time.Time) *mould {
	if cast == nil {
		return &mould{}
	}
	h := cast.Made.Header
	// AWS4-HMAC-SHA256 Credential=KEY/20261123/eu-north-1/s3/aws4_request, SignedHeaders=…
	credential, ours := strings.CutPrefix(h.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=")
	credential, _, _ = strings.Cut(credential, ",")
	scope := strings.Split(credential, "/")
	date, err := time.Parse(amzDate, h.Get("X-Amz-Date"))
	payload := h.Get("X-Amz-Content-Sha256")
	if !ours || len(scope) < 5 || err != nil || payload == "" || h.Get("X-Amz-S3session-Token") != "" {
		return &mould{}
	}
	scope = scope[len(scope)-4:] // a key may hold a slash
	m := &mould{Mould: cast, payload: payload, region: scope[1], service: scope[2]}
	if skew := date.Sub(now); skew.Abs() >= skewLeast {
		m.skew = skew
	}
	return m
}

// get asks for an object, or a part of it, once. Where the store answers with an error the SDK reads it.
func (b *Bucket) get(ctx context.Context, op, key string, off, end int64, v objstore.Version) (retry.Answer, error) {
	in := &s3.GetObjectInput{Bucket: &b.conf.Bucket, Key: b.name(key), IfMatch: ifMatch(v), Range: rangeOf(off, end)}
	m, now := b.mould.Load(), time.Now()
	if m == nil {
		var err error
		if m, err = b.cast(ctx, now); err != nil {
			return retry.Answer{}, err
		}
	}
	if m.Mould == nil {
		return b.getBySDK(ctx, op, key, in)
	}
	as, err := b.creds.Retrieve(ctx)
	if err != nil {
		return retry.Answer{}, err
	}
	r := m.Request(ctx, *in.Key)
	if in.Range != nil {
		r.Header["Range"] = []string{*in.Range}
	}
	if in.IfMatch != nil {
		r.Header["If-Match"] = []string{*in.IfMatch}
	}
	if err := b.sign.SignHTTP(ctx, as, r, m.payload, m.service, m.region, now.Add(m.skew)); err != nil {
		return retry.Answer{}, err
	}
	resp, err := b.watched.Do(r)
	if err != nil {
		return retry.Answer{}, &smithyhttp.RequestSendError{Err: err}
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusPartialContent:
		return answerOf(op, key, resp, in.Range != nil)
	case http.StatusNotFound, http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable:
	default: // perhaps another endpoint, region or time would do
		b.mould.CompareAndSwap(m, nil)
	}
	a, err := b.getBySDK(retry.Answered(ctx, resp), op, key, in)
	if err != nil {
		resp.Body.Close() // which the SDK has done, if it got that far
	}
	return a, err
}

// answerOf is a success.
func answerOf(op, key string, resp *http.Response, ranged bool) (retry.Answer, error) {
	h := resp.Header
	a := retry.Answer{Body: resp.Body, Attrs: objstore.Attrs{
		Key: key, Size: resp.ContentLength, Version: objstore.Version(h.Get("Etag")), Class: objstore.Class(h.Get("X-Amz-Storage-Class")),
		Meta: make(map[string]string),
	}}
	a.Attrs.Modified, _ = http.ParseTime(h.Get("Last-Modified")) // one that says nothing is not asked
	for name, values := range h {
		if name, is := strings.CutPrefix(name, "X-Amz-Meta-"); is {
			a.Attrs.Meta[strings.ToLower(name)] = strings.Join(values, ",")
		}
	}
	return within(op, a, h.Get("Content-Range"), ranged)
}

// getBySDK asks the same through the whole of the SDK.
func (b *Bucket) getBySDK(ctx context.Context, op, key string, in *s3.GetObjectInput) (retry.Answer, error) {
	out, err := b.client.GetObject(ctx, in)
	if err != nil {
		return retry.Answer{}, err
	}
	a := retry.Answer{Body: out.Body, Attrs: objstore.Attrs{
		Key: key, Size: aws.ToInt64(out.ContentLength), Version: objstore.Version(aws.ToString(out.ETag)),
		Modified: aws.ToTime(out.LastModified), Class: objstore.Class(out.StorageClass), Meta: lower(out.Metadata),
	}}
	return within(op, a, aws.ToString(out.ContentRange), in.Range != nil)
}

// within takes the place in the object from the answer to a range.
func within(op string, a retry.Answer, contentRange string, ranged bool) (retry.Answer, error) {
	if !ranged {
		return a, nil
	}
	var err error
	if a.Start, a.Attrs.Size, err = retry.ContentRange(contentRange); err != nil {
		a.Body.Close()
		return retry.Answer{}, objstore.NewError(objstore.ErrUnsupported, op, a.Attrs.Key, err)
	}
	return a, nil
}

// rangeOf is the header for the bytes from off to end, end < 0 being the object's; nil is all of them.
func rangeOf(off, end int64) *string {
	switch {
	case end >= 0:
		return aws.String("bytes=" + strconv.FormatInt(off, 10) + "-" + strconv.FormatInt(end-1, 10))
	case off > 0:
		return aws.String(fmt.Sprintf("bytes=%d-", off))
	}
	return nil
}
