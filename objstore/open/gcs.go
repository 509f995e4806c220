//go:build !nogcs

package open

import (
	"context"
	"net/url"
	"strings"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/gcs"
)

var gcsProvider = provider{scheme: "gs", params: gcsParams, open: openGCS}

func openGCS(ctx context.Context, u *url.URL) (objstore.Bucket, error) {
	return gcs.Open(ctx, gcs.Config{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/"), Endpoint: u.Query().Get("endpoint")})
}
