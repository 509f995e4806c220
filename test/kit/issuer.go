package compat

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

// What is wrong with a token of an issuer.
const (
	forged      = "forged"   // signed by another key, under the same name
	expired     = "expired"  // ten minutes ago
	misdirected = "audience" // for somebody else
)

// issuer signs tokens of OAUTHBEARER, and hands them out over HTTP for a client's id and secret: the
// id becomes the user, and the secret says what is wrong with the token.
type issuer struct {
	t          *testing.T
	key, other *rsa.PrivateKey
	jwks       string // the URL of its keys, a file's
	url        string // where clients get tokens
}

const audience = "varve"

func newIssuer(t *testing.T, dir string) *issuer {
	t.Helper()
	i := &issuer{t: t}
	for _, key := range []**rsa.PrivateKey{&i.key, &i.other} {
		made, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		*key = made
	}
	file := filepath.Join(dir, "keys.json")
	text := fmt.Sprintf(`{"keys":[{"kty":"RSA","use":"sig","alg":"RS256","kid":"k","n":"%s","e":"AQAB"}]}`, base64.RawURLEncoding.EncodeToString(i.key.N.Bytes()))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	i.jwks = "file://" + file
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, secret, ok := r.BasicAuth()
		if !ok || r.FormValue("grant_type") != "client_credentials" {
			http.Error(w, "no client id and secret", http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": i.token(id, secret), "token_type": "Bearer", "expires_in": 600})
	}))
	t.Cleanup(endpoint.Close)
	i.url = endpoint.URL + "/token"
	return i
}

// settings of a broker that takes its tokens.
func (i *issuer) settings() []string {
	return []string{"--set", "sasl.oauthbearer.jwks.endpoint.url=" + i.jwks, "--set", "org.apache.kafka.sasl.oauthbearer.allowed.urls=" + i.jwks,
		"--set", "sasl.oauthbearer.expected.audience=" + audience}
}

// token is one of a user. fault is one of those above; any other text makes it a good one.
func (i *issuer) token(user, fault string) string {
	key, to, from := i.key, audience, time.Now()
	switch fault {
	case forged:
		key = i.other
	case expired:
		from = from.Add(-20 * time.Minute)
	case misdirected:
		to = "somebody else"
	}
	b64 := base64.RawURLEncoding.EncodeToString
	said := b64([]byte(`{"alg":"RS256","kid":"k"}`)) + "." + b64(fmt.Appendf(nil, `{"sub":%q,"scope":"kafka","aud":%q,"iat":%d,"exp":%d}`, user, to, from.Unix(), from.Unix()+600))
	sum := sha256.Sum256([]byte(said))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		i.t.Error(err)
	}
	return said + "." + b64(signature)
}
