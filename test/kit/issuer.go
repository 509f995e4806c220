package kit

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Issuer signs tokens of OAUTHBEARER, and hands them out over HTTP for a client's id and secret: the
// id becomes the user, and the secret says what is wrong with the token. It may be used from any goroutine.
type Issuer struct {
	JWKS string // the URL of its keys, a file's
	URL  string // where clients get tokens

	t          *testing.T
	key, other *rsa.PrivateKey
}

// What is wrong with a token of an issuer.
const (
	TokenForged      = "forged"   // signed by another key, under the same name
	TokenExpired     = "expired"  // ten minutes ago
	TokenMisdirected = "audience" // for somebody else
)

// TokenAudience is for whom an issuer's tokens are.
const TokenAudience = "varve"

// NewIssuer is one for the length of the test.
func NewIssuer(t *testing.T) *Issuer {
	t.Helper()
	i := &Issuer{t: t}
	for _, key := range []**rsa.PrivateKey{&i.key, &i.other} {
		made, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		*key = made
	}
	file := filepath.Join(t.TempDir(), "keys.json")
	text := fmt.Sprintf(`{"keys":[{"kty":"RSA","use":"sig","alg":"RS256","kid":"k","n":"%s","e":"AQAB"}]}`, base64.RawURLEncoding.EncodeToString(i.key.N.Bytes()))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	i.JWKS = "file://" + file
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, secret, ok := r.BasicAuth()
		if !ok || r.FormValue("grant_type") != "client_credentials" {
			http.Error(w, "no client id and secret", http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": i.Token(id, secret), "token_type": "Bearer", "expires_in": 600})
	}))
	t.Cleanup(endpoint.Close)
	i.URL = endpoint.URL + "/token"
	return i
}

// Settings are those of a broker, Varve or Apache Kafka, that takes its tokens.
func (i *Issuer) Settings() []string {
	return []string{"sasl.oauthbearer.jwks.endpoint.url=" + i.JWKS, "sasl.oauthbearer.expected.audience=" + TokenAudience}
}

// Allowed is the property that lets a broker or a client go to a URL of an issuer: of the JVM, or of Varve's settings.
func Allowed(url string) string { return "org.apache.kafka.sasl.oauthbearer.allowed.urls=" + url }

// Token is one of a user. fault is one of those above; any other text makes it a good one.
func (i *Issuer) Token(user, fault string) string {
	to, from := TokenAudience, time.Now()
	switch fault {
	case TokenExpired:
		from = from.Add(-20 * time.Minute)
	case TokenMisdirected:
		to = "somebody else"
	}
	claims := fmt.Sprintf(`{"sub":%q,"scope":"kafka","aud":%q,"iat":%d,"exp":%d}`, user, to, from.Unix(), from.Unix()+600)
	return i.Sign(`{"alg":"RS256","kid":"k"}`, claims, fault == TokenForged)
}

// Sign makes a token of any header and claims, by RS256 whatever the header says: by the issuer's key,
// or by another one.
func (i *Issuer) Sign(header, claims string, forged bool) string {
	key := i.key
	if forged {
		key = i.other
	}
	b64 := base64.RawURLEncoding.EncodeToString
	said := b64([]byte(header)) + "." + b64([]byte(claims))
	sum := sha256.Sum256([]byte(said))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		i.t.Error(err)
	}
	return said + "." + b64(signature)
}
