package s3_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/conformance"
	"github.com/varve-io/varve/objstore/s3"
)

// server is the URL of VARVE_TEST_S3, with the SDK kept to the credentials of the environment:
// without them its chain would ask the machine's metadata service, and a test asks nobody but
// its server.
func server(t *testing.T) *url.URL {
	t.Helper()
	raw := os.Getenv("VARVE_TEST_S3")
	if raw == "" {
		t.Skip("VARVE_TEST_S3 names no bucket; start one with 'localstack/store run versitygw'")
	}
	isolate(t)
	u, err := url.Parse(raw)
	if err != nil || os.Getenv("AWS_ACCESS_KEY_ID") == "" || os.Getenv("AWS_SECRET_ACCESS_KEY") == "" {
		t.Fatalf("VARVE_TEST_S3 needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY beside it, and to be a URL: %v", err)
	}
	return u
}

// TestConformance runs the suite against a real server: VARVE_TEST_S3 is the URL of a bucket
// as `localstack/store start` prints it, with the credentials in AWS_ACCESS_KEY_ID and
// AWS_SECRET_ACCESS_KEY.
func TestConformance(t *testing.T) {
	u := server(t)
	conf := s3.Config{
		Bucket: u.Host, Region: u.Query().Get("region"), Endpoint: u.Query().Get("endpoint"),
		PathStyle: u.Query().Get("pathStyle") == "true", NoChecksum: u.Query().Get("checksum") == "none", Authorities: authorities(t, u),
	}
	open := func(t testing.TB) *s3.Bucket {
		t.Helper()
		c := conf
		c.Prefix = strings.Trim(u.Path+"/conformance/"+objstore.NewToken(), "/")
		b, err := s3.Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	srv := conformance.Named(t, os.Getenv("VARVE_TEST_S3_SERVER"))
	conformance.Run(t, srv, func(t *testing.T) objstore.Bucket { return open(t) }, open(t).Capabilities())

	srv.Line(t, "NoBucket", func(t testing.TB) {
		c := conf
		c.Bucket = "no-such-bucket"
		b, err := s3.Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.List(t.Context(), "", "", 0)
		wantKind(t, "list", err, objstore.ErrNoBucket)
		_, err = b.Put(t.Context(), "k", objstore.Bytes(nil), objstore.PutOpts{})
		wantKind(t, "put", err, objstore.ErrNoBucket)
	})
	srv.Line(t, "Sweep", func(t testing.TB) { sweep(t, client(u, conf.Authorities), u.Host, open) })
	srv.Line(t, "ConditionalDelete", func(t testing.TB) {
		b := open(t)
		old, err := b.Put(t.Context(), "k", objstore.Bytes([]byte("1")), objstore.PutOpts{})
		if err == nil {
			_, err = b.Put(t.Context(), "k", objstore.Bytes([]byte("2")), objstore.PutOpts{})
		}
		if err != nil {
			t.Fatal(err)
		}
		_, err = client(u, conf.Authorities).DeleteObject(t.Context(), &sdk.DeleteObjectInput{Bucket: &u.Host, Key: aws.String(b.Name("k")), IfMatch: aws.String(string(old.Version))})
		if _, herr := b.Head(t.Context(), "k"); err == nil || herr != nil {
			t.Errorf("delete of an old version: %v; afterwards: %v", err, herr)
		}
	})
	t.Run("UntrustedCertificate", func(t *testing.T) {
		if conf.Authorities == nil {
			t.Skip("no authority of its own: start the server with 'localstack/store run minio-tls'")
		}
		c := conf
		c.Authorities = nil
		b, err := s3.Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.List(t.Context(), "", "", 0)
		wantKind(t, "list", err, objstore.ErrInvalid)
		if err == nil || !strings.Contains(err.Error(), "ca=/path/file.pem") {
			t.Errorf("the message: %v", err)
		}
	})
	srv.Line(t, "Lifecycle", func(t testing.TB) { lifecycle(t, client(u, conf.Authorities), u.Host, open) })
	srv.Line(t, "WrongSecret", func(t testing.TB) {
		t.Setenv("AWS_SECRET_ACCESS_KEY", "this-is-not-the-secret")
		b, err := s3.Open(t.Context(), conf)
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.List(t.Context(), "", "", 0)
		wantKind(t, "list", err, objstore.ErrAccessDenied)
		if err != nil && strings.Contains(err.Error(), "this-is-not-the-secret") {
			t.Error("the message holds the secret")
		}
	})
}

// authorities are those of the file that ca names; nil without one.
func authorities(t *testing.T, u *url.URL) *x509.CertPool {
	t.Helper()
	name := u.Query().Get("ca")
	if name == "" {
		return nil
	}
	pem, err := os.ReadFile(name)
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(pem) {
		t.Fatalf("no certificate in %s: %v", name, err)
	}
	return pool
}

// client is the SDK itself, for what a Bucket does not do.
func client(u *url.URL, pool *x509.CertPool) *sdk.Client {
	return sdk.New(sdk.Options{
		HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}},
		Region:     "us-east-1", BaseEndpoint: aws.String(u.Query().Get("endpoint")), UsePathStyle: true,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY")}, nil
		}),
	})
}

// sweep begins uploads as a writer does that crashes in the middle.
func sweep(t testing.TB, c *sdk.Client, bucket string, open func(testing.TB) *s3.Bucket) {
	b := open(t)
	const left = 3
	for i := range left {
		out, err := c.CreateMultipartUpload(t.Context(), &sdk.CreateMultipartUploadInput{Bucket: &bucket, Key: aws.String(b.Name(fmt.Sprintf("swept/%d", i)))})
		if err == nil {
			_, err = c.UploadPart(t.Context(), &sdk.UploadPartInput{
				Bucket: &bucket, Key: aws.String(b.Name(fmt.Sprintf("swept/%d", i))), UploadId: out.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader("part"),
			})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if n, err := b.SweepUploads(t.Context(), "", time.Hour); n != 0 || err != nil {
		t.Errorf("%d young uploads were swept, %v", n, err)
	}
	if n, err := b.SweepUploads(t.Context(), "other/", 0); n != 0 || err != nil {
		t.Errorf("%d uploads were swept below another prefix, %v", n, err)
	}
	if n, err := b.SweepUploads(t.Context(), "", 0); n != left || err != nil {
		t.Errorf("%d uploads were swept, want %d, %v", n, left, err)
	}
	if n, err := b.SweepUploads(t.Context(), "", 0); n != 0 || err != nil {
		t.Errorf("%d uploads are still there after a sweep, %v", n, err)
	}
}

// lifecycle gives the bucket a rule of each kind, reads them, and takes them away.
func lifecycle(t testing.TB, c *sdk.Client, bucket string, open func(testing.TB) *s3.Bucket) {
	b := open(t)
	if rules, err := b.LifecycleRules(t.Context()); err != nil || len(rules) != 0 {
		t.Errorf("rules of a bucket that has none: %v, %v", rules, err)
	}
	_, err := c.PutBucketLifecycleConfiguration(t.Context(), &sdk.PutBucketLifecycleConfigurationInput{
		Bucket: &bucket, LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: []types.LifecycleRule{
			{ID: aws.String("old"), Status: types.ExpirationStatusEnabled, Filter: &types.LifecycleRuleFilter{Prefix: aws.String("a/")}, Expiration: &types.LifecycleExpiration{Days: aws.Int32(90)}},
			{ID: aws.String("cold"), Status: types.ExpirationStatusEnabled, Filter: &types.LifecycleRuleFilter{Prefix: aws.String("b/")}, Transitions: []types.Transition{{Days: aws.Int32(30), StorageClass: "STANDARD_IA"}}},
			{ID: aws.String("uploads"), Status: types.ExpirationStatusDisabled, Filter: &types.LifecycleRuleFilter{Prefix: aws.String("")}, AbortIncompleteMultipartUpload: &types.AbortIncompleteMultipartUpload{DaysAfterInitiation: aws.Int32(7)}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.DeleteBucketLifecycle(t.Context(), &sdk.DeleteBucketLifecycleInput{Bucket: &bucket})
	got, err := b.LifecycleRules(t.Context())
	want := []objstore.LifecycleRule{
		{ID: "cold", Prefix: "b/", Days: 30, Class: "STANDARD_IA", Enabled: true},
		{ID: "old", Prefix: "a/", Days: 90, Expire: true, Enabled: true},
		{ID: "uploads", Days: 7, AbortUploads: true},
	}
	slices.SortFunc(got, func(a, b objstore.LifecycleRule) int { return strings.Compare(a.ID, b.ID) })
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("rules %+v, want %+v, %v", got, want, err)
	}
	// Ours are added, a second time in the place of the first, and another's stay.
	for _, days := range []int{3, 7} {
		ours := []objstore.LifecycleRule{
			{ID: "ours", Prefix: "v/", Days: days, AbortUploads: true, Enabled: true},
			{ID: "move", Prefix: "v/", Days: 30 + days, Class: "GLACIER_IR", Enabled: true},
		}
		if err := b.ApplyLifecycle(t.Context(), ours); err != nil {
			t.Fatal(err)
		}
		got, err = b.LifecycleRules(t.Context())
		with := append(slices.Clone(want), ours...)
		for _, rules := range [][]objstore.LifecycleRule{got, with} {
			slices.SortFunc(rules, func(a, b objstore.LifecycleRule) int { return strings.Compare(a.ID, b.ID) })
		}
		if err != nil || !slices.Equal(got, with) {
			t.Errorf("rules with ours %+v, want %+v, %v", got, with, err)
		}
	}
}
