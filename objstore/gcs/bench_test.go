package gcs

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/http"
	"testing"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/conformance"
)

func BenchmarkClient(b *testing.B) {
	sum := crc32.Checksum(make([]byte, conformance.BenchSize), objstore.Castagnoli)
	answer := fmt.Sprintf(`{"name":"k","generation":"1","size":"%d","crc32c":%q}`, conformance.BenchSize,
		base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum)))
	put := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, answer)
	}
	conformance.RunClient(b, put, func(at string) (objstore.Bucket, error) {
		return Open(b.Context(), Config{Bucket: "bucket", Endpoint: at})
	})
}
