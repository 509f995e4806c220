//go:build nos3

package open

import (
	"context"
	"errors"
	"net/url"

	"github.com/varve-io/varve/objstore"
)

var s3Provider = provider{
	scheme: "s3",
	params: s3Params,
	open: func(context.Context, *url.URL) (objstore.Bucket, error) {
		return nil, objstore.NewError(objstore.ErrUnsupported, "open", "", errors.New("this program was built without S3 (build tag nos3)"))
	},
}
