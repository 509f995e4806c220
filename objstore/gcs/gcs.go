// Package gcs is the object store on Google Cloud Storage, by its JSON API.
//
// It is the one room that imports Google's SDK, and uses it for credentials, requests and
// uploads in chunks; reads of a range are cast from the mould of one that it made (mould.go).
// Attempts, limits on silence and reads that go on where they broke off are retry's. One thing the SDK does by itself and can't be told not to: a chunk of a large upload
// is repeated within a deadline.
// Every write carries a CRC32C that the service checks. A Version is a generation.
// It does not own buckets: it neither creates nor configures one.
// A Bucket may be used from any number of goroutines; it holds idle connections only.
package gcs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"

	"cloud.google.com/go/storage"
	"google.golang.org/api/option"
	htransport "google.golang.org/api/transport/http"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/retry"
)

// Config names a bucket and how to reach it. Credentials are the application default ones:
// GOOGLE_APPLICATION_CREDENTIALS, a logged-in user, the machine's or workload's identity.
type Config struct {
	Bucket string
	// Prefix is put before every key, with a slash; "" is the bucket itself.
	Prefix string
	// Endpoint is the URL of another server than Google's, an emulator; "" is Google's. One
	// without TLS is given no credentials.
	Endpoint string
	// Authorities vouch for the server's certificate; nil is the machine's.
	Authorities *x509.CertPool
	// KMSKey encrypts new objects, "projects/P/locations/L/keyRings/R/cryptoKeys/K"; "" is the
	// bucket's own.
	KMSKey string
	// UserProject pays for the requests, where the bucket asks that of its readers.
	UserProject string
	// Limits and policies; zero values are the defaults.
	Limits      retry.Limits
	Read, Write retry.Policy
}

// idleConns per host: the default of 2 makes a busy broker dial all the time.
const idleConns = 128

// Bucket is one bucket, below one prefix.
type Bucket struct {
	retry.Base
	client *storage.Client
	bucket *storage.BucketHandle
	conf   Config
	http   *http.Transport
	signed *http.Client                // with credentials
	mould  atomic.Pointer[retry.Mould] // of reads; nil before the first one
}

// Open is the bucket of the configuration. It talks to nobody but whoever gives the
// credentials: a bucket out of reach is found at its first use.
func Open(ctx context.Context, conf Config) (*Bucket, error) {
	if err := conf.check(); err != nil {
		return nil, objstore.NewError(objstore.ErrInvalid, "open", "", err)
	}
	conf.fill()
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.MaxIdleConns, base.MaxIdleConnsPerHost = 2*idleConns, idleConns
	base.DisableCompression = true // ranges are of the stored bytes
	if conf.Authorities != nil {
		base.TLSClientConfig = &tls.Config{RootCAs: conf.Authorities}
	}
	opts := []option.ClientOption{option.WithScopes(storage.ScopeReadWrite), option.WithTelemetryDisabled()}
	if strings.HasPrefix(conf.Endpoint, "http://") {
		opts = []option.ClientOption{option.WithoutAuthentication(), option.WithTelemetryDisabled()}
	}
	signed, err := htransport.NewTransport(ctx, noReopen{retry.Watch(doer{base}, conf.Limits)}, opts...)
	if err != nil {
		return nil, objstore.NewError(objstore.ErrAccessDenied, "open", "",
			fmt.Errorf("no usable Google credentials (set GOOGLE_APPLICATION_CREDENTIALS, or give the machine an identity): %w", err))
	}
	b := &Bucket{conf: conf, http: base, signed: &http.Client{Transport: signed}}
	b.Base = retry.Base{Retrier: retry.New(), Policy: conf.Read, HeadOf: b.head, Do: b.do, Get: b.get}
	opts = []option.ClientOption{option.WithHTTPClient(b.signed)}
	if conf.Endpoint != "" {
		opts = append(opts, option.WithEndpoint(strings.TrimSuffix(conf.Endpoint, "/")+"/storage/v1/"))
	}
	if b.client, err = storage.NewClient(ctx, append(opts, storage.WithJSONReads())...); err != nil {
		return nil, objstore.NewError(objstore.ErrInvalid, "open", "", err)
	}
	b.client.SetRetry(storage.WithPolicy(storage.RetryNever))
	b.bucket = b.client.Bucket(conf.Bucket)
	if conf.UserProject != "" {
		b.bucket = b.bucket.UserProject(conf.UserProject)
	}
	if conf.Prefix != "" {
		b.Prefix = conf.Prefix + "/"
	}
	return b, nil
}

// doer is a transport as retry.Watch takes it.
type doer struct{ http.RoundTripper }

func (d doer) Do(r *http.Request) (*http.Response, error) { return d.RoundTrip(r) }

// noReopen keeps the SDK from opening a broken read again and again, for as long as each
// connection gives it a byte: it does so after every error but the end of the body, and that is
// what it gets.
type noReopen struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (n noReopen) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := n.RoundTripper.RoundTrip(r)
	if err == nil && r.Method == http.MethodGet {
		resp.Body = readBody{resp.Body}
	}
	return resp, err
}

type readBody struct{ io.ReadCloser }

func (b readBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		err = io.EOF // it compares with this very value; retry sees that there should be more
	}
	return n, err
}

// bucketName is what the service's naming rules come to, without the limits on their parts.
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$`)

func (c *Config) check() error {
	switch {
	case !bucketName.MatchString(c.Bucket):
		return fmt.Errorf("%q is no bucket name: write gs://bucket/prefix", c.Bucket)
	case c.Prefix != "" && objstore.CheckKey(c.Prefix) != nil:
		return fmt.Errorf("the prefix: %w", objstore.CheckKey(c.Prefix))
	}
	if c.Endpoint == "" {
		return nil
	}
	u, err := url.Parse(c.Endpoint)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
		return errors.New("the endpoint is no URL: write endpoint=http://host:port or https://…")
	case u.User != nil || u.RawQuery != "":
		return errors.New("the endpoint holds more than a host; credentials come from GOOGLE_APPLICATION_CREDENTIALS or an identity")
	}
	return nil
}

func (c *Config) fill() {
	c.Limits.Fill()
	if c.Read.Attempts == 0 {
		c.Read = retry.Read
	}
	if c.Write.Attempts == 0 {
		c.Write = retry.Write
	}
}

// classes can all be read at once.
var classes = []objstore.Class{"STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"}

// Capabilities implements objstore.Bucket: what Google's service can do. It keeps no tags of
// objects.
func (b *Bucket) Capabilities() objstore.Capabilities {
	return objstore.Capabilities{
		IfAbsent: true, IfVersion: true, DeleteIf: true, Checksum: true, Classes: classes, Shared: true, Durable: true,
	}
}

// Close implements objstore.Bucket.
func (b *Bucket) Close() error {
	b.http.CloseIdleConnections()
	return objstore.Wrap("close", "", b.client.Close())
}

// object is the handle of one object.
func (b *Bucket) object(key string) *storage.ObjectHandle { return b.bucket.Object(b.Prefix + key) }

// at is the handle under a version; "" is any.
func (b *Bucket) at(key string, v objstore.Version) *storage.ObjectHandle {
	o := b.object(key)
	if v == "" {
		return o
	}
	return o.If(storage.Conditions{GenerationMatch: generation(v)})
}

func version(generation int64) objstore.Version {
	return objstore.Version(strconv.FormatInt(generation, 10))
}

// generation of a version. What is none of ours matches no object: generations are positive.
func generation(v objstore.Version) int64 {
	g, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil || g <= 0 {
		return 1
	}
	return g
}

// do runs one request under the policy.
func (b *Bucket) do(ctx context.Context, op, key string, p retry.Policy, try func(context.Context) error) error {
	return b.Retrier.Do(ctx, op, key, p, func(ctx context.Context) error { return classify(ctx, op, key, try(ctx)) })
}
