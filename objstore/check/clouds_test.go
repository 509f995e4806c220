package check_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/azure"
	"github.com/varve-io/varve/objstore/check"
	"github.com/varve-io/varve/objstore/gcs"
	"github.com/varve-io/varve/objstore/mem"
	"github.com/varve-io/varve/objstore/retry"
	"github.com/varve-io/varve/objstore/s3"
)

// cloud is one provider against a server of ours, and how that server says things.
type cloud struct {
	name string
	open func(t *testing.T, endpoint string) objstore.Bucket
	// fail answers with an error of the provider's form.
	fail func(w http.ResponseWriter, status int, code string)
	// empty answers a list with nothing.
	empty string
}

// clouds are the three, without anything of the machine's own configuration.
func clouds(t *testing.T) []cloud {
	t.Helper()
	for _, v := range []string{"AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE", "AZURE_STORAGE_SAS_TOKEN"} {
		t.Setenv(v, "")
	}
	none := t.TempDir() + "/none"
	t.Setenv("AWS_CONFIG_FILE", none)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", none)
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
	t.Setenv("AZURE_STORAGE_KEY", "aHVudGVyMg==")
	p := retry.Policy{Attempts: 2, Base: time.Millisecond, ThrottleBase: time.Millisecond, Cap: time.Millisecond, Deadline: time.Minute}
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	return []cloud{
		{"s3", func(t *testing.T, at string) objstore.Bucket {
			b, err := s3.Open(t.Context(), s3.Config{Bucket: "bucket", Endpoint: at, PathStyle: true, Read: p, Write: p})
			must(t, err)
			return b
		}, func(w http.ResponseWriter, status int, code string) {
			if status == http.StatusMovedPermanently {
				w.Header().Set("x-amz-bucket-region", "eu-north-1")
			}
			w.WriteHeader(status)
			fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", code)
		}, `<ListBucketResult></ListBucketResult>`},
		{"azure", func(t *testing.T, at string) objstore.Bucket {
			b, err := azure.Open(azure.Config{Account: "account", Container: "container", Endpoint: at, PathStyle: true, Read: p, Write: p})
			must(t, err)
			return b
		}, func(w http.ResponseWriter, status int, code string) {
			w.Header().Set("x-ms-error-code", code)
			w.WriteHeader(status)
		}, `<?xml version="1.0"?><EnumerationResults><Blobs></Blobs><NextMarker /></EnumerationResults>`},
		{"gcs", func(t *testing.T, at string) objstore.Bucket {
			b, err := gcs.Open(t.Context(), gcs.Config{Bucket: "bucket", Endpoint: at, Read: p, Write: p})
			must(t, err)
			return b
		}, func(w http.ResponseWriter, status int, code string) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"error":{"code":%d,"message":"no","errors":[{"reason":%q}]}}`, status, code)
		}, `{"kind":"storage#objects"}`},
	}
}

// TestBadStores has each provider meet what a wrong configuration meets in its cloud, and holds the
// words that 'store check' finds for it.
func TestBadStores(t *testing.T) {
	for _, c := range clouds(t) {
		for _, tt := range []struct {
			name     string
			status   int
			codes    map[string]string // by provider; one without meets no such thing
			readOnly bool              // lists are answered
			trial    string
			says     string
		}{
			{"no such bucket", 404, map[string]string{"s3": "NoSuchBucket", "azure": "ContainerNotFound", "gcs": "notFound"}, false, "list", "create the bucket or container first"},
			{"no rights", 403, map[string]string{"s3": "AccessDenied", "azure": "AuthorizationFailure", "gcs": "forbidden"}, false, "list", "give these credentials the rights"},
			{"no role", 403, map[string]string{"azure": "AuthorizationPermissionMismatch"}, false, "list", "Storage Blob Data Contributor"},
			{"a wrong region", 301, map[string]string{"s3": "PermanentRedirect"}, false, "list", "region=eu-north-1"},
			{"a read-only token", 403, map[string]string{"s3": "AccessDenied", "azure": "AuthorizationFailure", "gcs": "forbidden"}, true, "put, get, head", "may list and not write"},
			{"a clock off by an hour", 403, map[string]string{"s3": "RequestTimeTooSkewed", "azure": "AuthenticationFailed"}, false, "list", "this machine's clock"},
			{"a policy against changes", 409, map[string]string{"azure": "BlobImmutableDueToPolicy"}, true, "put, get, head", "take a container without one"},
		} {
			code, meets := tt.codes[c.name]
			if !meets {
				continue
			}
			t.Run(c.name+", "+tt.name, func(t *testing.T) {
				s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					if tt.readOnly && r.Method == http.MethodGet {
						_, _ = io.WriteString(w, c.empty)
						return
					}
					c.fail(w, tt.status, code)
				}))
				defer s.Close()
				wantBroken(t, c.open(t, s.URL), tt.trial, tt.says)
			})
		}
		t.Run(c.name+", a bad endpoint", func(t *testing.T) {
			s := httptest.NewServer(http.NotFoundHandler())
			s.Close() // nobody listens there any more
			wantBroken(t, c.open(t, s.URL), "list", "look at the endpoint")
		})
		t.Run(c.name+", an untrusted certificate", func(t *testing.T) {
			if c.name == "gcs" { // which looks for credentials as soon as there is TLS
				serviceAccount(t, http.StatusOK, `{"access_token":"hunter2","token_type":"Bearer","expires_in":3600}`)
			}
			s := httptest.NewUnstartedServer(http.NotFoundHandler())
			s.Config.ErrorLog = log.New(io.Discard, "", 0) // it would tell of each refusal
			s.StartTLS()
			defer s.Close()
			wantBroken(t, c.open(t, s.URL), "list", "ca=/path/file.pem")
		})
	}
}

// serviceAccount makes a Google credentials file whose tokens are asked of a server of ours, which
// answers with this.
func serviceAccount(t *testing.T, status int, answer string) {
	t.Helper()
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(tokens.Close)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "p", "private_key_id": "hunter2", "client_email": "varve@p.iam.gserviceaccount.com", "client_id": "1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": tokens.URL,
	})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "account.json")
	if err := os.WriteFile(name, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", name)
}

// Google refuses a wrong clock where the tokens are made: the assertion that asks for one lies in the
// future, or has expired.
func TestGoogleTokens(t *testing.T) {
	for _, tt := range []struct {
		name, answer, says string
		status             int
	}{
		{"a clock off by an hour", `{"error":"invalid_grant","error_description":"Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim."}`, "this machine's clock", http.StatusBadRequest},
		{"a deleted key", `{"error":"invalid_grant","error_description":"Invalid JWT Signature."}`, "Invalid JWT Signature", http.StatusBadRequest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			serviceAccount(t, tt.status, tt.answer)
			s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request without a token") }))
			defer s.Close()
			pool := x509.NewCertPool()
			pool.AddCert(s.Certificate())
			p := retry.Policy{Attempts: 2, Base: time.Millisecond, ThrottleBase: time.Millisecond, Cap: time.Millisecond, Deadline: time.Minute}
			b, err := gcs.Open(t.Context(), gcs.Config{Bucket: "bucket", Endpoint: s.URL, Authorities: pool, Read: p, Write: p})
			if err != nil {
				t.Fatal(err)
			}
			wantBroken(t, b, "list", tt.says)
		})
	}
}

// wantBroken runs a check that must find the store unusable, and say why.
func wantBroken(t *testing.T, b objstore.Bucket, trial, says string) {
	t.Helper()
	defer b.Close()
	r := check.Run(t.Context(), b, check.Options{Prefix: "check"})
	if r.Usable {
		t.Errorf("the store is usable")
	}
	for _, l := range r.Lines {
		if strings.Contains(l.Detail+l.Advice, "hunter2") || strings.Contains(l.Detail+l.Advice, "aHVudGVyMg") {
			t.Errorf("%s tells a secret: %s; %s", l.Trial, l.Detail, l.Advice)
		}
		if l.Trial == trial {
			if l.Verdict != check.Broken || !strings.Contains(l.Detail+"; "+l.Advice, says) {
				t.Errorf("%+v, want %s and %q", l, check.Broken, says)
			}
			return
		}
	}
	t.Errorf("no trial %q: %+v", trial, r.Lines)
}

// TestSettings reads what a bucket is set up to do, as each cloud tells it.
func TestSettings(t *testing.T) {
	type headers map[string]string
	for _, c := range clouds(t) {
		for _, tt := range []struct {
			name, cloud string
			body        map[string]string // by the query or the path that it answers
			headers     headers
			want        objstore.BucketSettings
		}{
			{"plain", "s3", map[string]string{"versioning": "<VersioningConfiguration/>"}, nil, objstore.BucketSettings{}},
			{"versioning", "s3", map[string]string{"versioning": "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"}, nil, objstore.BucketSettings{Versioning: true}},
			{"object lock", "s3", map[string]string{"versioning": "<VersioningConfiguration/>", "object-lock": "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>30</Days></DefaultRetention></Rule></ObjectLockConfiguration>"}, nil,
				objstore.BucketSettings{Locked: "object lock in mode COMPLIANCE for 30 days and 0 years"}},
			{"plain", "azure", nil, nil, objstore.BucketSettings{}},
			{"a hierarchical name space", "azure", nil, headers{"x-ms-is-hns-enabled": "true"}, objstore.BucketSettings{Hierarchical: true}},
			{"a legal hold", "azure", nil, headers{"x-ms-has-legal-hold": "true"}, objstore.BucketSettings{Locked: "a legal hold"}},
			{"retention", "azure", nil, headers{"x-ms-has-immutability-policy": "true"}, objstore.BucketSettings{Locked: "an immutability policy"}},
			{"plain", "gcs", map[string]string{"": `{"name":"bucket"}`}, nil, objstore.BucketSettings{}},
			{"versioning", "gcs", map[string]string{"": `{"versioning":{"enabled":true}}`}, nil, objstore.BucketSettings{Versioning: true}},
			{"a hierarchical name space", "gcs", map[string]string{"": `{"hierarchicalNamespace":{"enabled":true}}`}, nil, objstore.BucketSettings{Hierarchical: true}},
			{"retention", "gcs", map[string]string{"": `{"retentionPolicy":{"retentionPeriod":"86400","effectiveTime":"2026-01-01T00:00:00Z"}}`}, nil, objstore.BucketSettings{Locked: "a retention policy of 24h0m0s"}},
		} {
			if tt.cloud != c.name {
				continue
			}
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for name, value := range tt.headers {
					w.Header().Set(name, value)
				}
				if c.name == "gcs" {
					w.Header().Set("Content-Type", "application/json")
				}
				for asked, body := range tt.body {
					if asked == "" || r.URL.Query().Has(asked) {
						_, _ = io.WriteString(w, body)
						return
					}
				}
				if c.name == "s3" {
					c.fail(w, 404, "ObjectLockConfigurationNotFoundError")
				}
			}))
			b := c.open(t, s.URL)
			got, err := b.(objstore.Inspector).Settings(t.Context())
			if err != nil || got != tt.want {
				t.Errorf("%s, %s: %+v, want %+v, %v", c.name, tt.name, got, tt.want, err)
			}
			b.Close()
			s.Close()
		}
	}
}

// What can't be asked of any store is refused before a request is sent, with what to say instead.
func TestRefusedBeforehand(t *testing.T) {
	for _, c := range clouds(t) {
		s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error(c.name + ": a request") }))
		b := c.open(t, s.URL)
		src := objstore.Bytes([]byte("x"))
		_, err := b.Put(t.Context(), "a", src, objstore.PutOpts{Class: "NO_SUCH_CLASS"})
		if !errors.Is(err, objstore.ErrUnsupported) || !strings.Contains(err.Error(), "NO_SUCH_CLASS") || !strings.Contains(err.Error(), string(b.Capabilities().Classes[1])) {
			t.Errorf("%s, an unknown class: %v", c.name, err)
		}
		for _, key := range []string{"../x", "a/../b", "a//b", "/a", "A"} {
			if _, err := b.Put(t.Context(), key, src, objstore.PutOpts{}); !errors.Is(err, objstore.ErrInvalid) || !strings.Contains(err.Error(), key) {
				t.Errorf("%s, key %s: %v", c.name, key, err)
			}
		}
		b.Close()
		s.Close()
	}
}

// skewed is a store with another idea of the time.
type skewed struct {
	objstore.Bucket
	by time.Duration
}

func (s skewed) Head(ctx context.Context, key string) (objstore.Attrs, error) {
	a, err := s.Bucket.Head(ctx, key)
	a.Modified = a.Modified.Add(s.by)
	return a, err
}

// A clock that is off is found by the store's own time, before requests are refused for it.
func TestClock(t *testing.T) {
	for _, tt := range []struct {
		by   time.Duration
		want check.Verdict
		says string
	}{{0, check.OK, "apart"}, {time.Hour, check.Missing, "keep both by NTP"}, {-time.Hour, check.Missing, "keep both by NTP"}} {
		r := check.Run(t.Context(), skewed{mem.New(), tt.by}, check.Options{Prefix: "check"})
		for _, l := range r.Lines {
			if l.Trial == "clock" && (l.Verdict != tt.want || !strings.Contains(l.Detail, tt.says)) {
				t.Errorf("%v off: %+v", tt.by, l)
			}
		}
		if verdicts(r)["clock"] == "" || !r.Usable {
			t.Errorf("%v off: usable %v, %v", tt.by, r.Usable, verdicts(r))
		}
	}
}
