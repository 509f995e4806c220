package azure

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/retry"
)

// scripted is a container on a server that answers by script: what no emulator does.
func scripted(t *testing.T, answer http.HandlerFunc) *Bucket {
	t.Helper()
	t.Setenv("AZURE_STORAGE_KEY", "a2V5")
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	p := retry.Policy{Attempts: 3, Base: time.Millisecond, ThrottleBase: time.Millisecond, Cap: time.Millisecond}
	b, err := Open(Config{Account: "account", Container: "container", Endpoint: s.URL, PathStyle: true, Read: p, Write: p})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("x-ms-error-code", code)
	w.WriteHeader(status)
}

func TestRangeBeyondTheEnd(t *testing.T) {
	b := scripted(t, func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusRequestedRangeNotSatisfiable, "InvalidRange")
	})
	if _, err := b.GetRange(t.Context(), "k", 100, make([]byte, 1), ""); !errors.Is(err, objstore.ErrInvalidRange) {
		t.Errorf("read: %v", err)
	}
}

// Azure takes hours to bring an object back; meanwhile it is in Archive and says so.
func TestRehydratePending(t *testing.T) {
	asked := 0
	b := scripted(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodHead:
			w.Header().Set("ETag", `"e1"`)
			w.Header().Set("x-ms-access-tier", "Archive")
			if asked > 0 {
				w.Header().Set("x-ms-archive-status", "rehydrate-pending-to-hot")
			}
		case r.Method == http.MethodGet && asked > 0:
			fail(w, http.StatusConflict, "BlobBeingRehydrated")
		case r.Method == http.MethodGet:
			fail(w, http.StatusConflict, "BlobArchived")
		case r.Header.Get("x-ms-access-tier") == "Hot" && asked > 0:
			fail(w, http.StatusConflict, "BlobBeingRehydrated")
		case r.Header.Get("x-ms-access-tier") == "Hot":
			asked++
			w.WriteHeader(http.StatusAccepted)
		}
	})
	for range 2 {
		if _, err := b.GetRange(t.Context(), "k", 0, make([]byte, 1), ""); !errors.Is(err, objstore.ErrOffline) {
			t.Errorf("read: %v", err)
		}
		if err := b.Restore(t.Context(), "k", 1); err != nil {
			t.Errorf("restore: %v", err)
		}
		if a, err := b.Head(t.Context(), "k"); err != nil || !a.Offline {
			t.Errorf("an object on its way back: %+v, %v", a, err)
		}
	}
}

// A certificate that nobody vouches for is no matter of time: it is said at once, with what to do.
func TestUntrustedCertificate(t *testing.T) {
	t.Setenv("AZURE_STORAGE_KEY", "a2V5")
	s := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	b, err := Open(Config{Account: "account", Container: "container", Endpoint: s.URL, PathStyle: true})
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Put(t.Context(), "k", objstore.Bytes([]byte("x")), objstore.PutOpts{})
	if !errors.Is(err, objstore.ErrInvalid) || !strings.Contains(err.Error(), "SSL_CERT_FILE") || strings.Contains(err.Error(), "attempts") {
		t.Errorf("the message: %v", err)
	}
}

// Each write names the scope whose keys encrypt it, in one request and in blocks; reads need none.
func TestEncryptionScope(t *testing.T) {
	t.Setenv("AZURE_STORAGE_KEY", "a2V5")
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		asked = append(asked, r.Method+" "+r.URL.Query().Get("comp")+" "+r.Header.Get("x-ms-encryption-scope"))
		w.Header().Set("ETag", `"e1"`)
		if r.Method == http.MethodPut {
			w.WriteHeader(http.StatusCreated)
		}
	}))
	t.Cleanup(s.Close)
	b, err := Open(Config{Account: "account", Container: "container", Endpoint: s.URL, PathStyle: true, EncryptionScope: "ours"})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []objstore.PutOpts{{}, {PartSize: 5, Parallel: 1}} {
		if _, err := b.Put(t.Context(), "k", objstore.Bytes([]byte("0123456789")), o); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Head(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	want := []string{"PUT  ours", "PUT block ours", "PUT block ours", "PUT blocklist ours", "HEAD  "}
	if !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
}
