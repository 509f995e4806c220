package e2e

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"

	"github.com/varve-io/varve/broker/brokertest"
)

// TestTokensOfOAuth: clients log in by tokens whose keys are in a file and at a URL; one that is
// forged or expired gets nowhere.
func TestTokensOfOAuth(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	keys := []byte(fmt.Sprintf(`{"keys":[{"kty":"RSA","kid":"k","n":"%s","e":"AQAB"}]}`, base64.RawURLEncoding.EncodeToString(key.N.Bytes())))
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(keys) }))
	defer issuer.Close()
	dir := t.TempDir()
	file := "file://" + write(t, filepath.Join(dir, "keys.json"), keys)
	yaml := fmt.Sprintf(`
sasl.enabled.mechanisms: OAUTHBEARER
org.apache.kafka.sasl.oauthbearer.allowed.urls: %[1]s,%[2]s/keys
sasl.oauthbearer.jwks.endpoint.url: %[1]s
listener.name.web.oauthbearer.sasl.oauthbearer.jwks.endpoint.url: %[2]s/keys
sasl.oauthbearer.expected.issuer: me
listener.security.protocol.map: SASL_PLAINTEXT:SASL_PLAINTEXT,WEB:SASL_PLAINTEXT
connection.failed.authentication.delay.ms: 20
`, file, issuer.URL)
	n := brokertest.Node{Dir: dir, Set: []string{"listeners=SASL_PLAINTEXT://127.0.0.1:0,WEB://127.0.0.1:0"}, YAML: yaml}.Start(t)
	token := func(by *rsa.PrivateKey, life time.Duration) sasl.Mechanism {
		now := time.Now()
		s := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{"sub": "ann", "iss": "me", "iat": now.Unix(), "exp": now.Add(life).Unix()})
		s.Header["kid"] = "k"
		text, err := s.SignedString(by)
		if err != nil {
			t.Fatal(err)
		}
		return oauth.Auth{Token: text}.AsMechanism()
	}
	for _, listener := range []string{"SASL_PLAINTEXT", "WEB"} {
		if _, err := ask(t, n.Addr(listener), nil, token(key, time.Hour)); err != nil && listener == "SASL_PLAINTEXT" {
			t.Errorf("%s: %v", listener, err)
		} else if err != nil { // the keys may be on their way still
			if _, err := ask(t, n.Addr(listener), nil, token(key, time.Hour)); err != nil {
				t.Errorf("%s: %v", listener, err)
			}
		}
		other, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		for what, m := range map[string]sasl.Mechanism{"forged": token(other, time.Hour), "expired": token(key, -time.Hour)} {
			if _, err := ask(t, n.Addr(listener), nil, m); err == nil {
				t.Errorf("%s: a token that is %s is good", listener, what)
			}
		}
	}
}
