//go:build nos3

package open_test

import (
	"errors"
	"testing"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/open"
)

func TestS3IsAbsent(t *testing.T) {
	if _, err := open.Open(t.Context(), "s3://bucket?region=x"); !errors.Is(err, objstore.ErrUnsupported) {
		t.Errorf("%v", err)
	}
}
