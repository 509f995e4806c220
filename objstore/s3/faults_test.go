package s3_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/conformance"
	"github.com/varve-io/varve/objstore/retry"
	"github.com/varve-io/varve/objstore/s3"
)

// TestFaults runs the table of faults, and the storm, against a real server behind a proxy.
func TestFaults(t *testing.T) {
	u := server(t)
	q := u.Query()
	if q.Get("endpoint") == "" {
		t.Skip("a cloud is not reached by a proxy")
	}
	if strings.HasPrefix(q.Get("endpoint"), "https://") {
		t.Skip("faults are put between the two without TLS")
	}
	conformance.RunFaults(t, conformance.Target{
		Server: conformance.Named(t, os.Getenv("VARVE_TEST_S3_SERVER")), Endpoint: q.Get("endpoint"), Checked: q.Get("checksum") != "none",
		Open: func(t testing.TB, endpoint, prefix string, l retry.Limits, p retry.Policy) objstore.Bucket {
			b, err := s3.Open(t.Context(), s3.Config{
				Bucket: u.Host, Prefix: prefix, Region: q.Get("region"), Endpoint: endpoint, PathStyle: true,
				NoChecksum: q.Get("checksum") == "none", Limits: l, Read: p, Write: p,
			})
			if err != nil {
				t.Fatal(err)
			}
			return b
		},
		Part:     func(r *http.Request) bool { return r.URL.Query().Has("partNumber") },
		Complete: func(r *http.Request) bool { return r.Method == http.MethodPost && r.URL.Query().Has("uploadId") },
	})
}
