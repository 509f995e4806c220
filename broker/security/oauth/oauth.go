// Package oauth judges the tokens of SASL/OAUTHBEARER (RFC 7628): JSON web tokens that somebody
// else signed (RFC 7515, 7519), by public keys from a file or a URL (RFC 7517).
//
// It owns keys and when they are fetched, and what of a token is checked. It owns no exchange:
// broker/security carries tokens and answers. No token, and no part of one but its key id, is in an
// error or a log. A Verifier may be used from any goroutine; Run is the one that fetches.
package oauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/vfs"
)

// maxTokenBytes bounds a token; longer ones are refused unread.
const maxTokenBytes = 32 << 10

// algorithms are those that only the owner of a private key can sign by. None, and those with a
// shared secret, which the public key would become, are not among them (RFC 8725, 3.1).
var algorithms = [...]string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"}

// errToken is a token that is refused; what wraps it says why.
var errToken = errors.New("the token is refused")

// Token is what one says.
type Token struct {
	User    string
	Expires time.Time
}

// Options are what a Verifier needs.
type Options struct {
	From   config.OAuth
	FS     vfs.FS
	Now    func() time.Time
	Logger *slog.Logger
	Failed func() // is called whenever keys could not be fetched
}

// Verifier judges the tokens of a listener.
type Verifier struct {
	o      Options
	keys   *keys
	parser *jwt.Parser
}

// New reads the keys, if they are in a file, which has to be good; a URL is first asked by Run.
func New(o Options) (*Verifier, error) {
	opts := []jwt.ParserOption{
		jwt.WithValidMethods(algorithms[:]), jwt.WithLeeway(time.Duration(o.From.ClockSkewSeconds) * time.Second),
		jwt.WithExpirationRequired(), jwt.WithTimeFunc(o.Now),
	}
	if o.From.Issuer != "" {
		opts = append(opts, jwt.WithIssuer(o.From.Issuer))
	}
	v := &Verifier{o: o, keys: newKeys(o), parser: jwt.NewParser(opts...)}
	if strings.HasPrefix(o.From.JWKSURL, "file:") {
		if err := v.keys.refresh(context.Background()); err != nil {
			return nil, fmt.Errorf("sasl.oauthbearer.jwks.endpoint.url: %w", err)
		}
	}
	return v, nil
}

// Run keeps the keys new until ctx ends.
func (v *Verifier) Run(ctx context.Context) { v.keys.run(ctx) }

// Verify judges a token: form, algorithm, signature, times, issuer, audience, scopes, and the name
// of its user. An error holds nothing of the token but its key id.
// Source: Kafka's BrokerJwtValidator, with RFC 8725.
func (v *Verifier) Verify(token string) (Token, error) {
	if len(token) > maxTokenBytes {
		return Token{}, fmt.Errorf("%w: it has %d bytes, more than %d", errToken, len(token), maxTokenBytes)
	}
	claims := jwt.MapClaims{}
	if _, err := v.parser.ParseWithClaims(token, claims, v.key); err != nil {
		return Token{}, fmt.Errorf("%w: %w", errToken, reason(err))
	}
	if at, err := claims.GetIssuedAt(); err != nil || at == nil {
		return Token{}, fmt.Errorf("%w: it does not say when it was issued (iat)", errToken)
	}
	if err := v.audience(claims); err != nil {
		return Token{}, err
	}
	if !scopes(claims[v.o.From.ScopeClaim]) {
		return Token{}, fmt.Errorf("%w: its scopes (%s) are empty or named twice", errToken, v.o.From.ScopeClaim)
	}
	user, _ := claims[v.o.From.SubClaim].(string)
	if user = strings.TrimSpace(user); user == "" {
		return Token{}, fmt.Errorf("%w: it names no user (%s)", errToken, v.o.From.SubClaim)
	}
	expires, err := claims.GetExpirationTime()
	if err != nil || expires == nil {
		return Token{}, fmt.Errorf("%w: it does not say when it expires (exp)", errToken)
	}
	return Token{User: user, Expires: expires.Time}, nil
}

// reason is why a token was refused, in words that are ours: those of the parser hold parts of it.
func reason(err error) error {
	for _, known := range []error{
		errKey, jwt.ErrTokenExpired, jwt.ErrTokenNotValidYet, jwt.ErrTokenInvalidIssuer, jwt.ErrTokenRequiredClaimMissing,
		jwt.ErrTokenInvalidClaims, jwt.ErrTokenSignatureInvalid, jwt.ErrTokenMalformed,
	} {
		if errors.Is(err, known) {
			if k := (*keyError)(nil); errors.As(err, &k) {
				return k
			}
			return known
		}
	}
	return jwt.ErrTokenUnverifiable
}

// key finds what a token is signed by.
func (v *Verifier) key(t *jwt.Token) (any, error) {
	if _, there := t.Header["crit"]; there {
		return nil, &keyError{"it asks for extensions (crit) that are not known"}
	}
	id, _ := t.Header["kid"].(string)
	return v.keys.find(id, t.Method.Alg())
}

// audience holds the claim aud against those that are expected. A token that is for others only
// is refused (RFC 7519, 4.1.3), and so is one for anybody where none are expected.
func (v *Verifier) audience(claims jwt.MapClaims) error {
	of, err := claims.GetAudience()
	if err != nil {
		return fmt.Errorf("%w: its audience (aud) is no text", errToken)
	}
	if len(of) == 0 && len(v.o.From.Audience) == 0 {
		return nil
	}
	for _, want := range v.o.From.Audience {
		for _, have := range of {
			if have == want {
				return nil
			}
		}
	}
	return fmt.Errorf("%w: it is not for an audience of sasl.oauthbearer.expected.audience", errToken)
}

// scopes says whether a claim of scopes is none, a text, or a list of different ones.
func scopes(claim any) bool {
	list, _ := claim.([]any)
	if one, ok := claim.(string); ok {
		list = []any{one}
	}
	seen := make(map[string]bool, len(list))
	for _, one := range list {
		s, ok := one.(string)
		if s = strings.TrimSpace(s); !ok || s == "" || seen[s] {
			return false
		}
		seen[s] = true
	}
	return true
}
