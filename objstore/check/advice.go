package check

import (
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/varve-io/varve/objstore"
)

// errSetting is a setting of the bucket that is legal, and not what one wants.
type errSetting struct{ what, next string }

func (e errSetting) Error() string { return e.what }

// byCode is the next step for what a store says by a code of its own.
var byCode = map[string]string{
	"RequestTimeTooSkewed":            "this machine's clock is wrong: keep it by NTP; stores bear a quarter of an hour at most",
	"ExpiredToken":                    "the credentials have expired: renew them, or let a role or an identity give them",
	"TokenRefreshRequired":            "the credentials have expired: renew them, or let a role or an identity give them",
	"InvalidAccessKeyId":              "the store does not know this access key: is it for another account or another store?",
	"SignatureDoesNotMatch":           "the secret key is wrong, or a proxy changes the requests",
	"AuthenticationFailed":            "the account key or the SAS is wrong or has expired, or this machine's clock is",
	"AuthorizationPermissionMismatch": "the identity may not do this: give it the role Storage Blob Data Contributor",
	"AuthorizationHeaderMalformed":    "the bucket is in another region: correct region= in the store's URL",
	"PermanentRedirect":               "the bucket is in another region: correct region= in the store's URL",
	"InvalidStorageClass":             "the store does not have this class: docs/object-stores.md says which it has",
	"BlobImmutableDueToPolicy":        "a policy keeps objects from being changed or deleted: take a container without one",
	"invalid_grant":                   "Google gives these credentials no token: the key has been deleted, or this machine's clock is wrong, which NTP keeps right",
}

// Advice is the next step after an operation on a store has failed, in words; "" when there is none
// to give.
func Advice(err error) string { return advice("", err) }

// advice is the next step after a failure.
func advice(trial string, err error) string {
	var (
		not     errNot
		setting errSetting
		e       *objstore.Error

		authority x509.UnknownAuthorityError
		host      x509.HostnameError
	)
	switch {
	case errors.As(err, &setting):
		return setting.next
	case errors.As(err, &not):
		return "this store breaks a promise that keeps two brokers from overwriting each other's data; take another one, or a newer version of it"
	case errors.As(err, &authority):
		return "name the certificate of the store's authority with ca=/path/file.pem in its URL"
	case errors.As(err, &host):
		return "correct endpoint= in the store's URL: its certificate has other names"
	case errors.As(err, &e) && byCode[e.Code] != "":
		return byCode[e.Code]
	}
	switch objstore.KindOf(err) {
	case objstore.ErrNoBucket:
		return "create the bucket or container first, or correct its name and region; Varve creates none"
	case objstore.ErrAccessDenied:
		switch trial {
		case "put, get, head":
			return "these credentials may list and not write: give them the rights to read, write and delete below the prefix"
		case "delete":
			return "these credentials may write and not delete, or objects are locked: give them the right to delete below the prefix"
		}
		return "give these credentials the rights to list, read, write and delete below the prefix, and look at the clock of this machine"
	case objstore.ErrUnsupported:
		return "the store does not know this; see docs/object-stores.md for what each can do"
	case objstore.ErrTransient, objstore.ErrAmbiguous, objstore.ErrThrottled:
		return "the store did not answer in time: look at the endpoint, the network and the store's own status"
	case objstore.ErrInvalid:
		return "correct the store's URL: a wrong region or endpoint looks like this"
	case objstore.ErrCorrupt:
		return "bytes changed on the way: a proxy or the store damages data; do not use it"
	}
	return ""
}

// settings looks at what the bucket is set up to do.
func (r *run) settings() {
	inspector, ok := r.b.(objstore.Inspector)
	if !ok || r.failed {
		return
	}
	s, err := inspector.Settings(r.ctx)
	if errors.Is(err, objstore.ErrUnsupported) {
		return
	}
	if err != nil {
		r.skip("bucket settings", fmt.Sprintf("these credentials can't read them: %v", err))
		return
	}
	for _, set := range []struct {
		is bool
		errSetting
	}{
		{s.Versioning, errSetting{"the bucket keeps old versions: what is deleted goes on costing", "switch versioning off, or add a rule that removes noncurrent versions after a day"}},
		{s.Locked != "", errSetting{"objects can't be deleted: " + s.Locked, "take a bucket without lock or retention: expired segments have to go"}},
		{s.Hierarchical, errSetting{"the bucket has a hierarchical namespace", "take one with a flat namespace: the promises above are not documented for directories"}},
	} {
		if set.is {
			r.trial("bucket settings", false, func() (string, error) { return "", set.errSetting })
			return
		}
	}
	r.trial("bucket settings", false, func() (string, error) { return "no versioning, lock or directories", nil })
}

// lifecycle looks for rules of the bucket that delete what is still needed.
func (r *run) lifecycle() {
	reader, ok := r.b.(objstore.LifecycleReader)
	if !ok || r.failed {
		return
	}
	rules, err := reader.LifecycleRules(r.ctx)
	if errors.Is(err, objstore.ErrUnsupported) {
		return
	}
	if err != nil {
		r.skip("lifecycle rules", fmt.Sprintf("can't be read: %v", err))
		return
	}
	r.trial("lifecycle rules", false, func() (string, error) {
		sweeps := false
		for _, rule := range rules {
			if rule.Enabled && rule.Expire {
				return "", errSetting{
					fmt.Sprintf("the bucket's rule %q deletes objects below %q after %d days", rule.ID, rule.Prefix, rule.Days),
					"if Varve's prefix lies there, remove it: what a topic keeps is for its retention to say",
				}
			}
			sweeps = sweeps || rule.Enabled && rule.AbortUploads
		}
		if !sweeps {
			return "none deletes objects; one that aborts unfinished uploads after 7 days is a good second net", nil
		}
		return "none deletes objects, unfinished uploads are aborted", nil
	})
}
