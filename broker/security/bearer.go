package security

import (
	"errors"
	"fmt"
	"strings"

	"github.com/varve-io/varve/broker/security/oauth"
)

// bearerMechanism is a login by a token that somebody else signed (RFC 7628).
const bearerMechanism = "OAUTHBEARER"

// BearerRefusal is what a client is told of a token that is no good, whatever is wrong with it
// (RFC 7628, 3.2.2; RFC 6750, 3.1).
const BearerRefusal = `{"status":"invalid_token"}`

// errGS2 is a first message that is not of RFC 7628's form.
var errGS2 = errors.New("the message is malformed")

// bearerExchange is the server's side of one login by OAUTHBEARER.
type bearerExchange struct {
	by      *oauth.Verifier
	is      identity
	refused error // why the client has been told that its token is no good
}

func (x *bearerExchange) who() identity { return x.is }

// step takes the token. One that is refused is answered with why, and the client says with one
// more message that it has seen it; whatever that is, it ends the login.
func (x *bearerExchange) step(message []byte) (reply []byte, done bool, err error) {
	if x.refused != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrCredentials, ErrTold)
	}
	as, token, err := parseBearer(message)
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	t, err := x.by.Verify(token)
	if err != nil {
		x.refused = fmt.Errorf("%w: %w", ErrCredentials, err)
		return []byte(BearerRefusal), false, nil
	}
	if as != "" && as != t.User {
		return nil, false, fmt.Errorf("%w: to act as somebody else than the token's user is not allowed", ErrCredentials)
	}
	x.is = identity{user: t.User, expires: t.Expires}
	return []byte{}, true, nil
}

// parseBearer takes a client's first message apart: n,[a=ID],\x01 and pairs NAME=VALUE\x01, one of which
// is auth=Bearer TOKEN, and \x01. Errors hold nothing of it.
// Source: RFC 7628, 3.1, with the limits of Kafka's OAuthBearerClientInitialResponse.
func parseBearer(message []byte) (as, token string, err error) {
	head, rest, ok := strings.Cut(string(message), ",\x01")
	flag, as, both := strings.Cut(head, ",")
	if !ok || !both || flag != "n" || !strings.HasPrefix(as, "a=") && as != "" || as == "a=" || !strings.HasSuffix(rest, "\x01") {
		return "", "", errGS2
	}
	as = strings.NewReplacer("=2C", ",", "=3D", "=").Replace(strings.TrimPrefix(as, "a="))
	for rest = strings.TrimSuffix(rest, "\x01"); rest != ""; {
		var pair string
		if pair, rest, ok = strings.Cut(rest, "\x01"); !ok {
			return "", "", errGS2
		}
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" || value == "" || name == "auth" && token != "" {
			return "", "", errGS2
		}
		if name != "auth" {
			if !isExtension(name, value) {
				return "", "", errGS2
			}
			continue // which means nothing here
		}
		scheme, credentials, _ := strings.Cut(value, " ")
		if token = strings.TrimLeft(credentials, " "); !strings.EqualFold(scheme, "bearer") || token == "" {
			return "", "", errGS2
		}
	}
	if token == "" {
		return "", "", errGS2
	}
	return as, token, nil
}

// isExtension says whether a pair beside auth has RFC 7628's form: a name of letters, and a value that can be printed.
func isExtension(name, value string) bool {
	for _, c := range []byte(name) {
		if c|0x20 < 'a' || c|0x20 > 'z' {
			return false
		}
	}
	for _, c := range []byte(value) {
		if (c < ' ' || c > '~') && c != '\t' && c != '\r' && c != '\n' {
			return false
		}
	}
	return true
}
