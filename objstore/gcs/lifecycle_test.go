package gcs

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/varve-io/varve/objstore"
)

func TestApplyLifecycle(t *testing.T) {
	const before = `{"name":"bucket","metageneration":"4","lifecycle":{"rule":[
		{"action":{"type":"Delete"},"condition":{"age":90,"matchesPrefix":["logs/"],"matchesStorageClass":["NEARLINE"]}},
		{"action":{"type":"AbortIncompleteMultipartUpload"},"condition":{"age":3,"matchesPrefix":["pre/"]}}]}}`
	sent, match := "", ""
	status := http.StatusOK
	b := scripted(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodGet {
			fmt.Fprint(w, before)
			return
		}
		raw, _ := io.ReadAll(r.Body)
		sent, match = string(raw), r.URL.Query().Get("ifMetagenerationMatch")
		w.WriteHeader(status)
		fmt.Fprint(w, `{}`)
	})
	rules := []objstore.LifecycleRule{
		{ID: "a", Prefix: "pre/", Days: 7, AbortUploads: true, Enabled: true},
		{ID: "b", Prefix: "pre/v1/", Days: 30, Class: "NEARLINE", Enabled: true},
	}
	if err := b.ApplyLifecycle(t.Context(), rules); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"matchesStorageClass":["NEARLINE"]`, `"age":90`, `"age":7`, `"storageClass":"NEARLINE"`} {
		if !strings.Contains(sent, want) {
			t.Errorf("what was sent lacks %s: %s", want, sent)
		}
	}
	if match != "4" || strings.Contains(sent, `"age":3,`) || strings.Count(sent, `"action"`) != 3 {
		t.Errorf("under metageneration %q: %s", match, sent)
	}
	status = http.StatusPreconditionFailed
	if err := b.ApplyLifecycle(t.Context(), rules); !errors.Is(err, objstore.ErrPrecondition) {
		t.Errorf("rules that another has changed: %v", err)
	}
	rules[0].Expire = true
	if err := b.ApplyLifecycle(t.Context(), rules); !errors.Is(err, objstore.ErrInvalid) {
		t.Errorf("a rule that deletes: %v", err)
	}
}

func TestRenderLifecycle(t *testing.T) {
	b := scripted(t, func(http.ResponseWriter, *http.Request) { t.Error("a request") })
	doc, command, err := b.RenderLifecycle([]objstore.LifecycleRule{{ID: "a", Prefix: "pre/", Days: 7, AbortUploads: true, Enabled: true}, {ID: "b", Days: 30, Class: "COLDLINE", Enabled: true}})
	flat := strings.Join(strings.Fields(string(doc)), "")
	const want = `{"lifecycle":{"rule":[{"action":{"type":"AbortIncompleteMultipartUpload"},"condition":{"age":7,"matchesPrefix":["pre/"]}},` +
		`{"action":{"type":"SetStorageClass","storageClass":"COLDLINE"},"condition":{"age":30}}]}}`
	if err != nil || flat != want || !strings.Contains(command, "gs://bucket ") {
		t.Errorf("%s\n%s\n%v", flat, command, err)
	}
}
