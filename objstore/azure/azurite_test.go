package azure

import (
	"errors"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/conformance"
)

// server is the configuration that VARVE_TEST_AZURE names, as `localstack/store start` prints
// it, with the key in AZURE_STORAGE_KEY: without one the SDK's chain would ask the machine's
// metadata service, and a test asks nobody but its server.
func server(t *testing.T) Config {
	t.Helper()
	raw := os.Getenv("VARVE_TEST_AZURE")
	if raw == "" {
		t.Skip("VARVE_TEST_AZURE names no container; start one with 'localstack/store run azurite'")
	}
	u, err := url.Parse(raw)
	if err != nil || os.Getenv("AZURE_STORAGE_KEY") == "" {
		t.Fatalf("VARVE_TEST_AZURE needs AZURE_STORAGE_KEY beside it, and to be a URL: %v", err)
	}
	name, prefix, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	return Config{Account: u.Host, Container: name, Prefix: prefix, Endpoint: u.Query().Get("endpoint"), PathStyle: true}
}

// TestConformance runs the suite against a real server.
func TestConformance(t *testing.T) {
	conf := server(t)
	whole, err := Open(conf)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := whole.client.Create(t.Context(), nil); err != nil && !bloberror.HasCode(err, bloberror.ContainerAlreadyExists) {
		t.Fatal(err)
	}
	open := func(t *testing.T) *Bucket {
		t.Helper()
		c := conf
		c.Prefix = strings.Trim(conf.Prefix+"/conformance/"+objstore.NewToken(), "/")
		b, err := Open(c)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	srv := conformance.Named(t, os.Getenv("VARVE_TEST_AZURE_SERVER"))
	conformance.Run(t, srv, func(t *testing.T) objstore.Bucket { return open(t) }, open(t).Capabilities())

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
		c.Container = "no-such-container"
		b, err := Open(c)
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
	srv.Line(t, "WrongSecret", func(t testing.TB) {
		t.Setenv("AZURE_STORAGE_KEY", "dGhpcyBpcyBub3QgdGhlIGtleQ==")
		b, err := Open(conf)
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.List(t.Context(), "", "", 0)
		if !errors.Is(err, objstore.ErrAccessDenied) || strings.Contains(err.Error(), "dGhpcyB") {
			t.Errorf("list: %v", err)
		}
	})
}
