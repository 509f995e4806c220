package s3_test

import (
	"net/url"
	"os"
	"strings"
	"testing"

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
		PathStyle: u.Query().Get("pathStyle") == "true",
	}
	open := func(t *testing.T) *s3.Bucket {
		t.Helper()
		c := conf
		c.Prefix = strings.Trim(u.Path+"/conformance/"+objstore.NewToken(), "/")
		b, err := s3.Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	conformance.Run(t, func(t *testing.T) objstore.Bucket { return open(t) }, open(t).Capabilities())

	t.Run("NoBucket", func(t *testing.T) {
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
}

func TestWrongSecret(t *testing.T) {
	u := server(t)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "this-is-not-the-secret")
	b, err := s3.Open(t.Context(), s3.Config{Bucket: u.Host, Endpoint: u.Query().Get("endpoint"), PathStyle: true})
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.List(t.Context(), "", "", 0)
	wantKind(t, "list", err, objstore.ErrAccessDenied)
	if strings.Contains(err.Error(), "this-is-not-the-secret") {
		t.Error("the message holds the secret")
	}
}
