package gcs

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/conformance"
	"github.com/varve-io/varve/objstore/retry"
)

// TestFaults runs the table of faults, and the storm, against a real server behind a proxy.
func TestFaults(t *testing.T) {
	conf := server(t)
	chunk := func(r *http.Request) bool {
		return r.URL.Query().Has("upload_id") && r.Header.Get("Content-Range") != ""
	}
	last := func(r *http.Request) bool { return chunk(r) && !strings.HasSuffix(r.Header.Get("Content-Range"), "/*") }
	conformance.RunFaults(t, conformance.Target{
		Server: conformance.Named(t, os.Getenv("VARVE_TEST_GCS_SERVER")), Endpoint: conf.Endpoint, Checked: true,
		Open: func(t testing.TB, endpoint, prefix string, l retry.Limits, p retry.Policy) objstore.Bucket {
			c := conf
			c.Prefix, c.Endpoint, c.Limits, c.Read, c.Write = prefix, endpoint, l, p, p
			b, err := Open(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			return b
		},
		Part: func(r *http.Request) bool { return chunk(r) && !last(r) }, Complete: last,
	})
}
