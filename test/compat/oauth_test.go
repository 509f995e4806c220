package compat

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

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
	by := kit.NewIssuer(t)
	plain, sasl := port(t), port(t)
	b := kit.Start(t, filepath.Join(dir, "node"), append(taking(by), "--set", fmt.Sprintf("listeners=PLAINTEXT://127.0.0.1:%d,SASL_PLAINTEXT://127.0.0.1:%d", plain, sasl),
		"--set", "listener.name.sasl_plaintext.sasl.enabled.mechanisms=OAUTHBEARER",
		"--set", "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "--set", "super.users=User:ann")...)
	tool := func(tokens string, args ...string) (string, error) {
		properties := file("client.properties", "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=OAUTHBEARER\nsasl.oauthbearer.token.endpoint.url="+tokens+
			"\nsasl.login.callback.handler.class=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler\n"+
			"sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;\nrequest.timeout.ms=10000\ndefault.api.timeout.ms=15000\n")
		run := append([]string{"-D" + kit.Allowed(tokens)}, kit.JavaArgs(t, "org.apache.kafka.tools.TopicCommand")...)
		out, err := exec.CommandContext(t.Context(), "java", append(append(run, "--bootstrap-server", fmt.Sprintf("127.0.0.1:%d", sasl), "--command-config", properties), args...)...).CombinedOutput()
		return string(out), err
	}
	good := "file://" + file("good.jwt", by.Token("ann", ""))
	if out, err := tool(good, "--create", "--topic", "t"); err != nil || !strings.Contains(out, "Created topic t.") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := tool("file://"+file("forged.jwt", by.Token("ann", kit.TokenForged)), "--list"); err == nil || !strings.Contains(out, `{"status":"invalid_token"}`) {
		t.Errorf("with a forged token: %v: %s", err, out)
	}
	b.Stop()
}
