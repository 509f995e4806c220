package compat

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/varve-io/varve/test/kit"
)

// TestKafkaDelegationTokenTool has Kafka's own tool make, show, renew and end a token, and Kafka's
// client log in by it.
func TestKafkaDelegationTokenTool(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("VARVE_DELEGATION_TOKEN_SECRET_KEY", "the-key")
	plain, sasl := port(t), port(t)
	b := kit.Start(t, filepath.Join(dir, "node"), "--set", fmt.Sprintf("listeners=PLAINTEXT://127.0.0.1:%d,SASL_PLAINTEXT://127.0.0.1:%d", plain, sasl),
		"--set", "varve.users.file="+file("users", "ann:ann-secret\n"))
	tool := func(class, user, password, more string, args ...string) string {
		t.Helper()
		properties := file("client.properties", "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=SCRAM-SHA-256\nsasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required "+
			fmt.Sprintf("username=\"%s\" password=\"%s\" %s;\n", user, password, more))
		return b.Tool(class, append([]string{"--bootstrap-server", fmt.Sprintf("127.0.0.1:%d", sasl), "--command-config", properties}, args...)...)
	}
	tokens := func(args ...string) string {
		t.Helper()
		return tool("org.apache.kafka.tools.DelegationTokenCommand", "ann", "ann-secret", "", args...)
	}
	row := regexp.MustCompile(`(?m)^(\S{22})\s+(\S{88})\s+User:ann\s+User:ann\s+\[User:bob\]\s+20`)
	made := row.FindStringSubmatch(tokens("--create", "--max-life-time-period", "-1", "--renewer-principal", "User:bob"))
	described := tokens("--describe", "--owner-principal", "User:ann")
	shown := row.FindStringSubmatch(described)
	if made == nil || shown == nil || made[2] != shown[2] {
		t.Fatalf("made %q, shown %s", made, described)
	}
	id, secret := made[1], made[2]
	if out := tool("org.apache.kafka.tools.TopicCommand", id, secret, "tokenauth=true", "--create", "--topic", "t"); !strings.Contains(out, "Created topic t.") {
		t.Errorf("by the token: %s", out)
	}
	if out := tokens("--renew", "--renew-time-period", "60000", "--hmac", secret); !strings.Contains(out, "Completed renew operation") {
		t.Errorf("renewed: %s", out)
	}
	if out := tokens("--expire", "--expiry-time-period", "-1", "--hmac", secret); !strings.Contains(out, "Completed expire operation") {
		t.Errorf("ended: %s", out)
	}
	b.Stop()
}
