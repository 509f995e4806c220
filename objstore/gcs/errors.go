package gcs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"cloud.google.com/go/storage"
	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/retry"
)

// classify makes an error of the SDK an *objstore.Error. An operation that changes the store
// ("put", "delete") and has no answer, or one that leaves open whether it was carried out, is
// ErrAmbiguous; the same failure of any other operation is ErrTransient.
// Source: "HTTP status and error codes for JSON" of the service's reference.
func classify(ctx context.Context, op, key string, err error) error {
	var own *objstore.Error
	if err == nil || errors.As(err, &own) {
		return err
	}
	if cause := ctx.Err(); cause != nil {
		return objstore.NewError(objstore.ErrCanceled, op, key, cause)
	}
	unknown := objstore.ErrTransient
	if op == "put" || op == "delete" {
		unknown = objstore.ErrAmbiguous
	}
	e := &objstore.Error{Op: op, Key: key}
	var (
		api   *googleapi.Error
		token *oauth2.RetrieveError
		opErr *net.OpError
		at    *url.Error
	)
	switch cert := retry.Untrusted(err, "SSL_CERT_FILE"); {
	case cert != nil:
		e.Kind, e.Err = objstore.ErrInvalid, cert
	case errors.As(err, &api):
		e.HTTP = api.Code
		if len(api.Errors) > 0 {
			e.Code = api.Errors[0].Reason
		}
		if api.Message != "" {
			e.Err = errors.New(api.Message)
		}
		e.RequestID, e.RetryAfter = api.Header.Get("X-Guploader-Uploadid"), retry.After(api.Header.Get("Retry-After"), time.Now())
		e.Kind = kindOf(op, e.HTTP, e.Code, unknown)
	case errors.Is(err, storage.ErrBucketNotExist):
		e.Kind = objstore.ErrNoBucket
	case errors.Is(err, storage.ErrObjectNotExist):
		e.Kind = kindOf(op, http.StatusNotFound, "", unknown)
	case errors.As(err, &token):
		var says string
		e.Kind = objstore.ErrAccessDenied
		e.Code, says = refusal(token)
		e.Err = fmt.Errorf("no usable Google credentials: %s", says)
	case errors.As(err, &opErr) && opErr.Op == "dial":
		e.Kind, e.Err = objstore.ErrTransient, opErr // never sent
	case errors.As(err, &at):
		e.Kind, e.Err = unknown, at.Err // without the URL
	default:
		e.Kind, e.Err = unknown, err
	}
	return e
}

// refusal is what a server that gives no token says about it: its code and its words. The SDK has read them
// from some servers, and hands on the answer of others.
// Source: RFC 6749, section 5.2.
func refusal(e *oauth2.RetrieveError) (code, says string) {
	answer := struct {
		Code  string `json:"error"`
		Words string `json:"error_description"`
	}{e.ErrorCode, e.ErrorDescription}
	if answer.Code == "" && json.Unmarshal(e.Body, &answer) != nil {
		return "", "the server that gives tokens answers with no reason"
	}
	return answer.Code, answer.Words
}

// kindOf decides by the status, where the service's reason says no more.
func kindOf(op string, status int, reason string, unknown objstore.Kind) objstore.Kind {
	switch {
	case status == http.StatusNotFound && (op == "put" || op == "list"):
		return objstore.ErrNoBucket // there is nothing else that could be missing
	case status == http.StatusNotFound:
		return objstore.ErrNotFound
	case status == http.StatusUnauthorized, status == http.StatusForbidden && reason != "rateLimitExceeded" && reason != "userRateLimitExceeded":
		return objstore.ErrAccessDenied
	case status == http.StatusPreconditionFailed, status == http.StatusNotModified:
		return objstore.ErrPrecondition
	case status == http.StatusConflict:
		return objstore.ErrConflict
	case status == http.StatusRequestedRangeNotSatisfiable:
		return objstore.ErrInvalidRange
	case status == http.StatusRequestEntityTooLarge:
		return objstore.ErrTooLarge
	case status == http.StatusTooManyRequests, status == http.StatusForbidden:
		return objstore.ErrThrottled
	case status == http.StatusServiceUnavailable:
		if unknown == objstore.ErrTransient {
			return objstore.ErrThrottled
		}
		return unknown
	case status == http.StatusRequestTimeout:
		return objstore.ErrTransient
	case status == http.StatusBadRequest && op == "put" && reason == "invalid":
		return objstore.ErrCorrupt // of what we send, only the checksum can be found wrong
	case status == http.StatusNotImplemented:
		return objstore.ErrUnsupported
	case status >= 500:
		return unknown
	}
	return objstore.ErrUnknown
}
