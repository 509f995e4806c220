//go:build !nos3 || !noazure || !nogcs

package open

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/varve-io/varve/objstore/file"
)

// maxCA, in bytes, is more than any file of certificates has.
const maxCA = 4 << 20

// authorities are the machine's and those of the file that the parameter ca names; nil without it.
func authorities(q url.Values) (*x509.CertPool, error) {
	name := q.Get("ca")
	switch {
	case name == "":
		return nil, nil
	case strings.HasPrefix(q.Get("endpoint"), "http://"):
		return nil, errors.New("ca names the authority of an endpoint over TLS, and this one is http://")
	}
	pem, err := file.Load(name, maxCA)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca: %s holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)", name)
	}
	return pool, nil
}
