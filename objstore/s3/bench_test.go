package s3_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/conformance"
	"github.com/varve-io/varve/objstore/s3"
)

// cannedPut answers puts, and the steps of an upload in parts.
func cannedPut(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("ETag", `"e1"`)
	switch q := r.URL.Query(); {
	case r.Method == http.MethodPost && q.Has("uploads"):
		io.WriteString(w, "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
	case r.Method == http.MethodPost:
		fmt.Fprint(w, `<CompleteMultipartUploadResult><ETag>"e1"</ETag></CompleteMultipartUploadResult>`)
	}
}

func benchClient(b *testing.B, run func(*testing.B, http.HandlerFunc, func(string) (objstore.Bucket, error))) {
	b.Setenv("AWS_ACCESS_KEY_ID", "AKIDTEST")
	b.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	b.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	run(b, cannedPut, func(at string) (objstore.Bucket, error) {
		return s3.Open(b.Context(), s3.Config{Bucket: "bucket", Endpoint: at, PathStyle: true, Region: "eu-test-1"})
	})
}

func BenchmarkClient(b *testing.B) { benchClient(b, conformance.RunClient) }
func BenchmarkMemory(b *testing.B) { benchClient(b, conformance.RunMemory) }
