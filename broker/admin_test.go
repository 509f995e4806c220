package broker_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/varve-io/varve/broker/brokertest"
	"github.com/varve-io/varve/objstore/mem"
)

func get(t *testing.T, url string) (int, []byte) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, b
}

func TestAdminSaysHowTheNodeIs(t *testing.T) {
	n := brokertest.Node{Bucket: mem.New()}.Start(t)
	base := "http://" + n.AdminAddr()
	for _, path := range []string{"/livez", "/readyz"} {
		if code, body := get(t, base+path); code != http.StatusOK {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if code, _ := get(t, base+"/nosuch"); code != http.StatusNotFound {
		t.Errorf("an unknown path answers %d", code)
	}
	_, body := get(t, base+"/metrics")
	for _, want := range []string{"varve_server_", "varve_replica_partitions", "varve_tier_uploaded_segments_total", "process_resident_memory_bytes"} {
		if !strings.Contains(string(body), want) {
			t.Errorf("/metrics does not have %s", want)
		}
	}
	problems, err := promlint.New(bytes.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "varve_") {
			t.Errorf("metric %s: %s", p.Metric, p.Text)
		}
	}
}

func TestSecondNodeOnTheSamePortIsRefused(t *testing.T) {
	n := brokertest.Node{}.Start(t)
	dir := t.TempDir()
	_, err := brokertest.Node{Dir: dir, Set: []string{"listeners=PLAINTEXT://" + n.KafkaAddr()}}.Try(t)
	if err == nil || !strings.Contains(err.Error(), "in use") || !strings.Contains(err.Error(), n.KafkaAddr()) {
		t.Errorf("the second node says %v", err)
	}
}

// keystore writes a key and its certificate.
func keystore(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))+
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestAdminListenerForOthers: with TLS and users the admin listener may be anywhere. Everything but health needs a
// login, pprof and changes of the log's level are there, and a wrong password looks like a user that there is not.
func TestAdminListenerForOthers(t *testing.T) {
	n := brokertest.Node{Set: []string{
		"varve.admin.listener=0.0.0.0:0", "varve.admin.ssl.enable=true", "listener.name.admin.ssl.keystore.location=" + keystore(t),
		"varve.admin.users.file=" + write(t, "users", "# who\nann:s3:cret\n"),
	}}.Start(t)
	_, port, _ := net.SplitHostPort(n.AdminAddr())
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	ask := func(method, path, user, password, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "https://127.0.0.1:"+port+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if user != "" {
			req.SetBasicAuth(user, password)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(b)
	}
	for _, path := range []string{"/livez", "/readyz"} {
		if code, body := ask("GET", path, "", "", ""); code != 200 {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	for _, path := range []string{"/metrics", "/metrics/kafka", "/loglevel", "/debug/pprof/", "/debug/pprof/heap?debug=1", "/debug/pprof/symbol"} {
		none, noneSays := ask("GET", path, "", "", "")
		wrong, wrongSays := ask("GET", path, "ann", "secret", "")
		nobody, nobodySays := ask("GET", path, "bob", "s3:cret", "")
		if none != 401 || wrong != 401 || nobody != 401 || noneSays != wrongSays || wrongSays != nobodySays {
			t.Errorf("%s without a login: %d, with a wrong password %d, by nobody %d", path, none, wrong, nobody)
		}
		if code, body := ask("GET", path, "ann", "s3:cret", ""); code != 200 {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if code, _ := ask("PUT", "/loglevel", "", "", "DEBUG"); code != 401 {
		t.Errorf("the log's level is changed without a login: %d", code)
	}
	for body, want := range map[string]int{"debug\n": 200, "LOUD": 400, strings.Repeat("x", 1<<20): 400, "WARN": 200} {
		if code, says := ask("PUT", "/loglevel", "ann", "s3:cret", body); code != want {
			t.Errorf("PUT /loglevel %.10q: %d %s", body, code, says)
		}
	}
}

// TestAdminListenerOnLoopback has no pprof and changes nothing, since it knows nobody.
func TestAdminListenerOnLoopback(t *testing.T) {
	n := brokertest.Node{}.Start(t)
	if code, _ := get(t, "http://"+n.AdminAddr()+"/debug/pprof/"); code != 404 {
		t.Errorf("/debug/pprof/ answers %d", code)
	}
	if code, body := get(t, "http://"+n.AdminAddr()+"/loglevel"); code != 200 || string(body) != "INFO\n" {
		t.Errorf("/loglevel: %d %s", code, body)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+n.AdminAddr()+"/loglevel", strings.NewReader("DEBUG"))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("PUT /loglevel: %d", res.StatusCode)
	}
}

// TestAdminListenerIsBounded: connections that nobody closes keep nothing but each other out.
func TestAdminListenerIsBounded(t *testing.T) {
	n := brokertest.Node{}.Start(t)
	for range 200 {
		c, err := net.Dial("tcp", n.AdminAddr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	before := descriptors(t)
	if before > 200+64+150 { // those of the test, those of the broker, and its files
		t.Errorf("%d descriptors are open", before)
	}
	client, _ := admin(t, n)
	if err := client.Ping(t.Context()); err != nil {
		t.Errorf("a client of Kafka's protocol: %v", err)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(list)
}

// TestAdminUsersFile: what is no file of users is refused, with its line and without its content.
func TestAdminUsersFile(t *testing.T) {
	for text, want := range map[string]string{"": "names nobody", "ann:x\nhunter2\n": "line 2", ":x": "line 1", "ann:": "line 1"} {
		_, err := brokertest.Node{Set: []string{"varve.admin.users.file=" + write(t, "users", text)}}.Try(t)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "varve.admin.users.file") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
