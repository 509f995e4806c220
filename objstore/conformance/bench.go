package conformance

import (
	"bytes"
	"cmp"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/varve-io/varve/objstore"
)

// canned answers every put with success and every get with the bytes of its range, at the price
// of net/http alone.
func canned(b *testing.B, put http.HandlerFunc) string {
	b.Helper()
	content := make([]byte, 8<<20)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			io.Copy(io.Discard, r.Body)
			put(w, r)
			return
		}
		span := cmp.Or(r.Header.Get("x-ms-range"), r.Header.Get("Range"))
		first, last, _ := strings.Cut(strings.TrimPrefix(span, "bytes="), "-")
		from, _ := strconv.Atoi(first)
		to, err := strconv.Atoi(last)
		if err != nil {
			to = len(content) - 1
		}
		h := w.Header()
		h.Set("ETag", `"e1"`)
		h.Set("X-Goog-Generation", "1")
		h.Set("Content-Length", strconv.Itoa(to-from+1))
		h.Set("Content-Range", "bytes "+first+"-"+strconv.Itoa(to)+"/"+strconv.Itoa(len(content)))
		w.WriteHeader(http.StatusPartialContent)
		w.Write(content[from : to+1])
	}))
	b.Cleanup(s.Close)
	return s.URL
}

// cpu is what the process, client and server, has used.
func cpu() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

func measure(b *testing.B, size int, do func() error) {
	b.Helper()
	b.SetBytes(int64(size))
	if err := do(); err != nil {
		b.Fatal(err)
	}
	begun := cpu()
	for b.Loop() {
		if err := do(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((cpu()-begun)/float64(b.N)/float64(size)*1e9, "cpu-s/GB")
}

// BenchSize, in bytes, is the size of the objects that RunClient puts: all of them zeros.
const BenchSize = 64 << 20

// RunClient compares CPU-seconds per GB, of client and canned server together, with those of bare
// net/http: what is above it is the SDK's and ours. put answers an upload that has been read.
func RunClient(b *testing.B, put http.HandlerFunc, open func(endpoint string) (objstore.Bucket, error)) {
	b.Helper()
	at := canned(b, put)
	store, err := open(at)
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	source := objstore.Bytes(make([]byte, BenchSize))
	get := make([]byte, 8<<20)
	bare := func(method string, body []byte, header string) func() error {
		return func() error {
			req, err := http.NewRequestWithContext(b.Context(), method, at, bytes.NewReader(body))
			if err != nil {
				return err
			}
			if header != "" {
				req.Header.Set("Range", header)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if header != "" {
				_, err = io.ReadFull(resp.Body, get[:resp.ContentLength])
			}
			return err
		}
	}
	ranged := func(n int) func() error {
		return func() error {
			_, err := store.GetRange(b.Context(), "k", 0, get[:n], "")
			return err
		}
	}
	b.Run("put-64MiB/bare", func(b *testing.B) { measure(b, BenchSize, bare(http.MethodPut, make([]byte, BenchSize), "")) })
	b.Run("put-64MiB/ours", func(b *testing.B) {
		measure(b, BenchSize, func() error {
			_, err := store.Put(b.Context(), "k", source, objstore.PutOpts{})
			return err
		})
	})
	b.Run("get-8MiB/bare", func(b *testing.B) { measure(b, 8<<20, bare(http.MethodGet, nil, "bytes=0-8388607")) })
	b.Run("get-8MiB/ours", func(b *testing.B) { measure(b, 8<<20, ranged(8<<20)) })
	b.Run("get-1MiB/bare", func(b *testing.B) { measure(b, 1<<20, bare(http.MethodGet, nil, "bytes=0-1048575")) })
	b.Run("get-1MiB/ours", func(b *testing.B) { measure(b, 1<<20, ranged(1<<20)) })
}
