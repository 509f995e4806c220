package s3_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/varve-io/varve/objstore"
)

// ours are rules of each kind that may be written.
var ours = []objstore.LifecycleRule{
	{ID: "varve-uploads", Prefix: "pre/", Days: 7, AbortUploads: true, Enabled: true},
	{ID: "varve-cold", Prefix: "pre/v1/", Days: 30, Class: "STANDARD_IA", Enabled: true},
}

func TestApplyLifecycle(t *testing.T) {
	const before = `<LifecycleConfiguration><Rule><ID>theirs</ID><Status>Enabled</Status><Filter><And><Prefix>logs/</Prefix><ObjectSizeGreaterThan>5</ObjectSizeGreaterThan></And></Filter><Expiration><Days>90</Days></Expiration></Rule>` +
		`<Rule><ID>varve-uploads</ID><Status>Enabled</Status><Filter><Prefix>pre/</Prefix></Filter><AbortIncompleteMultipartUpload><DaysAfterInitiation>3</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule></LifecycleConfiguration>`
	sent := ""
	f := newFake(t, false, func(_ int, w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			io.WriteString(w, before)
			return
		}
		raw, _ := io.ReadAll(r.Body)
		sent = string(raw)
	})
	if err := f.open(t, nil).ApplyLifecycle(t.Context(), ours); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<ID>theirs</ID>", "<ObjectSizeGreaterThan>5</ObjectSizeGreaterThan>", "<DaysAfterInitiation>7</DaysAfterInitiation>", "<StorageClass>STANDARD_IA</StorageClass>", "<Prefix>pre/v1/</Prefix>"} {
		if !strings.Contains(sent, want) {
			t.Errorf("what was sent lacks %s: %s", want, sent)
		}
	}
	if strings.Contains(sent, "<DaysAfterInitiation>3<") || strings.Count(sent, "<Rule>") != 3 {
		t.Errorf("what was sent: %s", sent)
	}
}

// Who may not change the bucket is told so, and nothing is sent without having read.
func TestApplyLifecycleWithoutRights(t *testing.T) {
	f := newFake(t, false, func(_ int, w http.ResponseWriter, _ *http.Request) { fail(w, http.StatusForbidden, "AccessDenied") })
	wantKind(t, "apply", f.open(t, nil).ApplyLifecycle(t.Context(), ours), objstore.ErrAccessDenied)
	if f.methods() != "GET " {
		t.Errorf("requests %s", f.methods())
	}
}

func TestRenderLifecycle(t *testing.T) {
	f := newFake(t, false, func(int, http.ResponseWriter, *http.Request) {})
	doc, command, err := f.open(t, nil).RenderLifecycle(ours)
	const want = `{
  "Rules": [
    {
      "ID": "varve-uploads",
      "Status": "Enabled",
      "Filter": {
        "Prefix": "pre/"
      },
      "AbortIncompleteMultipartUpload": {
        "DaysAfterInitiation": 7
      }
    },
    {
      "ID": "varve-cold",
      "Status": "Enabled",
      "Filter": {
        "Prefix": "pre/v1/"
      },
      "Transitions": [
        {
          "Days": 30,
          "StorageClass": "STANDARD_IA"
        }
      ]
    }
  ]
}`
	if err != nil || string(doc) != want || !strings.Contains(command, "--bucket bucket ") || f.methods() != "" {
		t.Errorf("%s\n%s\n%v", doc, command, err)
	}
}

// Rules that could delete what is needed, or that say nothing, are never written.
func TestBadLifecycle(t *testing.T) {
	f := newFake(t, false, func(int, http.ResponseWriter, *http.Request) {})
	b := f.open(t, nil)
	good := ours[0]
	for i, change := range []func(*objstore.LifecycleRule){
		func(r *objstore.LifecycleRule) { r.Expire = true },
		func(r *objstore.LifecycleRule) { r.ID = "" },
		func(r *objstore.LifecycleRule) { r.Days = 0 },
		func(r *objstore.LifecycleRule) { r.Class = "STANDARD_IA" },
		func(r *objstore.LifecycleRule) { r.AbortUploads = false },
		func(r *objstore.LifecycleRule) { r.Enabled = false },
		func(r *objstore.LifecycleRule) { r.AbortUploads, r.Class = false, "NO_SUCH_CLASS" },
	} {
		bad := good
		change(&bad)
		want := objstore.ErrInvalid
		if bad.Class == "NO_SUCH_CLASS" {
			want = objstore.ErrUnsupported
		}
		name := fmt.Sprintf("rule %d", i)
		wantKind(t, name, b.ApplyLifecycle(t.Context(), []objstore.LifecycleRule{bad}), want)
		_, _, err := b.RenderLifecycle([]objstore.LifecycleRule{bad})
		wantKind(t, name, err, want)
	}
	wantKind(t, "two of one name", b.ApplyLifecycle(t.Context(), []objstore.LifecycleRule{good, good}), objstore.ErrInvalid)
	if f.methods() != "" {
		t.Errorf("requests %s", f.methods())
	}
}
