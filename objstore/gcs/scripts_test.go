package gcs

import (
	"errors"
	"fmt"
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

// scripted is a bucket on a server that answers by script: what no emulator does.
func scripted(t *testing.T, answer http.HandlerFunc) *Bucket {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	p := retry.Policy{Attempts: 3, Base: time.Millisecond, ThrottleBase: time.Millisecond, Cap: time.Millisecond}
	b, err := Open(t.Context(), Config{Bucket: "bucket", Endpoint: s.URL, Read: p, Write: p})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// A read or a delete of a generation that is gone is refused, and the requests name it.
func TestStaleGeneration(t *testing.T) {
	const now = "7"
	asked := ""
	b := scripted(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		asked = q.Get("ifGenerationMatch")
		switch {
		case asked != "" && asked != now:
			w.WriteHeader(http.StatusPreconditionFailed)
			fmt.Fprint(w, `{"error":{"code":412,"message":"At least one of the pre-conditions you specified did not hold."}}`)
		case r.Method == http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
		case q.Get("alt") == "media":
			w.Header().Set("X-Goog-Generation", now)
			w.Header().Set("Content-Range", "bytes 0-3/4")
			w.WriteHeader(http.StatusPartialContent)
			fmt.Fprint(w, "data")
		default:
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"name":"k","generation":%q,"size":"4"}`, now)
		}
	})
	p := make([]byte, 4)
	if _, err := b.GetRange(t.Context(), "k", 0, p, "6"); !errors.Is(err, objstore.ErrPrecondition) || asked != "6" {
		t.Errorf("read of generation 6 asked for %q: %v", asked, err)
	}
	if a, err := b.GetRange(t.Context(), "k", 0, p, now); err != nil || a.Version != now || string(p) != "data" {
		t.Errorf("read: %+v, %v", a, err)
	}
	if err := b.deleteOne(t.Context(), "k", "6"); !errors.Is(err, objstore.ErrPrecondition) || asked != "6" {
		t.Errorf("delete of generation 6 asked for %q: %v", asked, err)
	}
	if err := b.DeleteIf(t.Context(), "k", now); err != nil || asked != now {
		t.Errorf("delete of generation %s asked for %q: %v", now, asked, err)
	}
}

// One object takes about one update a second; more is 429, and passes.
func TestHotObject(t *testing.T) {
	puts := 0
	b := scripted(t, func(w http.ResponseWriter, r *http.Request) {
		if puts++; puts < 3 {
			w.WriteHeader(http.StatusTooManyRequests)
			fmt.Fprint(w, `{"error":{"code":429,"errors":[{"reason":"rateLimitExceeded"}]}}`)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"name":"k","generation":"9","size":"4","crc32c":"rth90Q=="}`)
	})
	src := objstore.Bytes([]byte("data"))
	if a, err := b.Put(t.Context(), "k", src, objstore.PutOpts{IfVersion: "8"}); puts != 3 || err != nil || a.Version != "9" {
		t.Errorf("%d requests, %+v, %v", puts, a, err)
	}
}

// A service that stores other bytes than it was sent and whose reply is lost: the write is found by
// its token, seen to be wrong, and taken away.
func TestLostReplyOfFlippedBytes(t *testing.T) {
	token, deleted := "", ""
	b := scripted(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.Method {
		case http.MethodPost:
			raw, _ := io.ReadAll(r.Body)
			_, rest, _ := strings.Cut(string(raw), `"varve":"`)
			if token == "" {
				token, _, _ = strings.Cut(rest, `"`)
			}
			panic(http.ErrAbortHandler)
		case http.MethodDelete:
			deleted = r.URL.Query().Get("ifGenerationMatch")
			w.WriteHeader(http.StatusNoContent)
		default:
			fmt.Fprintf(w, `{"name":"k","generation":"9","size":"4","crc32c":"AAAAAA==","metadata":{"varve":%q}}`, token)
		}
	})
	_, err := b.Put(t.Context(), "k", objstore.Bytes([]byte("data")), objstore.PutOpts{IfAbsent: true})
	if err == nil || deleted != "9" || token == "" {
		t.Errorf("put: %v; deleted generation %q of token %q", err, deleted, token)
	}
}

// Each request says who pays for it, and each write which key encrypts it.
func TestParametersOfRequests(t *testing.T) {
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		q := r.URL.Query()
		payer := q.Get("userProject")
		if payer == "" {
			payer = r.Header.Get("X-Goog-User-Project")
		}
		asked = append(asked, fmt.Sprintf("%s %s %s", r.Method, payer, q.Get("kmsKeyName")))
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"name":"k","generation":"9","size":"4","crc32c":"rth90Q=="}`)
	}))
	defer s.Close()
	const key = "projects/p/locations/l/keyRings/r/cryptoKeys/k"
	b, err := Open(t.Context(), Config{Bucket: "bucket", Endpoint: s.URL, UserProject: "payer", KMSKey: key})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.Put(t.Context(), "k", objstore.Bytes([]byte("data")), objstore.PutOpts{}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Head(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	if want := []string{"POST payer " + key, "GET payer "}; !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
}
