// Package s3 is the object store on Amazon S3 and on what speaks its protocol.
//
// It is the one room that imports the AWS SDK, and uses it for signing, credentials, endpoints
// and XML; reads are cast from the mould of one that it made (mould.go). All else is done
// here, because the SDK's way differs from what a broker needs: attempts, limits on silence and reads that go on where they broke off, under If-Match
// (retry; the SDK makes one attempt), and uploads in parts with their own conditions and
// their own clean-up. Payloads are sent unsigned with a CRC32C that the store checks.
// It does not own buckets: it neither creates nor configures one.
// A Bucket may be used from any number of goroutines; it holds idle connections only.
package s3

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/retry"
)

// Config names a bucket and how to reach it. Credentials come from the SDK's own chain:
// environment, shared files, web identity, container or instance role.
type Config struct {
	Bucket string
	// Prefix is put before every key, with a slash; "" is the bucket itself.
	Prefix string
	// Region; "" leaves it to the SDK's chain, and to "us-east-1" if an Endpoint is set.
	Region string
	// Endpoint is the URL of another store than Amazon's; "" is Amazon's.
	Endpoint string
	// PathStyle puts the bucket into the path and not into the host name.
	PathStyle bool
	// Authorities vouch for the store's certificate; nil is the machine's, and AWS_CA_BUNDLE.
	Authorities *x509.CertPool
	// NoChecksum leaves out CRC32C, for stores that refuse it.
	NoChecksum bool
	// Encryption at rest; the zero value is the bucket's own.
	Encryption Encryption
	// RequesterPays owns up to paying for the requests, which some buckets ask of their readers.
	RequesterPays bool
	// Limits and policies; zero values are the defaults.
	Limits      retry.Limits
	Read, Write retry.Policy
}

const (
	// idleConns per host: the SDK's 10 make a busy broker dial all the time.
	idleConns = 128
	// pageLimit is S3's own limit on a page and on a batch of deletes.
	pageLimit = 1000
)

// Bucket is one bucket, below one prefix.
type Bucket struct {
	retry.Base
	client *s3.Client
	conf   Config
	creds  *credentials
	http   aws.HTTPClient
	// Reads are asked for without the SDK's middleware.
	watched *retry.Client
	sign    *v4.Signer
	mould   atomic.Pointer[mould] // nil before the first read
}

// Open is the bucket of the configuration. It reads the SDK's configuration files and talks
// to nobody: a bucket out of reach is found at its first use.
func Open(ctx context.Context, conf Config) (*Bucket, error) {
	if err := conf.check(); err != nil {
		return nil, objstore.NewError(objstore.ErrInvalid, "open", "", err)
	}
	conf.fill()
	added, err := newHeaders(conf.Encryption, conf.RequesterPays)
	if err != nil {
		return nil, objstore.NewError(objstore.ErrInvalid, "open", "", err)
	}
	// A BuildableClient, since the SDK must be able to add the certificates of AWS_CA_BUNDLE.
	base := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns, t.MaxIdleConnsPerHost = 2*idleConns, idleConns
		t.DisableCompression = true // ranges are of the stored bytes
		if conf.Authorities != nil {
			t.TLSClientConfig.RootCAs = conf.Authorities
		}
	})
	cfg, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithHTTPClient(base),
		awsconfig.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
		awsconfig.WithLogger(logging.Nop{})) // it would write to the process's stderr
	if err != nil {
		return nil, objstore.NewError(objstore.ErrInvalid, "open", "", fmt.Errorf("the AWS configuration: %w", err))
	}
	switch {
	case conf.Region != "":
		cfg.Region = conf.Region
	case cfg.Region == "" && conf.Endpoint != "":
		cfg.Region = "us-east-1"
	case cfg.Region == "":
		return nil, objstore.NewError(objstore.ErrInvalid, "open", "",
			errors.New("no region: add ?region=… to the store's URL, or set AWS_REGION"))
	}
	b := &Bucket{conf: conf, creds: &credentials{chain: cfg.Credentials}}
	b.Base = retry.Base{Retrier: retry.New(), Policy: conf.Read, HeadOf: b.head, Do: b.do, Get: b.get}
	if conf.Prefix != "" {
		b.Prefix = conf.Prefix + "/"
	}
	cfg.Credentials = b.creds
	b.http, b.watched = cfg.HTTPClient, retry.Watch(cfg.HTTPClient, conf.Limits)
	b.sign = v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }) // as S3 has it
	b.client = s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.HTTPClient = b.watched
		o.UsePathStyle = conf.PathStyle
		o.APIOptions = append(o.APIOptions, added.middleware)
		if conf.Endpoint != "" {
			o.BaseEndpoint = aws.String(conf.Endpoint)
		}
		o.Retryer = aws.NopRetryer{}
		// Checksums are ours: one CRC32C header on each write; other stores choke on more.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		o.DisableLogOutputChecksumValidationSkipped = true
	})
	return b, nil
}

func (c *Config) check() error {
	switch {
	case c.Bucket == "" || strings.ContainsAny(c.Bucket, "/?#@: "):
		return fmt.Errorf("%q is no bucket name: write s3://bucket/prefix", c.Bucket)
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
	case u.User != nil:
		return errors.New("the endpoint holds a user or a password; credentials come from AWS_ACCESS_KEY_ID, files or roles")
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

// classes are S3's own names that can be read at once; what has to be restored first is not
// for segments that are fetched.
var classes = []objstore.Class{"STANDARD", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "REDUCED_REDUNDANCY"}

// offlineClasses have to be restored before an object can be read.
var offlineClasses = []objstore.Class{"GLACIER", "DEEP_ARCHIVE"}

// Capabilities implements objstore.Bucket: what Amazon's S3 can do. Other stores are put to
// the proof by whoever depends on a condition.
func (b *Bucket) Capabilities() objstore.Capabilities {
	return objstore.Capabilities{
		IfAbsent: true, IfVersion: true, DeleteIf: true, Checksum: !b.conf.NoChecksum,
		Tags: true, Classes: classes, Offline: offlineClasses, Shared: true, Durable: true,
	}
}

// Close implements objstore.Bucket.
func (b *Bucket) Close() error {
	if t, ok := b.http.(interface{ GetTransport() *http.Transport }); ok {
		t.GetTransport().CloseIdleConnections()
	}
	return nil
}

// name is the key within the bucket.
func (b *Bucket) name(key string) *string { return aws.String(b.Prefix + key) }

// do runs one request under the policy. If the store says that the credentials have expired,
// they are fetched anew, once.
func (b *Bucket) do(ctx context.Context, op, key string, p retry.Policy, try func(context.Context) error) error {
	refreshed := false
	return b.Retrier.Do(ctx, op, key, p, func(ctx context.Context) error {
		err := classify(ctx, op, key, try(ctx))
		var e *objstore.Error
		if errors.As(err, &e) && expired[e.Code] && !refreshed {
			refreshed = true
			b.creds.invalidate()
			err = classify(ctx, op, key, try(ctx))
		}
		return err
	})
}

// credentials marks the errors of the chain, so that they are told from the store's.
type credentials struct {
	chain aws.CredentialsProvider
}

type credentialsError struct{ err error }

func (e *credentialsError) Error() string {
	return "no usable AWS credentials (set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role): " + e.err.Error()
}

func (e *credentialsError) Unwrap() error { return e.err }

// Retrieve implements aws.CredentialsProvider.
func (c *credentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	v, err := c.chain.Retrieve(ctx)
	if err != nil {
		return v, &credentialsError{err}
	}
	return v, nil
}

func (c *credentials) invalidate() {
	if cache, ok := c.chain.(*aws.CredentialsCache); ok {
		cache.Invalidate()
	}
}
