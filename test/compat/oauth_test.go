package compat

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/varve-io/varve/test/kit"
)

// TestOAuthClients: Kafka's own client logs in by a token of OAUTHBEARER and is who it
// says; with one that somebody else signed it gets nowhere, and tells why.
func TestOAuthClients(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	token := func(by *rsa.PrivateKey) string {
		now := time.Now().Unix()
		said := b64([]byte(`{"alg":"RS256","kid":"k"}`)) + "." + b64([]byte(fmt.Sprintf(`{"sub":"ann","scope":"kafka","aud":"varve","iat":%d,"exp":%d}`, now, now+600)))
		sum := sha256.Sum256([]byte(said))
		signature, err := rsa.SignPKCS1v15(rand.Reader, by, crypto.SHA256, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return said + "." + b64(signature)
	}
	jwks := "file://" + file("keys.json", fmt.Sprintf(`{"keys":[{"kty":"RSA","use":"sig","alg":"RS256","kid":"k","n":"%s","e":"AQAB"}]}`, b64(key.N.Bytes())))
	plain, sasl := port(t), port(t)
	b := kit.Start(t, filepath.Join(dir, "node"), "--set", fmt.Sprintf("listeners=PLAINTEXT://127.0.0.1:%d,SASL_PLAINTEXT://127.0.0.1:%d", plain, sasl),
		"--set", "listener.name.sasl_plaintext.sasl.enabled.mechanisms=OAUTHBEARER", "--set", "sasl.oauthbearer.jwks.endpoint.url="+jwks,
		"--set", "org.apache.kafka.sasl.oauthbearer.allowed.urls="+jwks, "--set", "sasl.oauthbearer.expected.audience=varve",
		"--set", "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "--set", "super.users=User:ann")
	tool := func(tokens string, args ...string) (string, error) {
		properties := file("client.properties", "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=OAUTHBEARER\nsasl.oauthbearer.token.endpoint.url="+tokens+
			"\nsasl.login.callback.handler.class=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler\n"+
			"sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;\nrequest.timeout.ms=10000\ndefault.api.timeout.ms=15000\n")
		run := append([]string{"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=" + tokens}, kit.JavaArgs(t, "org.apache.kafka.tools.TopicCommand")...)
		out, err := exec.CommandContext(t.Context(), "java", append(append(run, "--bootstrap-server", fmt.Sprintf("127.0.0.1:%d", sasl), "--command-config", properties), args...)...).CombinedOutput()
		return string(out), err
	}
	good := "file://" + file("good.jwt", token(key))
	if out, err := tool(good, "--create", "--topic", "t"); err != nil || !strings.Contains(out, "Created topic t.") {
		t.Errorf("%v: %s", err, out)
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := tool("file://"+file("forged.jwt", token(other)), "--list"); err == nil || !strings.Contains(out, `{"status":"invalid_token"}`) {
		t.Errorf("with a forged token: %v: %s", err, out)
	}
	b.Stop()
}
