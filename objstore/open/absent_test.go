//go:build nos3 && noazure && nogcs

package open_test

import (
	"errors"
	"testing"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/open"
)

func TestProvidersAreAbsent(t *testing.T) {
	for _, u := range []string{"s3://bucket?region=x", "azblob://account/container", "gs://bucket"} {
		if _, err := open.Open(t.Context(), u); !errors.Is(err, objstore.ErrUnsupported) {
			t.Errorf("%s: %v", u, err)
		}
	}
}
