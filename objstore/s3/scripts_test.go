package s3_test

import (
	"encoding/xml"
	"net/http"
	"strings"
	"testing"

	"github.com/varve-io/varve/objstore"
)

// What no emulator does, by small servers that answer by script.

func TestUnorderedList(t *testing.T) {
	type object struct{ Key, ETag string }
	type result struct {
		XMLName  xml.Name `xml:"ListBucketResult"`
		Contents []object
	}
	f := newFake(t, false, func(_ int, w http.ResponseWriter, _ *http.Request) {
		answerXML(w, result{Contents: []object{{Key: "pre/b", ETag: "1"}, {Key: "pre/a", ETag: "2"}}})
	})
	_, err := f.open(t, nil).List(t.Context(), "", "", 0)
	wantKind(t, "list without order", err, objstore.ErrUnsupported)
}

// archived is an object in GLACIER; ask counts the restores.
func archived(restoring *int) step {
	return func(_ int, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"e1"`)
		w.Header().Set("x-amz-storage-class", "GLACIER")
		if *restoring > 0 {
			w.Header().Set("x-amz-restore", `ongoing-request="true"`)
		}
		switch {
		case r.Method == http.MethodGet:
			fail(w, http.StatusForbidden, "InvalidObjectState")
		case r.Method == http.MethodPost && *restoring > 0:
			fail(w, http.StatusConflict, "RestoreAlreadyInProgress")
		case r.Method == http.MethodPost:
			*restoring++
			w.WriteHeader(http.StatusAccepted)
		}
	}
}

func TestArchivedObject(t *testing.T) {
	restoring := 0
	f := newFake(t, false, archived(&restoring))
	b := f.open(t, nil)
	_, err := b.GetRange(t.Context(), "k", 0, make([]byte, 1), "")
	wantKind(t, "read", err, objstore.ErrOffline)
	for range 2 {
		if err := b.Restore(t.Context(), "k", 3); err != nil {
			t.Errorf("restore: %v", err)
		}
		if a, err := b.Head(t.Context(), "k"); err != nil || !a.Offline {
			t.Errorf("an object on its way back: %+v, %v", a, err)
		}
	}
	if restoring != 1 {
		t.Errorf("%d restores were begun", restoring)
	}
}

// A copy may fail after its status was sent.
func TestSetClassWithAnErrorInTheBody(t *testing.T) {
	puts := 0
	f := newFake(t, false, func(_ int, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"e1"`)
		if r.Method != http.MethodPut {
			return
		}
		if puts++; puts == 1 {
			fail(w, http.StatusOK, "InternalError")
			return
		}
		answerXML(w, struct {
			XMLName xml.Name `xml:"CopyObjectResult"`
			ETag    string
		}{ETag: `"e2"`})
	})
	if err := f.open(t, nil).SetClass(t.Context(), "k", "STANDARD_IA"); err != nil || puts != 2 {
		t.Errorf("%d copies, %v", puts, err)
	}
}

// A certificate that nobody vouches for is no matter of time: it is said at once, with what to do.
func TestUntrustedCertificate(t *testing.T) {
	f := newFake(t, true, func(_ int, w http.ResponseWriter, r *http.Request) { ok(w, r) })
	_, err := put(t, f.open(t, nil), objstore.PutOpts{})
	wantKind(t, "put", err, objstore.ErrInvalid)
	if err == nil || !strings.Contains(err.Error(), "AWS_CA_BUNDLE") || strings.Contains(err.Error(), "attempts") {
		t.Errorf("the message: %v", err)
	}
}

func TestWrongRegion(t *testing.T) {
	f := newFake(t, false, func(_ int, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("x-amz-bucket-region", "eu-north-1")
		fail(w, http.StatusMovedPermanently, "PermanentRedirect")
	})
	_, err := f.open(t, nil).List(t.Context(), "", "", 0)
	wantKind(t, "list", err, objstore.ErrInvalid)
	if err == nil || !strings.Contains(err.Error(), "region=eu-north-1") {
		t.Errorf("the message: %v", err)
	}
}
