//go:build noazure

package open

import (
	"context"
	"errors"
	"net/url"

	"github.com/varve-io/varve/objstore"
)

var azureProvider = provider{
	scheme: "azblob",
	params: azureParams,
	open: func(context.Context, *url.URL) (objstore.Bucket, error) {
		return nil, objstore.NewError(objstore.ErrUnsupported, "open", "", errors.New("this program was built without Azure (build tag noazure)"))
	},
}
