package hostile

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/varve-io/varve/test/kit"
)

const memoryBytes = 256 << 20 // of the broker, by a control group

// node is the broker under attack.
type node struct {
	*kit.Broker
	tls, sasl string // its other listeners
	memory    string // its control group, "" where there is none
}

// start starts a broker with 256 MiB, on a share of one processor in percent, 0 for all of them. Good clients come
// from 127.0.0.1, all others from other addresses of the machine.
func start(t *testing.T, processorPercent int, settings ...string) *node {
	t.Helper()
	dir := t.TempDir()
	n := &node{tls: kit.FreeAddr(t), sasl: kit.FreeAddr(t)}
	n.memory = group(t, "memory", "broker", map[string]string{"memory.limit_in_bytes": strconv.Itoa(memoryBytes)})
	if n.memory == "" {
		t.Setenv("GOMEMLIMIT", strconv.Itoa(memoryBytes*9/10))
	}
	files := map[string]string{"cpu.shares": strconv.Itoa(brokerShares)}
	if processorPercent > 0 {
		files["cpu.cfs_quota_us"] = strconv.Itoa(processorPercent * 1000) // of a period of 100 ms
	}
	processor := group(t, "cpu", "broker", files)
	if processorPercent > 0 && processor == "" {
		t.Skip("a share of a processor needs a control group")
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	wrapper, users, keys, admins := filepath.Join(dir, "varve-limited"), filepath.Join(dir, "users"), filepath.Join(dir, "keys.json"), filepath.Join(dir, "admins")
	for name, text := range map[string]string{
		wrapper: fmt.Sprintf("#!/bin/sh\n%sexec %s \"$@\"\n", inGroups(n.memory, processor), kit.Binary(t)),
		users:   "good:good-secret\ngreedy:greedy-secret\n", admins: "admin:admin-secret\n",
		keys: fmt.Sprintf(`{"keys":[{"kty":"RSA","use":"sig","alg":"RS256","kid":"k","n":"%s","e":"AQAB"}]}`, base64.RawURLEncoding.EncodeToString(key.N.Bytes())),
	} {
		if err := os.WriteFile(name, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("VARVE_BIN", wrapper)
	plain := kit.FreeAddr(t)
	var set []string
	for _, setting := range append([]string{
		"listeners=PLAINTEXT://" + plain + ",SASL_SSL://" + n.tls + ",SASL_PLAINTEXT://" + n.sasl,
		"ssl.keystore.location=" + keystore(t, dir), "varve.users.file=" + users, "varve.admin.users.file=" + admins,
		"listener.name.sasl_plaintext.sasl.enabled.mechanisms=SCRAM-SHA-256,OAUTHBEARER",
		"sasl.oauthbearer.jwks.endpoint.url=file://" + keys, "org.apache.kafka.sasl.oauthbearer.allowed.urls=file://" + keys,
		"sasl.oauthbearer.expected.audience=varve",
		"max.connections.per.ip=6000", "max.connections.per.ip.overrides=127.0.0.1:2000",
		"varve.connections.stall.timeout.ms=10000", "varve.connections.handshake.timeout.ms=5000", "varve.connections.login.timeout.ms=10000",
		"connections.max.idle.ms=30000", "offsets.topic.num.partitions=4",
	}, settings...) {
		set = append(set, "--set", setting)
	}
	n.Broker = kit.New(t, filepath.Join(dir, "node"), set...)
	n.Addr = plain
	n.Start()
	return n
}

// keystore writes a key and its certificate.
func keystore(t *testing.T, dir string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "broker.pem")
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// figures are what the broker says of itself.
type figures struct {
	goroutines, descriptors, connections, panics, rss float64
	heap, cpu, collections                            float64
	closed                                            map[string]float64
}

// max is the larger of each of what must not grow.
func (f figures) max(o figures) figures {
	f.goroutines, f.descriptors, f.connections = max(f.goroutines, o.goroutines), max(f.descriptors, o.descriptors), max(f.connections, o.connections)
	f.rss, f.heap = max(f.rss, o.rss), max(f.heap, o.heap)
	return f
}

// String tells those.
func (f figures) String() string {
	return fmt.Sprintf("%.0f connections, %.0f goroutines, %.0f descriptors, heap %.0f MiB, rss %.0f MiB", f.connections, f.goroutines, f.descriptors, f.heap, f.rss)
}

// get reads a path of the broker's admin listener.
func (n *node) get(t *testing.T, path string) io.ReadCloser {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+n.Admin+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("admin", "admin-secret")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("the broker's %s: %v", path, err)
	}
	if res.StatusCode != http.StatusOK {
		t.Fatalf("the broker's %s: %s", path, res.Status)
	}
	return res.Body
}

func (n *node) figures(t *testing.T) figures {
	t.Helper()
	body := n.get(t, "/metrics")
	defer body.Close()
	f := figures{closed: map[string]float64{}}
	to := map[string]*float64{
		"go_goroutines": &f.goroutines, "process_open_fds": &f.descriptors, "varve_server_connections": &f.connections,
		"varve_server_handler_panics_total": &f.panics, "process_resident_memory_bytes": &f.rss, "go_memstats_heap_inuse_bytes": &f.heap,
		"process_cpu_seconds_total": &f.cpu, "go_gc_duration_seconds_count": &f.collections,
	}
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		name, text, _ := strings.Cut(lines.Text(), " ")
		v, _ := strconv.ParseFloat(text, 64)
		if at := to[name]; at != nil {
			*at = v
		}
		if reason, ok := strings.CutPrefix(name, "varve_server_connections_closed_total{reason="); ok {
			f.closed[strings.Trim(reason, `"}`)] = v
		}
	}
	f.rss, f.heap = f.rss/(1<<20), f.heap/(1<<20)
	return f
}

// profile keeps a profile of the broker in the directory that CHAOS_HOSTILE_PROFILES names, if it does.
func (n *node) profile(t *testing.T, name, path string) {
	t.Helper()
	dir := os.Getenv("CHAOS_HOSTILE_PROFILES")
	if dir == "" {
		return
	}
	body := n.get(t, "/debug/pprof/"+path)
	defer body.Close()
	f, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(f, body); err != nil {
		t.Fatal(err)
	}
}

// killed is how many processes of the control group the kernel has killed for want of memory.
func (n *node) killed(t *testing.T) string {
	t.Helper()
	if n.memory == "" {
		return "0"
	}
	b, err := os.ReadFile(n.memory + "/memory.oom_control")
	if err != nil {
		t.Fatal(err)
	}
	_, count, _ := strings.Cut(string(b), "oom_kill ")
	return strings.TrimSpace(count)
}
