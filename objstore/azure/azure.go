// Package azure is the object store on Azure Blob Storage: block blobs in one container.
//
// It is the one room that imports Azure's SDK, and uses it for signing, credentials and XML;
// reads are cast from the mould of one that it made (mould.go), and signed here where the account's
// key signs them. Attempts, limits on silence and reads that go on where they broke off are retry's. The
// service checks no CRC32C: each write carries a CRC64 of bytes whose CRC32C was checked
// first, and keeps the CRC32C in the object's metadata, so that Head can tell it.
// It does not own containers: it neither creates nor configures one.
// A Bucket may be used from any number of goroutines; it holds idle connections only.
package azure

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync/atomic"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/retry"
)

// Config names a container and how to reach it. Credentials come from the environment
// (AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN, as Azure's own command line has them), else
// from the SDK's chain: workload and managed identity, service principal, a logged-in user.
type Config struct {
	Account, Container string
	// Prefix is put before every key, with a slash; "" is the container itself.
	Prefix string
	// Endpoint is the URL of another server than Azure's, an emulator; "" is Azure's.
	Endpoint string
	// PathStyle puts the account into the path and not into the host name.
	PathStyle bool
	// Authorities vouch for the server's certificate; nil is the machine's.
	Authorities *x509.CertPool
	// NoChecksum leaves out CRC64, for servers that don't know it.
	NoChecksum bool
	// EncryptionScope names the keys that encrypt new objects; "" is the container's own.
	EncryptionScope string
	// Limits and policies; zero values are the defaults.
	Limits      retry.Limits
	Read, Write retry.Policy
}

// idleConns per host: the SDK's 10 make a busy broker dial all the time.
const idleConns = 128

// Bucket is one container, below one prefix.
type Bucket struct {
	retry.Base
	client *container.Client
	conf   Config
	http   *http.Client
	// Reads are asked for without the SDK's layers.
	watched *retry.Client
	key     []byte                // nil without the account's key
	mould   atomic.Pointer[mould] // nil before the first read
}

// Open is the container of the configuration. It talks to nobody: one out of reach is found
// at its first use.
func Open(conf Config) (*Bucket, error) {
	root, err := conf.check()
	if err != nil {
		return nil, objstore.NewError(objstore.ErrInvalid, "open", "", err)
	}
	conf.fill()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 2*idleConns, idleConns
	transport.DisableCompression = true // ranges are of the stored bytes
	if conf.Authorities != nil {
		transport.TLSClientConfig = &tls.Config{RootCAs: conf.Authorities}
	}
	b := newBucket(conf, &http.Client{Transport: transport})
	if b.client, err = b.connect(root); err != nil {
		return nil, objstore.NewError(objstore.ErrInvalid, "open", "", err)
	}
	return b, nil
}

// newBucket is a bucket without a client of the SDK.
func newBucket(conf Config, client *http.Client) *Bucket {
	b := &Bucket{conf: conf, http: client, watched: retry.Watch(client, conf.Limits)}
	b.Base = retry.Base{Retrier: retry.New(), Policy: conf.Read, HeadOf: b.head, Do: b.do, Get: b.get}
	if conf.Prefix != "" {
		b.Prefix = conf.Prefix + "/"
	}
	return b
}

// connect makes the client with the credentials that there are.
func (b *Bucket) connect(root *url.URL) (*container.Client, error) {
	o := &container.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: b.watched,
		Retry:     policy.RetryOptions{MaxRetries: -1},
		Telemetry: policy.TelemetryOptions{Disabled: true},
	}}
	at := root.JoinPath(b.conf.Container)
	if key := os.Getenv("AZURE_STORAGE_KEY"); key != "" {
		cred, err := container.NewSharedKeyCredential(b.conf.Account, key)
		if err == nil {
			b.key, err = base64.StdEncoding.DecodeString(key)
		}
		if err != nil {
			return nil, errors.New("AZURE_STORAGE_KEY is no key: it is base64, as the portal shows it")
		}
		return container.NewClientWithSharedKeyCredential(at.String(), cred, o)
	}
	if token := strings.TrimPrefix(os.Getenv("AZURE_STORAGE_SAS_TOKEN"), "?"); token != "" {
		at.RawQuery = token
		return container.NewClientWithNoCredential(at.String(), o)
	}
	if root.Scheme != "https" {
		return nil, errors.New("no credentials for an endpoint without TLS: set AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN")
	}
	cred, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: b.http}})
	if err != nil {
		return nil, fmt.Errorf("Azure's credentials: %w", err)
	}
	return container.NewClient(at.String(), cred, o)
}

var (
	accountName   = regexp.MustCompile(`^[a-z0-9]{3,24}$`)
	containerName = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9]){2,62}$`)
)

// check returns the URL of the account.
func (c *Config) check() (*url.URL, error) {
	switch {
	case !accountName.MatchString(c.Account):
		return nil, fmt.Errorf("%q is no storage account: write azblob://account/container/prefix", c.Account)
	case !containerName.MatchString(c.Container) || len(c.Container) > 63:
		return nil, fmt.Errorf("%q is no container name: write azblob://account/container/prefix", c.Container)
	case c.Prefix != "" && objstore.CheckKey(c.Prefix) != nil:
		return nil, fmt.Errorf("the prefix: %w", objstore.CheckKey(c.Prefix))
	case c.Endpoint == "":
		return &url.URL{Scheme: "https", Host: c.Account + ".blob.core.windows.net"}, nil
	}
	u, err := url.Parse(c.Endpoint)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
		return nil, errors.New("the endpoint is no URL: write endpoint=http://host:port or https://…")
	case u.User != nil || u.RawQuery != "":
		return nil, errors.New("the endpoint holds more than a host; credentials come from AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN or an identity")
	case c.PathStyle:
		return u.JoinPath(c.Account), nil
	}
	if host, port, err := net.SplitHostPort(u.Host); err == nil {
		u.Host = net.JoinHostPort(c.Account+"."+host, port)
	} else {
		u.Host = c.Account + "." + u.Host
	}
	return u, nil
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

// classes that can be read at once; Archive has to be restored first.
var classes = []objstore.Class{objstore.Class(blob.AccessTierHot), objstore.Class(blob.AccessTierCool), objstore.Class(blob.AccessTierCold)}

// offlineClasses have to be restored before an object can be read.
var offlineClasses = []objstore.Class{objstore.Class(blob.AccessTierArchive)}

// Capabilities implements objstore.Bucket.
func (b *Bucket) Capabilities() objstore.Capabilities {
	return objstore.Capabilities{
		IfAbsent: true, IfVersion: true, DeleteIf: true, Checksum: !b.conf.NoChecksum,
		Tags: true, Classes: classes, Offline: offlineClasses, Shared: true, Durable: true,
	}
}

// Close implements objstore.Bucket.
func (b *Bucket) Close() error {
	b.http.CloseIdleConnections()
	return nil
}

// blob is the client of one object.
func (b *Bucket) blob(key string) *blockblob.Client {
	return b.client.NewBlockBlobClient(b.Prefix + key)
}

// do runs one request under the policy.
func (b *Bucket) do(ctx context.Context, op, key string, p retry.Policy, try func(context.Context) error) error {
	return b.Retrier.Do(ctx, op, key, p, func(ctx context.Context) error { return classify(ctx, op, key, try(ctx)) })
}
