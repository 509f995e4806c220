package main

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/varve-io/varve/broker/brokertest"
)

// TestTokenFile: the command line logs in with a token of OAuth that lies in a file.
func TestTokenFile(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	said := b64([]byte(`{"alg":"RS256","kid":"k"}`)) + "." + b64(fmt.Appendf(nil, `{"sub":"ann","iat":%d,"exp":%d}`, time.Now().Unix(), time.Now().Add(time.Hour).Unix()))
	sum := sha256.Sum256([]byte(said))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	keys, token := filepath.Join(dir, "keys.json"), filepath.Join(dir, "token")
	for path, text := range map[string]string{
		keys: `{"keys":[{"kty":"RSA","kid":"k","n":"` + b64(key.N.Bytes()) + `","e":"AQAB"}]}`, token: said + "." + b64(signature) + "\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	yaml := fmt.Sprintf("sasl.enabled.mechanisms: OAUTHBEARER\norg.apache.kafka.sasl.oauthbearer.allowed.urls: file://%[1]s\nsasl.oauthbearer.jwks.endpoint.url: file://%[1]s\n", keys)
	n := brokertest.Node{Dir: dir, Set: []string{"listeners=SASL_PLAINTEXT://127.0.0.1:0", "connection.failed.authentication.delay.ms=1"}, YAML: yaml}.Start(t)
	b := n.Addr("SASL_PLAINTEXT")
	must(t, "", "topic", "list", "-b", b, "--token-file", token)
	if err := os.WriteFile(token, []byte(said+"."+b64([]byte("forged"))), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errOut := varve(t, "", "topic", "list", "-b", b, "--token-file", token); code != exitError || !strings.Contains(errOut, "invalid_token") {
		t.Errorf("a forged token: %d, %q", code, errOut)
	}
	if code, _, errOut := varve(t, "", "topic", "list", "-b", b, "--token-file", token, "--user", "ann"); code != exitUsage {
		t.Errorf("a token and a user: %d, %q", code, errOut)
	}
}
