package gcs

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/conformance"
)

// cannedPut answers uploads of the sizes of the benchmarks, whole and in chunks.
func cannedPut() http.HandlerFunc {
	whole := crc32.Checksum(make([]byte, conformance.BenchSize), objstore.Castagnoli)
	big := whole
	for range conformance.BenchBig/conformance.BenchSize - 1 {
		big = objstore.CombineCRC32C(big, whole, conformance.BenchSize)
	}
	answer := func(w http.ResponseWriter, size int, sum uint32) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"name":"k","generation":"1","size":"%d","crc32c":%q}`, size,
			base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum)))
	}
	return func(w http.ResponseWriter, r *http.Request) {
		span, total, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Content-Range"), "bytes "), "/")
		switch {
		case r.URL.Query().Get("uploadType") == "resumable" && r.URL.Query().Get("upload_id") == "":
			w.Header().Set("Location", "http://"+r.Host+r.URL.Path+"?uploadType=resumable&upload_id=u")
		case span == "":
			answer(w, conformance.BenchSize, whole)
		case total == strconv.Itoa(conformance.BenchBig):
			answer(w, conformance.BenchBig, big)
		default:
			_, last, _ := strings.Cut(span, "-")
			w.Header().Set("Range", "bytes=0-"+last)
			w.Header().Set("X-Http-Status-Code-Override", "308")
		}
	}
}

func benchClient(b *testing.B, run func(*testing.B, http.HandlerFunc, func(string) (objstore.Bucket, error))) {
	run(b, cannedPut(), func(at string) (objstore.Bucket, error) {
		return Open(b.Context(), Config{Bucket: "bucket", Endpoint: at})
	})
}

func BenchmarkClient(b *testing.B) { benchClient(b, conformance.RunClient) }
func BenchmarkMemory(b *testing.B) { benchClient(b, conformance.RunMemory) }
