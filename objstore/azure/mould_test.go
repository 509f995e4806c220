package azure

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

func partial(w http.ResponseWriter) {
	w.Header().Set("ETag", `"e1"`)
	w.Header().Set("Content-Range", "bytes 0-0/1")
	w.WriteHeader(http.StatusPartialContent)
	w.Write([]byte("x"))
}

func read(t *testing.T, b *Bucket, key string) {
	t.Helper()
	if _, err := b.GetRange(t.Context(), key, 0, make([]byte, 1), "e1"); err != nil {
		t.Error(err)
	}
}

// A read that is cast says what the SDK's own says, and the signature is the one that the SDK makes of it.
func TestCastReads(t *testing.T) {
	var asked []*http.Request
	b := scripted(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r)
		partial(w)
	})
	read(t, b, "a=b/c")
	b.mould.Store(&mould{cast: time.Now()})
	read(t, b, "a=b/c")
	ours, sdks := asked[0], asked[1]
	if ours.RequestURI != sdks.RequestURI || ours.Host != sdks.Host {
		t.Errorf("asked for %s, the SDK for %s", ours.RequestURI, sdks.RequestURI)
	}
	for name, values := range sdks.Header {
		if got := ours.Header.Get(name); got != values[0] && name != "Authorization" && name != "X-Ms-Date" && name != "X-Ms-Client-Request-Id" {
			t.Errorf("%s is %q, the SDK says %q", name, got, values[0])
		}
	}
	at, err := http.ParseTime(sdks.Header.Get("X-Ms-Date"))
	if err != nil {
		t.Fatal(err)
	}
	again := sdks.Clone(t.Context())
	again.Header.Del("Authorization")
	b.sign(again, at)
	if got, want := again.Header.Get("Authorization"), sdks.Header.Get("Authorization"); got != want || !strings.HasPrefix(want, "SharedKey account:") {
		t.Errorf("signed %s, the SDK signs %s", got, want)
	}
}

// tokens are a new one for each time that the SDK asks.
type tokens struct{ n int }

func (k *tokens) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	k.n++
	return azcore.AccessToken{Token: strings.Repeat("t", k.n), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// A token is used again for a while, and after it was refused the SDK is asked anew; a signed URL is as it is.
func TestCastReadsByToken(t *testing.T) {
	refuse := false
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refuse {
			fail(w, http.StatusForbidden, "AuthorizationFailure")
		} else if strings.HasPrefix(r.Header.Get("Authorization"), "Bearer t") || r.URL.Query().Get("sig") == "s" {
			partial(w)
		} else {
			fail(w, http.StatusUnauthorized, "NoAuthenticationInformation")
		}
	}))
	t.Cleanup(s.Close)
	conf := Config{Account: "account"}
	conf.fill()
	conf.Read.Attempts = 1
	b := newBucket(conf, s.Client())
	o := &container.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: b.watched, Retry: policy.RetryOptions{MaxRetries: -1}}}
	var err error
	if b.client, err = container.NewClient(s.URL+"/container", &tokens{}, o); err != nil {
		t.Fatal(err)
	}
	read(t, b, "k")
	first := b.mould.Load()
	read(t, b, "k")
	if m := b.mould.Load(); m == nil || m.Mould == nil || m.byKey || m != first {
		t.Fatalf("the mould is %+v", m)
	}
	b.mould.Store(&mould{Mould: first.Mould, cast: time.Now().Add(-2 * mouldAge)})
	read(t, b, "k")
	if m := b.mould.Load(); time.Since(m.cast) > mouldAge {
		t.Error("an old mould is used on")
	}
	refuse = true
	if _, err := b.GetRange(t.Context(), "k", 0, make([]byte, 1), ""); err == nil || b.mould.Load() != nil {
		t.Errorf("after a refusal: %v, %+v", err, b.mould.Load())
	}
	refuse = false
	if b.client, err = container.NewClientWithNoCredential(s.URL+"/container?sv=1&sig=s", o); err != nil {
		t.Fatal(err)
	}
	read(t, b, "k")
	if m := b.mould.Load(); m == nil || m.Mould == nil {
		t.Errorf("a signed URL makes no mould: %+v", m)
	}
}

// What sign does not know is left to the SDK.
func TestSignable(t *testing.T) {
	for _, tc := range []struct {
		header, query string
		want          bool
	}{{"X-Ms-Version", "", true}, {"X-Ms-Client-Request-Id", "", true}, {"Accept", "", true}, {"X-Ms-Lease-Id", "", false}, {"X-Ms-Version", "snapshot=1", false}} {
		r := &http.Request{Header: http.Header{tc.header: {"v"}}, URL: &url.URL{RawQuery: tc.query}}
		if got := signable(r); got != tc.want {
			t.Errorf("%s?%s: %v", tc.header, tc.query, got)
		}
	}
}
