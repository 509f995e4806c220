package azure

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/retry"
)

// kinds of the codes that the Blob service answers with.
// Source: "Blob service error codes" and "Common REST API error codes" of its reference.
var kinds = map[string]objstore.Kind{
	"BlobNotFound":                       objstore.ErrNotFound,
	"ResourceNotFound":                   objstore.ErrNotFound,
	"ContainerNotFound":                  objstore.ErrNoBucket,
	"ContainerBeingDeleted":              objstore.ErrNoBucket,
	"ContainerDisabled":                  objstore.ErrNoBucket,
	"BlobAlreadyExists":                  objstore.ErrPrecondition,
	"ConditionNotMet":                    objstore.ErrPrecondition,
	"TargetConditionNotMet":              objstore.ErrPrecondition,
	"InvalidBlockList":                   objstore.ErrConflict, // another writer's commit has dropped our blocks
	"LeaseIdMissing":                     objstore.ErrConflict,
	"PendingCopyOperation":               objstore.ErrConflict,
	"SnapshotOperationRateExceeded":      objstore.ErrThrottled,
	"ServerBusy":                         objstore.ErrThrottled,
	"OperationTimedOut":                  objstore.ErrTransient,
	"InternalError":                      objstore.ErrTransient,
	"AuthenticationFailed":               objstore.ErrAccessDenied,
	"AuthorizationFailure":               objstore.ErrAccessDenied,
	"AuthorizationPermissionMismatch":    objstore.ErrAccessDenied,
	"AuthorizationResourceTypeMismatch":  objstore.ErrAccessDenied,
	"AuthorizationServiceMismatch":       objstore.ErrAccessDenied,
	"AuthorizationSourceIPMismatch":      objstore.ErrAccessDenied,
	"InsufficientAccountPermissions":     objstore.ErrAccessDenied,
	"InvalidAuthenticationInfo":          objstore.ErrAccessDenied,
	"NoAuthenticationInformation":        objstore.ErrAccessDenied,
	"KeyBasedAuthenticationNotPermitted": objstore.ErrAccessDenied,
	"BlobImmutableDueToPolicy":           objstore.ErrAccessDenied,
	"BlobArchived":                       objstore.ErrOffline,
	"BlobBeingRehydrated":                objstore.ErrOffline,
	"InvalidRange":                       objstore.ErrInvalidRange,
	"Crc64Mismatch":                      objstore.ErrCorrupt,
	"Md5Mismatch":                        objstore.ErrCorrupt,
	"RequestBodyTooLarge":                objstore.ErrTooLarge,
	"BlockCountExceedsLimit":             objstore.ErrTooLarge,
	"FeatureNotSupported":                objstore.ErrUnsupported,
	"FeatureVersionMismatch":             objstore.ErrUnsupported,
	"InvalidBlobTier":                    objstore.ErrUnsupported,
	"AccessTierNotSupportedForBlobType":  objstore.ErrUnsupported,
	"AccountIsDisabled":                  objstore.ErrAccessDenied,
	"AccountBeingCreated":                objstore.ErrTransient,
}

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
	e := &objstore.Error{Op: op, Key: key}
	var (
		response *azcore.ResponseError
		failed   *azidentity.AuthenticationFailedError
		opErr    *net.OpError
		at       *url.Error
	)
	switch cert := retry.Untrusted(err, "SSL_CERT_FILE"); {
	case cert != nil:
		e.Kind, e.Err = objstore.ErrInvalid, cert
	case errors.As(err, &failed), isUnavailable(err):
		e.Kind, e.Err = objstore.ErrAccessDenied, fmt.Errorf("no usable Azure credentials (set AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN, or give the machine an identity): %w", err)
	case errors.As(err, &response):
		e.HTTP, e.Code = response.StatusCode, response.ErrorCode
		// The SDK's own text repeats the URL, which may carry a signature.
		e.Err = errors.New(http.StatusText(response.StatusCode))
		if r := response.RawResponse; r != nil {
			e.RequestID, e.RetryAfter = r.Header.Get("x-ms-request-id"), retry.After(r.Header.Get("Retry-After"), time.Now())
		}
		e.Kind = kindOf(e.HTTP, e.Code, unknown)
	case errors.As(err, &opErr) && opErr.Op == "dial":
		e.Kind, e.Err = objstore.ErrTransient, opErr // never sent
	case errors.As(err, &at):
		e.Kind, e.Err = unknown, at.Err // without the URL
	default:
		e.Kind, e.Err = unknown, err
	}
	return e
}

// isUnavailable recognises the chain that found no credentials; its type is not exported.
func isUnavailable(err error) bool {
	var u interface{ NonRetriable() }
	var r *azcore.ResponseError
	return errors.As(err, &u) && !errors.As(err, &r)
}

// kindOf decides by the code, else by the status.
func kindOf(status int, code string, unknown objstore.Kind) objstore.Kind {
	if kind, known := kinds[code]; known {
		if kind == objstore.ErrTransient {
			return unknown
		}
		return kind
	}
	switch status {
	case http.StatusNotFound:
		return objstore.ErrNotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		return objstore.ErrAccessDenied
	case http.StatusPreconditionFailed, http.StatusNotModified:
		return objstore.ErrPrecondition
	case http.StatusConflict:
		return objstore.ErrConflict
	case http.StatusRequestedRangeNotSatisfiable:
		return objstore.ErrInvalidRange
	case http.StatusRequestEntityTooLarge:
		return objstore.ErrTooLarge
	case http.StatusTooManyRequests:
		return objstore.ErrThrottled
	case http.StatusServiceUnavailable:
		if unknown == objstore.ErrTransient {
			return objstore.ErrThrottled
		}
		return unknown // perhaps a proxy's, with the request behind it
	case http.StatusRequestTimeout:
		return objstore.ErrTransient
	case http.StatusNotImplemented:
		return objstore.ErrUnsupported
	}
	if status >= 500 {
		return unknown
	}
	return objstore.ErrUnknown
}
