package open

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/file"
)

var fileProvider = provider{
	scheme: "file",
	open: func(_ context.Context, u *url.URL) (objstore.Bucket, error) {
		switch {
		case u.Opaque != "" || (u.Host != "" && u.Host != "localhost"):
			return nil, fmt.Errorf("write the directory as an absolute path with three slashes: file:///dir (not file://%s)", u.Host+u.Opaque)
		case u.Path == "" || u.Path == "/":
			return nil, errors.New("the URL names no directory: file:///dir")
		}
		return file.Open(u.Path)
	},
}
