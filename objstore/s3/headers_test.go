package s3_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/s3"
)

func TestEncryptionHeaders(t *testing.T) {
	const sse = "X-Amz-Server-Side-Encryption"
	for _, tt := range []struct {
		name      string
		conf      func(*s3.Config)
		put, head map[string]string
	}{
		{"none", nil, map[string]string{sse: ""}, map[string]string{sse: ""}},
		{"SSE-S3", func(c *s3.Config) { c.Encryption.Mode = "AES256" }, map[string]string{sse: "AES256"}, map[string]string{sse: ""}},
		{"SSE-KMS", func(c *s3.Config) { c.Encryption = s3.Encryption{Mode: "aws:kms", KMSKey: "id"} },
			map[string]string{sse: "aws:kms", sse + "-Aws-Kms-Key-Id": "id"}, map[string]string{sse: ""}},
		{"customer key", func(c *s3.Config) { c.Encryption.CustomerKey = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=" },
			map[string]string{sse + "-Customer-Algorithm": "AES256", sse + "-Customer-Key-Md5": "mT2HRsMGJ5IX5C+0rreZ8Q=="},
			map[string]string{sse + "-Customer-Key": "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="}},
		{"requester pays", func(c *s3.Config) { c.RequesterPays = true },
			map[string]string{"X-Amz-Request-Payer": "requester"}, map[string]string{"X-Amz-Request-Payer": "requester"}},
	} {
		f := newFake(t, false, func(_ int, w http.ResponseWriter, r *http.Request) { ok(w, r) })
		b := f.open(t, tt.conf)
		if _, err := put(t, b, objstore.PutOpts{}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Head(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		for i, want := range []map[string]string{tt.put, tt.head} {
			r := f.requests()[i]
			for name, value := range want {
				if got := r.Header.Get(name); got != value {
					t.Errorf("%s, %s: header %s is %q, want %q", tt.name, r.Method, name, got, value)
				}
				if value != "" && !strings.Contains(r.Header.Get("Authorization"), strings.ToLower(name)) {
					t.Errorf("%s, %s: header %s is not signed", tt.name, r.Method, name)
				}
			}
		}
	}
}

func TestBadEncryption(t *testing.T) {
	isolate(t)
	for _, tt := range []struct {
		e    s3.Encryption
		says string
	}{
		{s3.Encryption{Mode: "aes"}, "AES256 or aws:kms"},
		{s3.Encryption{KMSKey: "id"}, "goes with encryption=aws:kms"},
		{s3.Encryption{Mode: "AES256", CustomerKey: "c2hvcnQ="}, "leave the other out"},
		{s3.Encryption{CustomerKey: "c2hvcnQ="}, "openssl rand -base64 32"},
	} {
		_, err := s3.Open(t.Context(), s3.Config{Bucket: "b", Region: "r", Encryption: tt.e})
		wantKind(t, "open", err, objstore.ErrInvalid)
		if err != nil && (!strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "c2hvcnQ")) {
			t.Errorf("%+v: %v, want %q", tt.e, err, tt.says)
		}
	}
}
