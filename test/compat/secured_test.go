package compat

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/varve-io/varve/test/kit"
)

// certificate writes a key and its certificate into one PEM file: signed by parent, or by itself.
func certificate(t *testing.T, name string, cn string, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(int64(len(name))), Subject: pkix.Name{CommonName: cn}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	if parent == nil {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		parent, parentKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return c, key
}

// port finds a free one on loopback.
func port(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// TestSecuredClients: kcat and Kafka's own tools over SASL_SSL with SCRAM and over SSL with a
// certificate, users from Kafka's ConfigCommand, and the same from our command line.
func TestSecuredClients(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca, key := certificate(t, filepath.Join(dir, "ca.key"), "authority", nil, nil)
	caFile := file("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})))
	certificate(t, filepath.Join(dir, "broker.pem"), "broker", ca, key)
	dave := filepath.Join(dir, "dave.pem")
	certificate(t, dave, "dave", ca, key)
	saslPort, sslPort, plainPort := port(t), port(t), port(t)
	b := kit.Start(t, filepath.Join(dir, "node"), "--set", "ssl.keystore.location="+dir+"/broker.pem", "--set", "ssl.truststore.location="+dir+"/ca.pem",
		"--set", "listener.name.ssl.ssl.client.auth=required", "--set", "varve.users.file="+file("users", "admin:admin-secret\n"), "--set",
		fmt.Sprintf("listeners=PLAINTEXT://127.0.0.1:%d,SASL_SSL://127.0.0.1:%d,SSL://127.0.0.1:%d", plainPort, saslPort, sslPort))
	sasl, ssl := fmt.Sprintf("127.0.0.1:%d", saslPort), fmt.Sprintf("127.0.0.1:%d", sslPort)

	login := func(user, password string) string {
		return fmt.Sprintf("security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\nssl.truststore.type=PEM\nssl.truststore.location=%s\n"+
			"sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username=\"%s\" password=\"%s\";\n", caFile, user, password)
	}
	admin := file("admin.properties", login("admin", "admin-secret"))
	tool := func(class string, args string) string {
		return b.Tool(class, append([]string{"--bootstrap-server", sasl, "--command-config", admin}, strings.Fields(args)...)...)
	}
	if out := tool("kafka.admin.ConfigCommand", "--alter --entity-type users --entity-name alice --add-config SCRAM-SHA-512=[iterations=8192,password=alice-secret]"); !strings.Contains(out, "Completed updating config for user alice.") {
		t.Errorf("ConfigCommand printed %q", out)
	}
	tool("org.apache.kafka.tools.TopicCommand", "--create --topic t --partitions 2")

	kcat := []string{"-X", "security.protocol=SASL_SSL", "-X", "sasl.mechanism=SCRAM-SHA-512", "-X", "sasl.username=alice", "-X", "sasl.password=alice-secret", "-X", "ssl.ca.location=" + caFile}
	kit.Run(t, strings.NewReader("by kcat\n"), "kcat", append([]string{"-b", sasl, "-P", "-t", "t", "-p", "0"}, kcat...)...)
	big := bytes.Repeat([]byte("0123456789abcdef\n"), 200_000)
	kit.Run(t, bytes.NewReader(big), "kcat", append([]string{"-b", sasl, "-P", "-t", "t", "-p", "1", "-z", "none"}, kcat...)...)
	if out := kit.Run(t, nil, "kcat", append([]string{"-b", sasl, "-C", "-e", "-q", "-t", "t", "-p", "1"}, kcat...)...); out != string(big) {
		t.Errorf("%d bytes came back of %d", len(out), len(big))
	}
	mtls := []string{"-X", "security.protocol=SSL", "-X", "ssl.ca.location=" + caFile, "-X", "ssl.certificate.location=" + dave, "-X", "ssl.key.location=" + dave}
	if out := kit.Run(t, nil, "kcat", append([]string{"-b", ssl, "-C", "-e", "-q", "-t", "t", "-p", "0"}, mtls...)...); out != "by kcat\n" {
		t.Errorf("over SSL came %q", out)
	}
	alice := file("alice.properties", login("alice", "alice-secret"))
	if out := b.Tool("org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", sasl, "--command-config", alice, "--topic", "t", "--partition", "0", "--from-beginning", "--max-messages", "1", "--timeout-ms", "20000"); !strings.Contains(out, "by kcat") {
		t.Errorf("the Java consumer printed %q", out)
	}
	scriptsOverTLS(t, sasl, admin)
	flags := []string{"-b", sasl, "--tls-ca", caFile, "--user", "admin", "--password-file", file("password", "admin-secret\n")}
	kit.Run(t, nil, kit.Binary(t), append([]string{"user", "set", "bob", "--new-password-file", file("bob", "bob-secret\n")}, flags...)...)
	if out := kit.Run(t, nil, kit.Binary(t), append([]string{"user", "list"}, flags...)...); !strings.Contains(out, "alice  SCRAM-SHA-512  8192") || !strings.Contains(out, "bob") {
		t.Errorf("users %s", out)
	}
	b.Stop()
}

// scriptsOverTLS runs our scripts of Kafka over SASL_SSL with SCRAM, as the file of properties says that Kafka's
// own take as well; topic t has a record in partition 0.
func scriptsOverTLS(t *testing.T, addr, config string) {
	t.Helper()
	for _, s := range []struct{ script, args, stdin, want string }{
		{"kafka-topics", "--create --topic scripts --partitions 1", "", "Created topic scripts."},
		{"kafka-topics", "--describe --topic t", "", "PartitionCount: 2"},
		{"kafka-configs", "--alter --entity-type topics --entity-name scripts --add-config retention.ms=3600000", "", "Completed updating config for topic scripts."},
		{"kafka-configs", "--describe --entity-type users", "", "SCRAM-SHA-512"},
		{"kafka-console-producer", "--topic scripts", "by a script\n", ""},
		{"kafka-console-consumer", "--topic scripts --from-beginning --max-messages 1 --timeout-ms 20000 --group scripts", "", "by a script\n"},
		{"kafka-consumer-groups", "--describe --group scripts", "", "scripts"},
		{"kafka-acls", "--list", "", "No Authorizer is configured"}, // which only who has logged in is told
	} {
		args := append([]string{s.script, "--bootstrap-server", addr, "--command-config", config}, strings.Fields(s.args)...)
		out, err := command{stdin: strings.NewReader(s.stdin)}.run(t.Context(), kit.Binary(t), args...)
		if err != nil && s.script != "kafka-acls" {
			t.Errorf("%s %s: %v\n%s", s.script, s.args, err, out)
		}
		if !strings.Contains(out, s.want) {
			t.Errorf("%s %s printed %q, want %q", s.script, s.args, out, s.want)
		}
	}
	wrong := strings.Replace(read(t, config), "admin-secret", "wrong", 1)
	if err := os.WriteFile(config+".wrong", []byte(wrong), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := command{}.run(t.Context(), kit.Binary(t), "kafka-topics", "--bootstrap-server", addr, "--command-config", config+".wrong", "--list")
	if err == nil || !strings.Contains(strings.ToLower(out), "authentication") {
		t.Errorf("with a wrong password: %v, %q", err, out)
	}
}
