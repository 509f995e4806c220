//go:build nogcs

package open

import (
	"context"
	"errors"
	"net/url"

	"github.com/varve-io/varve/objstore"
)

var gcsProvider = provider{
	scheme: "gs",
	params: gcsParams,
	open: func(context.Context, *url.URL) (objstore.Bucket, error) {
		return nil, objstore.NewError(objstore.ErrUnsupported, "open", "", errors.New("this program was built without Google Cloud Storage (build tag nogcs)"))
	},
}
