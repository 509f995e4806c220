// Package open turns the URL of an object store into a Bucket.
//
// It is the one room that imports every provider, each in a file and behind a build tag of
// its own (nos3, noazure, nogcs leave an SDK out), so that all others link none of them. It owns the
// URL syntax and its messages:
//
//	file:///dir                       objects in a directory
//	mem://name                        objects in this process, shared by name
//	s3://bucket/prefix?region=…       S3; endpoint=http://host:port names another store that
//	                                  speaks it, pathStyle=true|false (true with an endpoint),
//	                                  checksum=none is for one that refuses CRC32C;
//	                                  encryption=AES256|aws:kms, kmsKey=ID,
//	                                  customerKeyEnv=VARIABLE (32 bytes in base64), requesterPays=true
//	azblob://account/container/prefix Azure Blob Storage; endpoint=http://host:port names an
//	                                  emulator, pathStyle=true|false (true with an endpoint),
//	                                  checksum=none is for one that refuses CRC64,
//	                                  encryptionScope=NAME
//	gs://bucket/prefix                Google Cloud Storage; endpoint=http://host:port names an
//	                                  emulator; kmsKey=NAME, userProject=PROJECT pays
//
// All three take ca=/path/file.pem, the certificate of the authority that vouches for an endpoint
// over TLS; the machine's own stay trusted.
//
// and classes=warm:STANDARD_IA,cold:GLACIER_IR, names of one's own for storage classes, by which policies
// speak of several stores (objstore/classes).
//
// Credentials never stand in a URL, and a URL that holds some is not repeated in a message.
// Open may be called from any goroutine.
package open

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/classes"
)

// provider is one scheme. Each has a file, chosen by a build tag where it brings an SDK.
type provider struct {
	scheme string
	params []string // query parameters it knows
	open   func(ctx context.Context, u *url.URL) (objstore.Bucket, error)
}

// s3Params are the parameters of s3://, with the provider or without.
var s3Params = []string{"region", "endpoint", "pathStyle", "checksum", "encryption", "kmsKey", "customerKeyEnv", "requesterPays", "ca", "classes"}

// azureParams are the parameters of azblob://.
var azureParams = []string{"endpoint", "pathStyle", "checksum", "encryptionScope", "ca", "classes"}

// gcsParams are the parameters of gs://.
var gcsParams = []string{"endpoint", "kmsKey", "userProject", "ca", "classes"}

// providers in the order that messages list them.
var providers = []provider{fileProvider, memProvider, s3Provider, azureProvider, gcsProvider}

// Open is the bucket that the URL names. It does not talk to a remote store: one that is out
// of reach is found at the first use. Errors match objstore.ErrInvalid for a bad URL and
// objstore.ErrUnsupported for a provider this program was built without.
func Open(ctx context.Context, rawURL string) (objstore.Bucket, error) {
	u, err := parse(rawURL)
	if err != nil {
		return nil, objstore.NewError(objstore.ErrInvalid, "open", "", err)
	}
	i := slices.IndexFunc(providers, func(p provider) bool { return p.scheme == u.Scheme })
	if i < 0 {
		return nil, objstore.NewError(objstore.ErrInvalid, "open", "", fmt.Errorf("%s", schemeAdvice(u.Scheme)))
	}
	p := providers[i]
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, objstore.NewError(objstore.ErrInvalid, "open", "", fmt.Errorf("the part after the '?' can not be read"))
	}
	for name, values := range query {
		if !slices.Contains(p.params, name) {
			return nil, objstore.NewError(objstore.ErrInvalid, "open", "", unknownParam(p, name))
		}
		if len(values) > 1 {
			return nil, objstore.NewError(objstore.ErrInvalid, "open", "", fmt.Errorf("parameter %q is given %d times", name, len(values)))
		}
	}
	b, err := p.open(ctx, u)
	if err == nil && query.Has("classes") {
		b, err = named(b, query.Get("classes"))
	}
	if err != nil {
		var e *objstore.Error
		if errors.As(err, &e) {
			return nil, err
		}
		return nil, objstore.NewError(objstore.ErrInvalid, "open", "", fmt.Errorf("%s store: %w", p.scheme, err))
	}
	return b, nil
}

// named is b with names for its classes; it closes b when they are none.
func named(b objstore.Bucket, given string) (objstore.Bucket, error) {
	names, err := classes.Parse(given)
	if err == nil {
		var w *classes.Bucket
		if w, err = classes.Wrap(b, names); err == nil {
			return w, nil
		}
	}
	b.Close()
	return nil, err
}

// parse reads the URL without ever repeating it: it may hold a password.
func parse(rawURL string) (*url.URL, error) {
	u, err := url.Parse(rawURL)
	switch {
	case err != nil:
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		if strings.Contains(rawURL, "@") {
			err = errors.New("not shown, it may hold a password")
		}
		return nil, fmt.Errorf("the store's URL can not be read: %w", err)
	case u.User != nil:
		return nil, errors.New("the store's URL holds a user or a password; leave it out: credentials come from the provider's own chain (environment, files, instance role)")
	case u.Fragment != "":
		return nil, errors.New("the store's URL holds a '#'")
	}
	return u, nil
}

func schemeAdvice(scheme string) string {
	var known []string
	for _, p := range providers {
		known = append(known, p.scheme+"://")
	}
	switch scheme {
	case "":
		return "the store's URL has no scheme; a directory is written file:///dir; known are " + strings.Join(known, " ")
	case "gcs":
		return "Google Cloud Storage is written gs://bucket/prefix"
	case "azure", "az", "abfs", "wasb":
		return "Azure Blob Storage is written azblob://account/container/prefix"
	}
	return fmt.Sprintf("unknown scheme %s://; known are %s", scheme, strings.Join(known, " "))
}

func unknownParam(p provider, name string) error {
	if len(p.params) == 0 {
		return fmt.Errorf("unknown parameter %q: %s:// takes none", name, p.scheme)
	}
	for _, known := range p.params {
		if strings.EqualFold(strings.NewReplacer("-", "", "_", "", ".", "").Replace(name), known) {
			return fmt.Errorf("unknown parameter %q: do you mean %s?", name, known)
		}
	}
	return fmt.Errorf("unknown parameter %q: %s:// takes %s", name, p.scheme, strings.Join(p.params, ", "))
}
