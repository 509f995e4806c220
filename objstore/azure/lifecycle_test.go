package azure

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/varve-io/varve/objstore"
)

func TestRenderLifecycle(t *testing.T) {
	b := scripted(t, func(http.ResponseWriter, *http.Request) { t.Error("a request") })
	uploads := objstore.LifecycleRule{ID: "a", Prefix: "pre/", Days: 7, AbortUploads: true, Enabled: true}
	cold := objstore.LifecycleRule{ID: "varve-cold", Prefix: "pre/v1/", Days: 30, Class: "Cold", Enabled: true}
	doc, command, err := b.RenderLifecycle([]objstore.LifecycleRule{uploads, cold})
	flat := strings.Join(strings.Fields(string(doc)), "")
	const want = `{"rules":[{"enabled":true,"name":"varve-cold","type":"Lifecycle","definition":{"filters":{"blobTypes":["blockBlob"],"prefixMatch":["container/pre/v1/"]},` +
		`"actions":{"baseBlob":{"tierToCold":{"daysAfterModificationGreaterThan":30}}}}}]}`
	if err != nil || flat != want || !strings.Contains(command, "--account-name account ") {
		t.Errorf("%s\n%s\n%v", flat, command, err)
	}
	if _, _, err := b.RenderLifecycle([]objstore.LifecycleRule{uploads}); !errors.Is(err, objstore.ErrUnsupported) || !strings.Contains(err.Error(), "after a week by itself") {
		t.Errorf("uploads alone: %v", err)
	}
	cold.Class = "Hot"
	if _, _, err := b.RenderLifecycle([]objstore.LifecycleRule{cold}); !errors.Is(err, objstore.ErrUnsupported) {
		t.Errorf("a move to Hot: %v", err)
	}
}
