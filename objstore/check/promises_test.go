package check_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/check"
	"github.com/varve-io/varve/objstore/mem"
)

func TestPromises(t *testing.T) {
	denied := objstore.NewError(objstore.ErrAccessDenied, "put", "k", nil)
	for _, tt := range []struct {
		name   string
		with   liar
		want   error
		advice string
	}{
		{"sound", liar{}, nil, ""},
		{"creates twice", liar{put: func(o *objstore.PutOpts) { o.IfAbsent = false }}, check.ErrBroken, "another store"},
		{"ignores versions", liar{put: func(o *objstore.PutOpts) { o.IfVersion = "" }}, check.ErrBroken, "another store"},
		{"out of reach", liar{denied: denied}, objstore.ErrAccessDenied, "rights"},
	} {
		b := mem.New()
		tt.with.Bucket = b
		err := check.Promises(t.Context(), tt.with, "start")
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if got := check.Advice(err); err != nil && !strings.Contains(got, tt.advice) {
			t.Errorf("%s: advice %q", tt.name, got)
		}
		if page, err := b.List(t.Context(), "", "", 0); err != nil || len(page.Objects) != 0 {
			t.Errorf("%s left %v, %v", tt.name, page.Objects, err)
		}
	}
}
