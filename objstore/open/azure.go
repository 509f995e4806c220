//go:build !noazure

package open

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/azure"
)

var azureProvider = provider{scheme: "azblob", params: azureParams, open: openAzure}

func openAzure(_ context.Context, u *url.URL) (objstore.Bucket, error) {
	q := u.Query()
	name, prefix, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	conf := azure.Config{
		Account: u.Host, Container: name, Prefix: prefix, Endpoint: q.Get("endpoint"), EncryptionScope: q.Get("encryptionScope"),
		// An emulator is mostly one host without a name per account.
		PathStyle: q.Get("endpoint") != "",
	}
	if v := q.Get("pathStyle"); v != "" {
		var err error
		if conf.PathStyle, err = strconv.ParseBool(v); err != nil {
			return nil, fmt.Errorf("pathStyle is true or false, not %q", v)
		}
	}
	switch v := q.Get("checksum"); v {
	case "", "crc64":
	case "none":
		conf.NoChecksum = true
	default:
		return nil, fmt.Errorf("checksum is crc64 or none, not %q", v)
	}
	var err error
	if conf.Authorities, err = authorities(q); err != nil {
		return nil, err
	}
	return azure.Open(conf)
}
