package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varve-io/varve/broker/brokertest"
)

func TestDebugBundleHasNoSecrets(t *testing.T) {
	const canary = "canary-of-a-secret"
	dir := t.TempDir()
	users := filepath.Join(dir, "users")
	if err := os.WriteFile(users, []byte("ops:"+canary+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	node := brokertest.Node{YAML: "listeners: \"PLAINTEXT://127.0.0.1:0,SASL://127.0.0.1:0\"\nlistener.security.protocol.map: \"PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT\"\nsasl.enabled.mechanisms: PLAIN\n" +
		"listener.name.sasl.plain.sasl.jaas.config: 'org.apache.kafka.common.security.plain.PlainLoginModule required user_ann=\"" + canary + "\";'\n",
		Set: []string{"listeners=PLAINTEXT://127.0.0.1:0,SASL://127.0.0.1:0", "varve.admin.users.file=" + users}}.Start(t)
	log, file := filepath.Join(dir, "log"), filepath.Join(dir, "b.tar.gz")
	for name, text := range map[string]string{log: "all is well\nthe password is " + canary + "\n", filepath.Join(dir, "password"): canary + "\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"debug", "bundle", "--file", file, "--admin", node.AdminAddr(), "--admin-user", "ops", "--admin-password-file", filepath.Join(dir, "password"), "--log", log, "-b", node.KafkaAddr()}
	if got := must(t, "", args...); got != file+"\n" {
		t.Errorf("printed %q", got)
	}
	found := map[string]string{}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		found[strings.TrimPrefix(h.Name, "varve-bundle/")] = string(b)
	}
	for name, want := range map[string]string{"metrics.txt": "# HELP", "goroutines.txt": "goroutine ", "metadata.json": "Brokers", "settings.json": "log.retention.ms", "lag.json": "[]", "health.json": "controller", "log.txt": "all is well", "version.json": "version", "notes.txt": ""} {
		if text, ok := found[name]; !ok || !strings.Contains(text, want) {
			t.Errorf("%s: %.300q", name, text)
		}
	}
	for name, text := range found {
		if strings.Contains(text, canary) {
			t.Errorf("%s has the secret", name)
		}
	}
	if code, _, errOut := varve(t, "", args...); code != exitError || !strings.Contains(errOut, "exists") {
		t.Errorf("over an archive that is there: %d, %q", code, errOut)
	}
}
