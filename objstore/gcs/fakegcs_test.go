package gcs

import (
	"errors"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/storage"
	"google.golang.org/api/googleapi"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/conformance"
)

// server is the configuration that VARVE_TEST_GCS names, as `localstack/store start` prints
// it. It must name an endpoint without TLS: a test asks nobody but its server, for credentials
// neither.
func server(t *testing.T) Config {
	t.Helper()
	raw := os.Getenv("VARVE_TEST_GCS")
	if raw == "" {
		t.Skip("VARVE_TEST_GCS names no bucket; start one with 'localstack/store run fake-gcs'")
	}
	u, err := url.Parse(raw)
	if err != nil || !strings.HasPrefix(u.Query().Get("endpoint"), "http://") {
		t.Fatalf("VARVE_TEST_GCS needs to be a URL with endpoint=http://…: %v", err)
	}
	return Config{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/"), Endpoint: u.Query().Get("endpoint")}
}

// TestConformance runs the suite against a real server.
func TestConformance(t *testing.T) {
	conf := server(t)
	whole, err := Open(t.Context(), conf)
	if err != nil {
		t.Fatal(err)
	}
	var api *googleapi.Error
	if err := whole.bucket.Create(t.Context(), "varve-test", nil); err != nil && (!errors.As(err, &api) || api.Code != http.StatusConflict) {
		t.Fatal(err)
	}
	open := func(t *testing.T) *Bucket {
		t.Helper()
		c := conf
		c.Prefix = strings.Trim(conf.Prefix+"/conformance/"+objstore.NewToken(), "/")
		b, err := Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	srv := conformance.Named(t, os.Getenv("VARVE_TEST_GCS_SERVER"))
	conformance.Run(t, srv, func(t *testing.T) objstore.Bucket { return open(t) }, open(t).Capabilities())

	srv.Line(t, "Lifecycle", func(t testing.TB) {
		_, err := whole.bucket.Update(t.Context(), storage.BucketAttrsToUpdate{Lifecycle: &storage.Lifecycle{Rules: []storage.LifecycleRule{
			{Action: storage.LifecycleAction{Type: storage.DeleteAction}, Condition: storage.LifecycleCondition{AgeInDays: 90, MatchesPrefix: []string{"a/", "b/"}}},
			{Action: storage.LifecycleAction{Type: storage.AbortIncompleteMPUAction}, Condition: storage.LifecycleCondition{AgeInDays: 7}},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		defer whole.bucket.Update(t.Context(), storage.BucketAttrsToUpdate{Lifecycle: &storage.Lifecycle{}})
		got, err := whole.LifecycleRules(t.Context())
		want := []objstore.LifecycleRule{
			{ID: "rule 1", Prefix: "a/", Days: 90, Expire: true, Enabled: true},
			{ID: "rule 1", Prefix: "b/", Days: 90, Expire: true, Enabled: true},
			{ID: "rule 2", Days: 7, AbortUploads: true, Enabled: true},
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("rules %+v, want %+v, %v", got, want, err)
		}
	})
	srv.Line(t, "ConditionalDelete", func(t testing.TB) {
		old, err := whole.Put(t.Context(), "cond/delete", objstore.Bytes([]byte("1")), objstore.PutOpts{})
		if err == nil {
			_, err = whole.Put(t.Context(), "cond/delete", objstore.Bytes([]byte("2")), objstore.PutOpts{})
		}
		if err != nil {
			t.Fatal(err)
		}
		err = whole.deleteOne(t.Context(), "cond/delete", old.Version)
		if _, herr := whole.Head(t.Context(), "cond/delete"); !errors.Is(err, objstore.ErrPrecondition) || herr != nil {
			t.Errorf("delete of an old version: %v; afterwards: %v", err, herr)
		}
	})
	srv.Line(t, "NoBucket", func(t testing.TB) {
		c := conf
		c.Bucket = "no-such-bucket"
		b, err := Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = b.List(t.Context(), "", "", 0); !errors.Is(err, objstore.ErrNoBucket) {
			t.Errorf("list: %v", err)
		}
		if _, err = b.Put(t.Context(), "k", objstore.Bytes(nil), objstore.PutOpts{}); !errors.Is(err, objstore.ErrNoBucket) {
			t.Errorf("put: %v", err)
		}
	})
}

// A time of one's own is kept, through a prefix too, and a missing object has none.
func TestCustomTime(t *testing.T) {
	conf := server(t)
	conf.Prefix = "time/" + objstore.NewToken()
	b, err := Open(t.Context(), conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	if _, err := b.Put(t.Context(), "k", objstore.Bytes([]byte("x")), objstore.PutOpts{}); err != nil {
		t.Fatal(err)
	}
	if at, err := b.CustomTime(t.Context(), "k"); err != nil || !at.IsZero() {
		t.Errorf("the custom time of a new object is %v, %v", at, err)
	}
	want := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := b.SetCustomTime(t.Context(), "k", want); err != nil {
		t.Fatal(err)
	}
	if at, err := b.CustomTime(t.Context(), "k"); err != nil || !at.Equal(want) {
		t.Errorf("the custom time is %v, %v, want %v", at, err, want)
	}
	_, err = b.CustomTime(t.Context(), "missing")
	if serr := b.SetCustomTime(t.Context(), "missing", want); !errors.Is(err, objstore.ErrNotFound) || !errors.Is(serr, objstore.ErrNotFound) {
		t.Errorf("a missing object: %v, %v", err, serr)
	}
}
