package s3_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/s3"
)

// serveRange answers a GET of body, cut after give bytes; give < 0 gives all.
func serveRange(w http.ResponseWriter, r *http.Request, body []byte, etag string, give int) {
	start, end := 0, len(body)-1
	status := http.StatusOK
	if h := r.Header.Get("Range"); h != "" {
		fmt.Sscanf(h, "bytes=%d-%d", &start, &end)
		end = min(end, len(body)-1)
		status = http.StatusPartialContent
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, end, len(body)))
	}
	w.Header().Set("ETag", etag)
	w.Header().Set("Content-Length", fmt.Sprint(end-start+1))
	w.WriteHeader(status)
	part := body[start : end+1]
	if give < 0 || give >= len(part) {
		w.Write(part)
		return
	}
	w.Write(part[:give])
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func blob(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> 3)
	}
	return b
}

func TestReadGoesOnWhereItBroke(t *testing.T) {
	body := blob(1000)
	f := newFake(t, false, func(n int, w http.ResponseWriter, r *http.Request) { serveRange(w, r, body, `"e1"`, 300) })
	r, a, err := f.open(t, nil).Open(t.Context(), "k", 0, -1, "")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, body) || a.Size != 1000 {
		t.Errorf("%d bytes of %d, %v", len(got), a.Size, err)
	}
	var ranges []string
	for _, r := range f.requests() {
		ranges = append(ranges, r.Header.Get("Range")+" "+r.Header.Get("If-Match"))
	}
	want := []string{" ", `bytes=300-999 "e1"`, `bytes=600-999 "e1"`, `bytes=900-999 "e1"`}
	if strings.Join(ranges, ",") != strings.Join(want, ",") {
		t.Errorf("ranges %q, want %q", ranges, want)
	}
}

func TestReadOfAReplacedObject(t *testing.T) {
	for name, honest := range map[string]bool{"a store that knows If-Match": true, "one that does not": false} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, false, func(n int, w http.ResponseWriter, r *http.Request) {
				switch {
				case n == 0:
					serveRange(w, r, blob(1000), `"e1"`, 300)
				case honest:
					fail(w, 412, "PreconditionFailed")
				default:
					serveRange(w, r, blob(1000), `"e2"`, -1)
				}
			})
			_, err := f.open(t, nil).GetRange(t.Context(), "k", 0, make([]byte, 1000), "")
			wantKind(t, "get", err, objstore.ErrPrecondition)
		})
	}
}

// A body that always breaks is given up, with what broke it.
func TestReadBreaksForEver(t *testing.T) {
	f := newFake(t, false, func(n int, w http.ResponseWriter, r *http.Request) { serveRange(w, r, blob(1000), `"e1"`, 1) })
	_, err := f.open(t, nil).GetRange(t.Context(), "k", 0, make([]byte, 1000), "")
	wantKind(t, "get", err, objstore.ErrTransient)
	if !errors.Is(err, io.ErrUnexpectedEOF) || len(f.requests()) != 4 {
		t.Errorf("%d requests, %v", len(f.requests()), err)
	}
}

func TestReadFailures(t *testing.T) {
	for _, tt := range []struct {
		status int
		code   string
		want   objstore.Kind
		tries  int
	}{
		{404, "NoSuchKey", objstore.ErrNotFound, 1},
		{404, "NoSuchBucket", objstore.ErrNoBucket, 1},
		{403, "InvalidObjectState", objstore.ErrOffline, 1},
		{403, "SignatureDoesNotMatch", objstore.ErrAccessDenied, 1},
		{416, "InvalidRange", objstore.ErrInvalidRange, 1},
		{412, "PreconditionFailed", objstore.ErrPrecondition, 1},
		{501, "NotImplemented", objstore.ErrUnsupported, 1},
		{500, "InternalError", objstore.ErrTransient, 4},
		{502, "", objstore.ErrTransient, 4},
		{503, "ServiceUnavailable", objstore.ErrThrottled, 4},
		{418, "Teapot", objstore.ErrUnknown, 1},
	} {
		f := newFake(t, false, func(_ int, w http.ResponseWriter, r *http.Request) { fail(w, tt.status, tt.code) })
		_, err := f.open(t, nil).GetRange(t.Context(), "k", 0, make([]byte, 1), "")
		wantKind(t, fmt.Sprint(tt.status, " ", tt.code), err, tt.want)
		if n := len(f.requests()); n != tt.tries {
			t.Errorf("%d %s: %d tries, want %d", tt.status, tt.code, n, tt.tries)
		}
	}
}

// Silence ends a request at each place where a connection can fall silent.
func TestStalls(t *testing.T) {
	const short = 150 * time.Millisecond
	silent := func(_ int, w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

	t.Run("no answer to a read", func(t *testing.T) {
		f := newFake(t, false, silent)
		b := f.open(t, func(c *s3.Config) { c.Limits.ReadFirstByte, c.Read.Attempts = short, 2 })
		_, err := b.Head(t.Context(), "k")
		wantKind(t, "head", err, objstore.ErrTransient)
		if n := len(f.requests()); n != 2 {
			t.Errorf("%d attempts", n)
		}
	})
	t.Run("no answer to a write", func(t *testing.T) {
		f := newFake(t, false, func(_ int, w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				w.WriteHeader(404)
				return
			}
			io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		})
		b := f.open(t, func(c *s3.Config) { c.Limits.WriteFirstByte, c.Write.Attempts = short, 2 })
		_, err := put(t, b, objstore.PutOpts{IfAbsent: true})
		wantKind(t, "put", err, objstore.ErrAmbiguous)
	})
	t.Run("a server that takes no bytes", func(t *testing.T) {
		quit := make(chan struct{}) // a server that reads nothing does not see us leave
		f := newFake(t, false, func(int, http.ResponseWriter, *http.Request) { <-quit })
		t.Cleanup(func() { close(quit) })
		b := f.open(t, func(c *s3.Config) { c.Limits.Stall, c.Limits.ReadFirstByte, c.Write.Attempts = short, short, 1 })
		src := objstore.Bytes(make([]byte, 64*mib)) // more than sockets buffer
		_, err := b.Put(t.Context(), "k", src, objstore.PutOpts{})
		wantKind(t, "put", err, objstore.ErrAmbiguous)
	})
	t.Run("a body that stops", func(t *testing.T) {
		f := newFake(t, false, func(n int, w http.ResponseWriter, r *http.Request) {
			if n > 0 {
				serveRange(w, r, blob(1000), `"e1"`, -1)
				return
			}
			w.Header().Set("Content-Length", "1000")
			w.Header().Set("ETag", `"e1"`)
			w.Write(blob(1000)[:400])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		})
		b := f.open(t, func(c *s3.Config) { c.Limits.Stall = short })
		got, _, err := objstore.Get(t.Context(), b, "k", 1000)
		if err != nil || !bytes.Equal(got, blob(1000)) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if rs := f.requests(); len(rs) != 2 || rs[1].Header.Get("Range") != "bytes=400-999" {
			t.Errorf("%d requests", len(rs))
		}
	})
	t.Run("the caller has had enough", func(t *testing.T) {
		f := newFake(t, false, silent)
		ctx, cancel := context.WithTimeout(t.Context(), short)
		defer cancel()
		_, err := f.open(t, nil).Head(ctx, "k")
		wantKind(t, "head", err, objstore.ErrCanceled)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

func TestNoCredentials(t *testing.T) {
	f := newFake(t, false, func(_ int, w http.ResponseWriter, r *http.Request) { ok(w, r) })
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	_, err := f.open(t, nil).Head(t.Context(), "k")
	wantKind(t, "head", err, objstore.ErrAccessDenied)
	if len(f.requests()) != 0 || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") {
		t.Errorf("%d requests, %v", len(f.requests()), err)
	}
}

func TestServerOutOfReach(t *testing.T) {
	f := newFake(t, false, func(_ int, w http.ResponseWriter, r *http.Request) {})
	b := f.open(t, nil)
	f.Close()
	// A connection that was never made has written nothing.
	_, err := put(t, b, objstore.PutOpts{IfAbsent: true})
	wantKind(t, "put", err, objstore.ErrTransient)
}

// The SDK refuses AWS_CA_BUNDLE with a client that it can not extend.
func TestCABundle(t *testing.T) {
	f := newFake(t, true, func(_ int, w http.ResponseWriter, r *http.Request) { ok(w, r) })
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw})
	if err := os.WriteFile(bundle, cert, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CA_BUNDLE", bundle)
	if _, err := put(t, f.open(t, nil), objstore.PutOpts{}); err != nil {
		t.Error(err)
	}
	if r := f.requests(); len(r) != 1 || r[0].Header.Get("X-Amz-Content-Sha256") != "UNSIGNED-PAYLOAD" {
		t.Errorf("%d requests", len(r))
	}
}

func TestConfig(t *testing.T) {
	newFake(t, false, nil)
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	for what, c := range map[string]s3.Config{
		"no bucket":                {Region: "r"},
		"a bad prefix":             {Bucket: "b", Prefix: "Up/Case", Region: "r"},
		"an endpoint that is none": {Bucket: "b", Endpoint: "127.0.0.1:9000"},
		"no region":                {Bucket: "b"},
		"a password":               {Bucket: "b", Endpoint: "http://me:" + secret + "@host"},
	} {
		_, err := s3.Open(t.Context(), c)
		wantKind(t, what, err, objstore.ErrInvalid)
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the message holds a secret: %v", what, err)
		}
	}
	long := strings.Repeat("p/", 300) + "p"
	b, err := s3.Open(t.Context(), s3.Config{Bucket: "b", Prefix: long, Region: "r"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Head(t.Context(), strings.Repeat("k/", 250)+"k")
	wantKind(t, "a key that the prefix makes too long", err, objstore.ErrInvalid)
}
