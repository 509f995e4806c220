package s3

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/retry"
)

// kinds of the codes that S3 and its relatives answer with, whatever the HTTP status: an
// upload is completed with status 200 and an error in the body.
// Source: "Error responses" of the S3 API reference; MinIO's and Ceph's own codes.
var kinds = map[string]objstore.Kind{
	"NoSuchKey":                    objstore.ErrNotFound,
	"NotFound":                     objstore.ErrNotFound,
	"NoSuchVersion":                objstore.ErrNotFound,
	"NoSuchBucket":                 objstore.ErrNoBucket,
	"PreconditionFailed":           objstore.ErrPrecondition,
	"ConditionalRequestConflict":   objstore.ErrConflict,
	"OperationAborted":             objstore.ErrConflict,
	"SlowDown":                     objstore.ErrThrottled,
	"SlowDownRead":                 objstore.ErrThrottled,
	"SlowDownWrite":                objstore.ErrThrottled,
	"Throttling":                   objstore.ErrThrottled,
	"ThrottlingException":          objstore.ErrThrottled,
	"RequestLimitExceeded":         objstore.ErrThrottled,
	"TooManyRequests":              objstore.ErrThrottled,
	"RequestTimeout":               objstore.ErrTransient, // status 400: our body was slow
	"InternalError":                objstore.ErrTransient,
	"AccessDenied":                 objstore.ErrAccessDenied,
	"ExpiredToken":                 objstore.ErrAccessDenied,
	"TokenRefreshRequired":         objstore.ErrAccessDenied,
	"InvalidToken":                 objstore.ErrAccessDenied,
	"InvalidAccessKeyId":           objstore.ErrAccessDenied,
	"SignatureDoesNotMatch":        objstore.ErrAccessDenied,
	"RequestTimeTooSkewed":         objstore.ErrAccessDenied, // a clock is wrong
	"InvalidObjectState":           objstore.ErrOffline,
	"InvalidRange":                 objstore.ErrInvalidRange,
	"BadDigest":                    objstore.ErrCorrupt,
	"InvalidDigest":                objstore.ErrCorrupt,
	"XAmzContentChecksumMismatch":  objstore.ErrCorrupt,
	"XAmzContentSHA256Mismatch":    objstore.ErrCorrupt,
	"EntityTooLarge":               objstore.ErrTooLarge,
	"KeyTooLongError":              objstore.ErrTooLarge,
	"NotImplemented":               objstore.ErrUnsupported,
	"InvalidStorageClass":          objstore.ErrUnsupported,
	"PermanentRedirect":            objstore.ErrInvalid, // the bucket is in another region
	"AuthorizationHeaderMalformed": objstore.ErrInvalid,
}

// expired codes say that new credentials may help.
var expired = map[string]bool{"ExpiredToken": true, "TokenRefreshRequired": true, "InvalidToken": true}

// classify makes an error of the SDK an *objstore.Error. An operation that changes the store
// ("put", "delete") and has no answer, or one that leaves open whether it was carried out, is
// ErrAmbiguous; the same failure of any other operation is ErrTransient.
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
	e := &objstore.Error{Op: op, Key: key, Err: err}
	var (
		creds    *credentialsError
		response *awshttp.ResponseError
		send     *smithyhttp.RequestSendError
		api      smithy.APIError
		opErr    *net.OpError
	)
	switch cert := retry.Untrusted(err, "AWS_CA_BUNDLE"); {
	case cert != nil:
		e.Kind, e.Err = objstore.ErrInvalid, cert
	case errors.As(err, &creds):
		e.Kind, e.Err = objstore.ErrAccessDenied, creds
	// The SDK wraps these two in a response of status 0.
	case errors.As(err, &opErr) && opErr.Op == "dial":
		e.Kind, e.Err = objstore.ErrTransient, opErr // never sent
	case errors.As(err, &send):
		e.Kind, e.Err = unknown, send.Err
	case errors.As(err, &response):
		e.HTTP, e.RequestID = response.HTTPStatusCode(), response.ServiceRequestID()
		if response.Response != nil && response.Response.Response != nil {
			e.RetryAfter = retry.After(response.Response.Header.Get("Retry-After"), time.Now())
		}
		if errors.As(err, &api) {
			e.Code, e.Err = api.ErrorCode(), nil
			if m := api.ErrorMessage(); m != "" {
				e.Err = errors.New(m)
			}
		} else {
			e.Err = response.Err
		}
		e.Kind = kindOf(e.HTTP, e.Code, unknown)
		if region := regionOf(response); region != "" && e.Kind == objstore.ErrInvalid {
			e.Err = fmt.Errorf("the bucket is in another region: say region=%s in the store's URL", region)
		}
	default:
		// The SDK refused to build the request, or could not read the answer.
		e.Kind = objstore.ErrUnknown
		var de *smithy.DeserializationError
		if errors.As(err, &de) {
			e.Kind = unknown
		}
	}
	return e
}

// regionOf is the region that an answer names.
func regionOf(r *awshttp.ResponseError) string {
	if r.Response == nil || r.Response.Response == nil {
		return ""
	}
	return r.Response.Header.Get("X-Amz-Bucket-Region")
}

// kindOf decides by the code, else by the status.
func kindOf(status int, code string, unknown objstore.Kind) objstore.Kind {
	kind, known := kinds[code]
	switch {
	case known && kind == objstore.ErrTransient:
		if code == "RequestTimeout" {
			return kind // refused before it was carried out
		}
		return unknown
	case known:
		return kind
	}
	switch {
	case status == http.StatusNotFound:
		return objstore.ErrNotFound
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return objstore.ErrAccessDenied
	case status == http.StatusPreconditionFailed:
		return objstore.ErrPrecondition
	case status == http.StatusConflict:
		return objstore.ErrConflict
	case status == http.StatusRequestedRangeNotSatisfiable:
		return objstore.ErrInvalidRange
	case status == http.StatusRequestEntityTooLarge:
		return objstore.ErrTooLarge
	case status == http.StatusTooManyRequests:
		return objstore.ErrThrottled
	case status == http.StatusServiceUnavailable:
		if unknown == objstore.ErrTransient {
			return objstore.ErrThrottled
		}
		return unknown // perhaps a proxy's, with the request behind it
	case status == http.StatusRequestTimeout:
		return objstore.ErrTransient
	case status == http.StatusNotImplemented:
		return objstore.ErrUnsupported
	case status >= 500, status == http.StatusOK:
		return unknown
	case status >= 300 && status < 400:
		return objstore.ErrInvalid
	}
	return objstore.ErrUnknown
}
