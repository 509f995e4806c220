package open

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/mem"
)

var memProvider = provider{
	scheme: "mem",
	open: func(_ context.Context, u *url.URL) (objstore.Bucket, error) {
		if u.Host == "" || strings.Trim(u.Path, "/") != "" {
			return nil, errors.New("a store in memory has a name and no path: mem://name")
		}
		return mem.Open(u.Host), nil
	},
}
