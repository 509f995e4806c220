package s3_test

import (
	"errors"
	"testing"

	"github.com/varve-io/varve/objstore"
)

func wantKind(t *testing.T, what string, err error, kind objstore.Kind) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%s: %v, want %q", what, err, kind)
	}
}
