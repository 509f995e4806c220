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
	q := u.Query()
	pool, err := authorities(q)
	if err != nil {
		return nil, err
	}
	return gcs.Open(ctx, gcs.Config{
		Bucket: u.Host, Prefix: strings.Trim(u.Path, "/"), Endpoint: q.Get("endpoint"), KMSKey: q.Get("kmsKey"), UserProject: q.Get("userProject"),
		Authorities: pool,
	})
}
