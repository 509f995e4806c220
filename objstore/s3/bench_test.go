package s3_test

import (
	"net/http"
	"testing"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/conformance"
	"github.com/varve-io/varve/objstore/s3"
)

func BenchmarkClient(b *testing.B) {
	b.Setenv("AWS_ACCESS_KEY_ID", "AKIDTEST")
	b.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	b.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	conformance.RunClient(b, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("ETag", `"e1"`) }, func(at string) (objstore.Bucket, error) {
		return s3.Open(b.Context(), s3.Config{Bucket: "bucket", Endpoint: at, PathStyle: true, Region: "eu-test-1"})
	})
}
