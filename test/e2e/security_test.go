package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/varve-io/varve/broker/brokertest"
)

// authority signs the certificates of a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{t: t, key: key}
	a.cert = &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// sign makes a key and a certificate, both in PEM.
func (a *authority) sign(serial int64, name pkix.Name) []byte {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: name, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
}

func write(t *testing.T, name string, b []byte) string {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// secured is a node with one listener of each kind but PLAINTEXT.
func secured(t *testing.T, a *authority, dir, more string) brokertest.Node {
	t.Helper()
	write(t, filepath.Join(dir, "broker.pem"), a.sign(2, pkix.Name{CommonName: "broker"}))
	write(t, filepath.Join(dir, "ca.pem"), a.pem())
	write(t, filepath.Join(dir, "users"), []byte("# the first ones\nalice:alice-secret\n"))
	return brokertest.Node{Dir: dir, Set: []string{"listeners=SASL_SSL://127.0.0.1:0,SSL://127.0.0.1:0,SASL_PLAINTEXT://127.0.0.1:0"}, YAML: fmt.Sprintf(`
ssl.keystore.location: %[1]s/broker.pem
ssl.truststore.location: %[1]s/ca.pem
listener.name.ssl.ssl.client.auth: required
listener.name.sasl_plaintext.sasl.enabled.mechanisms: PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config: org.apache.kafka.common.security.plain.PlainLoginModule required user_bob="bob-secret";
varve.users.file: %[1]s/users
connection.failed.authentication.delay.ms: 20
%[2]s`, dir, more)}
}

// ask is a client of a listener; its first question is answered or refused.
func ask(t *testing.T, addr string, c *tls.Config, m sasl.Mechanism) (*kadm.Client, error) {
	t.Helper()
	opts := []kgo.Opt{kgo.SeedBrokers(addr), kgo.RetryTimeout(time.Second), kgo.RequestRetries(0), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(kgo.NoCompression())}
	if c != nil {
		opts = append(opts, kgo.DialTLSConfig(c))
	}
	if m != nil {
		opts = append(opts, kgo.SASL(m))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	_, err = kmsg.NewPtrMetadataRequest().RequestWith(t.Context(), cl)
	return kadm.NewClient(cl), err
}

// TestSecuredListeners: records go in and out over SASL_SSL, users come and go, and whoever is not
// known gets nowhere.
func TestSecuredListeners(t *testing.T) {
	a, dir := newAuthority(t), t.TempDir()
	n := secured(t, a, dir, "").Start(t)
	trust := &tls.Config{RootCAs: a.pool()}
	addr := n.Addr("SASL_SSL")
	adm, err := ask(t, addr, trust, scram.Auth{User: "alice", Pass: "alice-secret"}.AsSha512Mechanism())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := adm.CreateTopic(t.Context(), 1, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DialTLSConfig(trust), kgo.SASL(scram.Auth{User: "alice", Pass: "alice-secret"}.AsSha256Mechanism()),
		kgo.ConsumeTopics(topic), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.FetchMaxBytes(32<<20), kgo.FetchMaxPartitionBytes(32<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	const records = 400 // of 50 KB: fetches of many megabytes, which leave record by record of TLS
	payload := make([]byte, 50_000)
	_, _ = rand.Read(payload)
	for range records {
		cl.Produce(t.Context(), &kgo.Record{Value: payload}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	for got := 0; got < records; {
		fetches := cl.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !bytes.Equal(r.Value, payload) {
				t.Fatalf("record %d came back changed", r.Offset)
			}
			got++
		})
	}
	if res, err := adm.AlterUserSCRAMs(t.Context(), nil, []kadm.UpsertSCRAM{{User: "carol", Mechanism: kadm.ScramSha512, Iterations: 4096, Password: "carol-secret"}}); err != nil || res.Error() != nil {
		t.Fatal(err, res.Error())
	}
	for name, try := range map[string]struct {
		listener string
		tls      *tls.Config
		m        sasl.Mechanism
		want     error
	}{
		"a new user":                  {"SASL_SSL", trust, scram.Auth{User: "carol", Pass: "carol-secret"}.AsSha512Mechanism(), nil},
		"wrong password":              {"SASL_SSL", trust, scram.Auth{User: "alice", Pass: "carol-secret"}.AsSha512Mechanism(), kerr.SaslAuthenticationFailed},
		"unknown user":                {"SASL_SSL", trust, scram.Auth{User: "mallory", Pass: "x"}.AsSha512Mechanism(), kerr.SaslAuthenticationFailed},
		"a mechanism of another door": {"SASL_SSL", trust, plain.Auth{User: "bob", Pass: "bob-secret"}.AsMechanism(), kerr.UnsupportedSaslMechanism},
		"PLAIN":                       {"SASL_PLAINTEXT", nil, plain.Auth{User: "bob", Pass: "bob-secret"}.AsMechanism(), nil},
		"PLAIN, wrong password":       {"SASL_PLAINTEXT", nil, plain.Auth{User: "bob", Pass: "x"}.AsMechanism(), kerr.SaslAuthenticationFailed},
	} {
		if _, err := ask(t, n.Addr(try.listener), try.tls, try.m); !errors.Is(err, try.want) {
			t.Errorf("%s: %v, want %v", name, err, try.want)
		}
	}
	if _, err := ask(t, addr, trust, nil); err == nil {
		t.Error("a request before the login is answered")
	}
	if _, err := ask(t, n.Addr("SSL"), trust, nil); err == nil {
		t.Error("a client without a certificate is let in")
	}
	both := a.sign(3, pkix.Name{CommonName: "dave"})
	pair, err := tls.X509KeyPair(both, both)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ask(t, n.Addr("SSL"), &tls.Config{RootCAs: a.pool(), Certificates: []tls.Certificate{pair}}, nil); err != nil {
		t.Errorf("a client with a certificate: %v", err)
	}
}

// TestChangedCertificates: the next handshake has the new certificate, connections stay.
func TestChangedCertificates(t *testing.T) {
	a, dir := newAuthority(t), t.TempDir()
	node := secured(t, a, dir, "")
	start := time.Now()
	var later time.Duration
	node.Now = func() time.Time { return start.Add(later) }
	n := node.Start(t)
	serial := func() int64 {
		c, err := tls.Dial("tcp", n.Addr("SASL_SSL"), &tls.Config{RootCAs: a.pool()})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	adm, err := ask(t, n.Addr("SASL_SSL"), &tls.Config{RootCAs: a.pool()}, scram.Auth{User: "alice", Pass: "alice-secret"}.AsSha512Mechanism())
	if err != nil || serial() != 2 {
		t.Fatal(err, serial())
	}
	write(t, filepath.Join(dir, "broker.pem"), append(a.sign(77, pkix.Name{CommonName: "broker"}), '\n'))
	later = time.Minute
	if got := serial(); got != 77 {
		t.Errorf("serial %d after the change", got)
	}
	write(t, filepath.Join(dir, "broker.pem"), []byte("half a fi"))
	later = 2 * time.Minute
	if got := serial(); got != 77 {
		t.Errorf("serial %d after a broken file", got)
	}
	if _, err := adm.ListTopics(t.Context()); err != nil {
		t.Errorf("the connection of before: %v", err)
	}
}

// TestLoginsAreRenewed: with connections.max.reauth.ms a client that renews its login goes on (KIP-368).
func TestLoginsAreRenewed(t *testing.T) {
	a, dir := newAuthority(t), t.TempDir()
	n := secured(t, a, dir, "connections.max.reauth.ms: 1500\n").Start(t)
	adm, err := ask(t, n.Addr("SASL_SSL"), &tls.Config{RootCAs: a.pool()}, scram.Auth{User: "alice", Pass: "alice-secret"}.AsSha512Mechanism())
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for range 12 {
		<-tick.C
		if _, err := adm.ListTopics(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
