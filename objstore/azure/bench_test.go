package azure

import (
	"net/http"
	"testing"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/conformance"
)

func benchClient(b *testing.B, run func(*testing.B, http.HandlerFunc, func(string) (objstore.Bucket, error))) {
	b.Setenv("AZURE_STORAGE_KEY", "a2V5")
	put := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"e1"`)
		w.WriteHeader(http.StatusCreated)
	}
	run(b, put, func(at string) (objstore.Bucket, error) {
		return Open(Config{Account: "account", Container: "container", Endpoint: at, PathStyle: true})
	})
}

func BenchmarkClient(b *testing.B) { benchClient(b, conformance.RunClient) }
func BenchmarkMemory(b *testing.B) { benchClient(b, conformance.RunMemory) }
