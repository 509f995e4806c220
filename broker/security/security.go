// Package security says who is at the other end of a connection: TLS with certificates that
// are read again when they change, the names in clients' certificates, and logins by SASL.
//
// It owns certificates, mechanisms, the state of a login and the credentials that are made of
// a password. It owns no socket and no message: broker/server shakes hands by its tls.Config,
// broker/api carries its tokens. Users of SCRAM are in the image of broker/metadata, which is
// handed in as a function. Secrets are in no error and no log. TLS and Logins may be used
// from any goroutine, a Login from one at a time.
package security

import (
	"errors"
	"fmt"
	"strings"

	"github.com/varve-io/varve/broker/config"
)

// ErrNoName means that no rule of ssl.principal.mapping.rules fits the name in a certificate.
var ErrNoName = errors.New("no rule of ssl.principal.mapping.rules matches the name in the certificate")

// mapName makes a user's name of the name in a certificate: the first rule that matches all of
// it counts. Source: Kafka's SslPrincipalMapper.
func mapName(rules []config.MappingRule, name string) (string, error) {
	for _, r := range rules {
		if r.Pattern == nil {
			return name, nil
		}
		m := r.Pattern.FindStringSubmatchIndex(name)
		if m == nil {
			continue
		}
		return cased(string(r.Pattern.ExpandString(nil, r.Replacement, name, m)), r.Case), nil
	}
	return "", fmt.Errorf("%q: %w", name, ErrNoName)
}

func cased(s string, to byte) string {
	switch to {
	case 'L':
		return strings.ToLower(s)
	case 'U':
		return strings.ToUpper(s)
	}
	return s
}
