//go:build !nos3

package open

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/s3"
)

var s3Provider = provider{scheme: "s3", params: s3Params, open: openS3}

func openS3(ctx context.Context, u *url.URL) (objstore.Bucket, error) {
	q := u.Query()
	conf := s3.Config{
		Bucket: u.Host, Prefix: strings.Trim(u.Path, "/"),
		Region: q.Get("region"), Endpoint: q.Get("endpoint"),
		// Another store than Amazon's is mostly one host without a name per bucket.
		PathStyle: q.Get("endpoint") != "",
	}
	if v := q.Get("pathStyle"); v != "" {
		var err error
		if conf.PathStyle, err = strconv.ParseBool(v); err != nil {
			return nil, fmt.Errorf("pathStyle is true or false, not %q", v)
		}
	}
	conf.Encryption = s3.Encryption{Mode: q.Get("encryption"), KMSKey: q.Get("kmsKey")}
	if name := q.Get("customerKeyEnv"); name != "" {
		if conf.Encryption.CustomerKey = os.Getenv(name); conf.Encryption.CustomerKey == "" {
			return nil, fmt.Errorf("customerKeyEnv names the variable %s, which is not set", name)
		}
	}
	if v := q.Get("requesterPays"); v != "" {
		var err error
		if conf.RequesterPays, err = strconv.ParseBool(v); err != nil {
			return nil, fmt.Errorf("requesterPays is true or false, not %q", v)
		}
	}
	switch v := q.Get("checksum"); v {
	case "", "crc32c":
	case "none":
		conf.NoChecksum = true
	default:
		return nil, fmt.Errorf("checksum is crc32c or none, not %q", v)
	}
	var err error
	if conf.Authorities, err = authorities(q); err != nil {
		return nil, err
	}
	return s3.Open(ctx, conf)
}
