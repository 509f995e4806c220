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

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

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

// TestDelegationTokens: the verbs of tokens, a login by one, and that its secret is seen at its creation only.
func TestDelegationTokens(t *testing.T) {
	dir := t.TempDir()
	users, password, kept := filepath.Join(dir, "users"), filepath.Join(dir, "password"), filepath.Join(dir, "kept.secret")
	for path, text := range map[string]string{users: "ann:ann-secret\n", password: "ann-secret\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n := brokertest.Node{Dir: dir, Set: []string{"listeners=PLAINTEXT://127.0.0.1:0,SASL_PLAINTEXT://127.0.0.1:0",
		"authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users=User:ANONYMOUS"},
		YAML: "delegation.token.secret.key: a-key\nvarve.users.file: " + users + "\n"}.Start(t)
	b := n.Addr("SASL_PLAINTEXT")
	login := []string{"-b", b, "--user", "ann", "--password-file", password}
	as := func(args ...string) []string { return append(append([]string{"token"}, args...), login...) }

	made := decode[tokenRow](t, as("create", "--renewer", "User:ops,User:bob", "--lifetime", "48h")...)
	if made.Owner != "User:ann" || made.Requester != "User:ann" || strings.Join(made.Renewers, " ") != "User:ops User:bob" ||
		made.EndsMs-made.IssuedMs != 48*3600_000 || made.ExpiresMs-made.IssuedMs != 24*3600_000 || made.Secret == "" {
		t.Errorf("made %+v", made)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(b), kgo.SASL(scram.Auth{User: made.ID, Pass: made.Secret, IsToken: true}.AsSha512Mechanism()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.Ping(t.Context()); err != nil {
		t.Errorf("a login by the token: %v", err)
	}
	if got := must(t, "", as("create", "--secret-file", kept, "-o", "json")...); strings.Contains(got, "secret") {
		t.Errorf("it shows what it has written: %s", got)
	}
	secret, err := os.ReadFile(kept)
	if err != nil || len(secret) != 89 {
		t.Errorf("kept %d bytes, %v", len(secret), err)
	}
	if info, err := os.Stat(kept); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info.Mode(), err)
	}
	for _, form := range []string{"table", "wide", "json", "yaml", "name"} {
		got := must(t, "", as("list", "User:ann", "-o", form)...)
		if strings.Contains(got, "secret") || strings.Contains(got, made.Secret) || !strings.Contains(got, made.ID) {
			t.Errorf("list -o %s:\n%s", form, got)
		}
	}
	if got := decode[tokenRow](t, as("renew", made.ID, "--for", "1h")...); got.ExpiresMs >= made.ExpiresMs || got.ID != made.ID || got.Secret != "" {
		t.Errorf("renewed for an hour, which is less than it had: %+v", got)
	}
	must(t, "", as("expire", "--secret-file", kept, "--dry-run")...)
	must(t, "", as("expire", made.ID, "--in", "30m", "--yes")...)
	if rows := decode[[]tokenRow](t, as("list")...); len(rows) != 2 {
		t.Errorf("tokens %+v", rows)
	}
	must(t, "", as("expire", made.ID, "--yes")...)
	must(t, "", as("expire", "--secret-file", kept, "--yes")...)
	if rows := decode[[]tokenRow](t, as("list")...); len(rows) != 0 {
		t.Errorf("tokens that are left %+v", rows)
	}
	unwritten := filepath.Join(dir, "unwritten.secret")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{as("expire", made.ID), exitUsage, "--yes"},
		{as("expire", "--yes"), exitUsage, "--secret-file"},
		{as("renew", made.ID, "--secret-file", kept), exitUsage, "--secret-file"},
		{as("renew", made.ID), exitError, "varve token list"},
		{as("create", "--secret-file", kept), exitError, "exists"},
		{as("create", "--renewer", "bob"), exitUsage, "User:NAME"},
		{as("create", "-o", "name"), exitUsage, "--secret-file"},
		{as("create", "--owner", "User:bob", "--secret-file", unwritten), exitError, "create-tokens"},
		{[]string{"token", "list", "-b", n.KafkaAddr()}, exitError, "--user"},
	} {
		if code, _, errOut := varve(t, "", c.args...); code != c.code || !strings.Contains(errOut, c.want) {
			t.Errorf("%v: %d, %q", c.args, code, errOut)
		}
	}
	if _, err := os.Stat(unwritten); !os.IsNotExist(err) {
		t.Errorf("a file without a secret is left: %v", err)
	}
}
