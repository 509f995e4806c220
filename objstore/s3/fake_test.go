package s3_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/retry"
	"github.com/varve-io/varve/objstore/s3"
)

func wantKind(t testing.TB, what string, err error, kind objstore.Kind) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%s: %v, want %q", what, err, kind)
	}
}

// fake is a server that answers by script: what no emulator does. Its requests are counted
// and kept without their bodies.
type fake struct {
	*httptest.Server
	mu struct {
		sync.Mutex
		seen []*http.Request
	}
}

// step answers the n-th request, from 0, that matches what a test is about.
type step func(n int, w http.ResponseWriter, r *http.Request)

// secret is the key that must appear in no message.
const secret = "do-not-print-me"

// isolate keeps the SDK from the machine's own configuration and from its metadata service.
func isolate(t *testing.T) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
		"AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_CA_BUNDLE": "", "AWS_WEB_IDENTITY_TOKEN_FILE": "",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "",
	} {
		t.Setenv(name, value)
	}
}

// newFake starts a server, and isolates the SDK.
func newFake(t *testing.T, tls bool, answer step) *fake {
	t.Helper()
	isolate(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDTEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	f := &fake{}
	n := 0
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		i := n
		n++
		f.mu.seen = append(f.mu.seen, r)
		f.mu.Unlock()
		answer(i, w, r)
	}))
	if tls {
		f.StartTLS()
	} else {
		f.Start()
	}
	t.Cleanup(f.Close)
	return f
}

func (f *fake) requests() []*http.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*http.Request(nil), f.mu.seen...)
}

// methods is what was asked, in order: "PUT", "HEAD" …
func (f *fake) methods() string {
	s := ""
	for _, r := range f.requests() {
		s += r.Method + " "
	}
	return s
}

// quick makes retries immediate and silence short.
func (f *fake) open(t *testing.T, change func(*s3.Config)) *s3.Bucket {
	t.Helper()
	quick := retry.Policy{Attempts: 4, Base: time.Millisecond, ThrottleBase: time.Millisecond, Cap: time.Millisecond}
	conf := s3.Config{
		Bucket: "bucket", Prefix: "pre", Endpoint: f.URL, Region: "eu-test-1", PathStyle: true, Read: quick, Write: quick,
		Limits: retry.Limits{ReadFirstByte: time.Minute, WriteFirstByte: time.Minute, Stall: time.Minute},
	}
	if change != nil {
		change(&conf)
	}
	b, err := s3.Open(t.Context(), conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// fail answers as S3 does.
func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("x-amz-request-id", "REQ1")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>it failed</Message></Error>`, code)
}

// hangUp takes the request and gives no answer.
func hangUp(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	panic(http.ErrAbortHandler)
}

func ok(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	w.Header().Set("ETag", `"e1"`)
}

func answerXML(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/xml")
	xml.NewEncoder(w).Encode(v)
}

func put(t *testing.T, b *s3.Bucket, o objstore.PutOpts) (objstore.Attrs, error) {
	t.Helper()
	return b.Put(t.Context(), "k", objstore.Bytes([]byte("0123456789")), o)
}
