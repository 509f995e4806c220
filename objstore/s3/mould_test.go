package s3

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/retry"
)

// opened is a bucket on a server that answers reads so, one attempt each.
func opened(t *testing.T, answer http.HandlerFunc) *Bucket {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
		"AWS_ACCESS_KEY_ID": "AKIDTEST", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token",
	} {
		t.Setenv(name, value)
	}
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	b, err := Open(t.Context(), Config{
		Bucket: "bucket", Prefix: "pre", Endpoint: s.URL, Region: "eu-test-1", PathStyle: true, RequesterPays: true, Read: retry.Policy{Attempts: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func partial(w http.ResponseWriter) {
	w.Header().Set("ETag", `"e1"`)
	w.Header().Set("Content-Range", "bytes 0-0/1")
	w.WriteHeader(http.StatusPartialContent)
	w.Write([]byte("x"))
}

func read(t *testing.T, b *Bucket, key string) error {
	t.Helper()
	_, err := b.GetRange(t.Context(), key, 0, make([]byte, 1), "")
	return err
}

// A read that is cast says what the SDK's own says, but for what names the one request.
func TestCastReads(t *testing.T) {
	var asked []*http.Request
	b := opened(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r)
		partial(w)
	})
	if err := read(t, b, "a=b/c"); err != nil {
		t.Fatal(err)
	}
	b.mould.Store(&mould{})
	if err := read(t, b, "a=b/c"); err != nil {
		t.Fatal(err)
	}
	ours, sdks := asked[0], asked[1]
	if ours.RequestURI != sdks.RequestURI || ours.Host != sdks.Host {
		t.Errorf("asked for %s, the SDK for %s", ours.RequestURI, sdks.RequestURI)
	}
	for name, values := range sdks.Header {
		if strings.HasPrefix(name, "Amz-Sdk-") || name == "Authorization" || name == "X-Amz-Date" {
			continue
		}
		if got := ours.Header.Get(name); got != values[0] {
			t.Errorf("%s is %q, the SDK says %q", name, got, values[0])
		}
	}
	scope, _, _ := strings.Cut(ours.Header.Get("Authorization"), ",")
	if want, _, _ := strings.Cut(sdks.Header.Get("Authorization"), ","); scope != want {
		t.Errorf("signed as %s, the SDK signs as %s", scope, want)
	}
}

// A clock that is wrong by an hour costs the first read; the SDK learns the store's, and the mould from it.
func TestCastReadsBySkewedClock(t *testing.T) {
	store := time.Now().Add(time.Hour)
	var first atomic.Bool
	b := opened(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
		at, err := time.Parse(amzDate, r.Header.Get("X-Amz-Date"))
		if err != nil || at.Sub(store).Abs() > 15*time.Minute {
			first.Store(true)
			w.WriteHeader(http.StatusForbidden)
			w.Write([]byte(`<Error><Code>RequestTimeTooSkewed</Code></Error>`))
			return
		}
		partial(w)
	})
	if err := read(t, b, "k"); objstore.KindOf(err) != objstore.ErrAccessDenied || !first.Load() {
		t.Errorf("the first read: %v", err)
	}
	for range 2 {
		if err := read(t, b, "k"); err != nil {
			t.Errorf("a read after the clock was known: %v", err)
		}
	}
}

// Requests that are signed in another way are left to the SDK.
func TestNotCast(t *testing.T) {
	b := opened(t, func(w http.ResponseWriter, _ *http.Request) { partial(w) })
	m, err := b.cast(t.Context(), time.Now())
	if err != nil || m.Mould == nil || m.service != "s3" || m.region != "eu-test-1" || m.skew != 0 {
		t.Fatalf("the mould is %+v, %v", m, err)
	}
	for name, value := range map[string]string{"Authorization": "AWS4-ECDSA-P256-SHA256 Credential=A/20260101/s3/aws4_request", "X-Amz-S3session-Token": "t"} {
		made := *m.Made
		made.Header = m.Made.Header.Clone()
		made.Header.Set(name, value)
		if got := mouldOf(&retry.Mould{Made: &made}, time.Now()); got.Mould != nil {
			t.Errorf("cast with %s: %s", name, value)
		}
	}
	if mouldOf(nil, time.Now()).Mould != nil {
		t.Error("cast from nothing")
	}
}
