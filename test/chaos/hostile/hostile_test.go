// Package hostile puts a live broker between good clients and attackers, in a process of its own with little
// memory, and checks that the good ones lose nothing and that nothing stays behind.
//
// 'make chaos-hostile' runs it; CHAOS_HOSTILE_SECONDS says for how long.
package hostile

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varve-io/varve/test/kit"
)

const (
	memoryBytes = 256 << 20 // of the broker, by a control group
	holders     = 2         // processes that hold connections
	held        = 9000      // connections of each, as far as files may be opened
)

// node is the broker under attack.
type node struct {
	*kit.Broker
	tls, sasl string // its other listeners
	group     string // its control group, "" where there is none
}

// start starts a broker under the limits. Good clients come from 127.0.0.1, the others from 127.0.0.2 and 127.0.0.3.
func start(t *testing.T) *node {
	t.Helper()
	dir := t.TempDir()
	n := &node{group: controlGroup(t), tls: kit.FreeAddr(t), sasl: kit.FreeAddr(t)}
	wrapper := filepath.Join(dir, "varve-limited")
	script := fmt.Sprintf("#!/bin/sh\nexec %s \"$@\"\n", kit.Binary(t))
	if n.group != "" {
		script = fmt.Sprintf("#!/bin/sh\necho $$ > %s/cgroup.procs\nexec %s \"$@\"\n", n.group, kit.Binary(t))
	} else {
		t.Setenv("GOMEMLIMIT", strconv.Itoa(memoryBytes*9/10))
	}
	users := filepath.Join(dir, "users")
	for name, text := range map[string]string{wrapper: script, users: "good:good-secret\n"} {
		if err := os.WriteFile(name, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("VARVE_BIN", wrapper)
	key, plain := keystore(t, dir), kit.FreeAddr(t)
	var set []string
	for _, setting := range []string{
		"listeners=PLAINTEXT://" + plain + ",SASL_SSL://" + n.tls + ",SASL_PLAINTEXT://" + n.sasl,
		"ssl.keystore.location=" + key, "varve.users.file=" + users,
		"max.connections.per.ip=6000", "max.connections.per.ip.overrides=127.0.0.1:2000",
		"varve.connections.stall.timeout.ms=10000", "varve.connections.handshake.timeout.ms=5000", "varve.connections.login.timeout.ms=10000",
		"connections.max.idle.ms=30000", "offsets.topic.num.partitions=4",
	} {
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

// controlGroup makes a control group with little memory (version 1 of cgroups, writable); "" where there is none.
func controlGroup(t *testing.T) string {
	t.Helper()
	group := fmt.Sprintf("/sys/fs/cgroup/memory/varve-hostile-%d", os.Getpid())
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Logf("no control group, GOMEMLIMIT alone: %v", err)
		return ""
	}
	t.Cleanup(func() { _ = os.Remove(group) }) // once the broker has ended
	if err := os.WriteFile(group+"/memory.limit_in_bytes", []byte(strconv.Itoa(memoryBytes)), 0o644); err != nil {
		t.Fatal(err)
	}
	return group
}

// figures are what the broker says of itself.
type figures struct{ goroutines, descriptors, connections, panics, rss float64 }

func (n *node) figures(t *testing.T) (f figures, closed map[string]float64) {
	t.Helper()
	res, err := http.Get("http://" + n.Admin + "/metrics")
	if err != nil {
		t.Fatalf("the broker's metrics: %v", err)
	}
	defer res.Body.Close()
	closed = map[string]float64{}
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		name, text, _ := strings.Cut(lines.Text(), " ")
		v, _ := strconv.ParseFloat(text, 64)
		switch name {
		case "go_goroutines":
			f.goroutines = v
		case "process_open_fds":
			f.descriptors = v
		case "varve_server_connections":
			f.connections = v
		case "varve_server_handler_panics_total":
			f.panics = v
		case "process_resident_memory_bytes":
			f.rss = v / (1 << 20)
		}
		if reason, ok := strings.CutPrefix(name, "varve_server_connections_closed_total{reason="); ok {
			closed[strings.Trim(reason, `"}`)] = v
		}
	}
	return f, closed
}

// good are clients that mean well: they produce at a steady rate, read everything, and time each record.
type good struct {
	mu      sync.Mutex
	took    []time.Duration
	acked   atomic.Int64
	failed  atomic.Int64
	last    atomic.Value // of the errors
	read    sync.Map
	unread  atomic.Int64
	client  *kgo.Client
	readers *kgo.Client
}

func startGood(ctx context.Context, t *testing.T, addr string, wg *sync.WaitGroup) *good {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}
	options := []kgo.Opt{kgo.SeedBrokers(addr), kgo.ClientID("good"), kgo.Dialer(dialer.DialContext), kgo.RecordRetries(1 << 30)}
	g := &good{}
	var err error
	if g.client, err = kgo.NewClient(append(options, kgo.ProducerLinger(0), kgo.DefaultProduceTopic("good"))...); err != nil {
		t.Fatal(err)
	}
	if _, err := kadm.NewClient(g.client).CreateTopics(ctx, 3, 1, nil, "good"); err != nil {
		t.Fatal(err)
	}
	compact := "compact"
	if _, err := kadm.NewClient(g.client).CreateTopics(ctx, 1, 1, map[string]*string{"cleanup.policy": &compact}, "bombs"); err != nil {
		t.Fatal(err)
	}
	if g.readers, err = kgo.NewClient(append(options, kgo.ConsumeTopics("good"), kgo.ConsumerGroup("good"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.client.Close(); g.readers.Close() })
	for worker := range 4 {
		wg.Go(func() { g.produce(ctx, worker) })
	}
	go g.consume(t.Context())
	return g
}

// produce sends fifty records a second, one at a time.
func (g *good) produce(ctx context.Context, worker int) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		key := fmt.Sprintf("%d-%d", worker, i)
		begin := time.Now()
		err := g.client.ProduceSync(context.WithoutCancel(ctx), &kgo.Record{Key: []byte(key), Value: make([]byte, 1000)}).FirstErr()
		if err != nil {
			g.failed.Add(1)
			g.last.Store(err)
			continue
		}
		g.acked.Add(1)
		if _, seen := g.read.LoadOrStore(key, true); !seen {
			g.unread.Add(1)
		} else {
			g.read.Delete(key)
		}
		g.mu.Lock()
		g.took = append(g.took, time.Since(begin))
		g.mu.Unlock()
	}
}

// consume strikes what it reads off the list; a record may be read before its producer hears of it.
func (g *good) consume(ctx context.Context) {
	for ctx.Err() == nil {
		g.readers.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			if _, acked := g.read.LoadOrStore(string(r.Key), false); acked {
				g.read.Delete(string(r.Key))
				g.unread.Add(-1)
			}
		})
	}
}

// protect sets the quotas of a network that is not one's own: a share of the processors for clients that nobody has named,
// and a rate of connections for addresses.
func (g *good) protect(ctx context.Context, t *testing.T) {
	t.Helper()
	named, unnamed := "good", (*string)(nil)
	entries := []kadm.AlterClientQuotaEntry{
		{Entity: kadm.ClientQuotaEntity{{Type: "client-id", Name: unnamed}}, Ops: []kadm.AlterClientQuotaOp{{Key: "request_percentage", Value: 20}}},
		{Entity: kadm.ClientQuotaEntity{{Type: "client-id", Name: &named}}, Ops: []kadm.AlterClientQuotaOp{{Key: "request_percentage", Value: 10000}}},
		{Entity: kadm.ClientQuotaEntity{{Type: "ip", Name: unnamed}}, Ops: []kadm.AlterClientQuotaOp{{Key: "connection_creation_rate", Value: 200}}},
	}
	altered, err := kadm.NewClient(g.client).AlterClientQuotas(ctx, entries)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range altered {
		if a.Err != nil {
			t.Fatal(a.Err, a.ErrMessage)
		}
	}
}

// lap answers the 50th and 99th percentile, and the worst, since the last one.
func (g *good) lap() (p50, p99, worst time.Duration, n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	took := g.took
	g.took = nil
	if len(took) == 0 {
		return 0, 0, 0, 0
	}
	slices.Sort(took)
	return took[len(took)/2], took[len(took)*99/100], took[len(took)-1], len(took)
}

// TestHostileMix is the mix: fuzz, slow ones, storms, held connections, half-open TLS, wrong passwords, bombs.
func TestHostileMix(t *testing.T) {
	if addr := os.Getenv("CHAOS_HOSTILE_HOLD"); addr != "" {
		hold(t, addr)
		return
	}
	if addrs := strings.Split(os.Getenv("CHAOS_HOSTILE_ATTACK"), ","); len(addrs) == 3 {
		attackers(t, addrs)
		return
	}
	seconds, _ := strconv.Atoi(os.Getenv("CHAOS_HOSTILE_SECONDS"))
	if seconds == 0 {
		t.Skip("CHAOS_HOSTILE_SECONDS says for how long: run 'make chaos-hostile'")
	}
	n := start(t)
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	g := startGood(ctx, t, n.Addr, &wg)
	calm := min(15*time.Second, time.Duration(seconds)*time.Second/4)
	pause(3 * time.Second)
	g.lap()
	pause(calm)
	p50Before, p99Before, _, records := g.lap()
	before, _ := n.figures(t)
	t.Logf("calm: %d records, p50 %v, p99 %v; %+v", records, p50Before, p99Before, before)

	var attackers sync.WaitGroup
	g.protect(ctx, t)
	attack, stop := context.WithCancel(t.Context())
	defer stop()
	attackers.Go(func() { child(attack, t, "CHAOS_HOSTILE_ATTACK="+n.Addr+","+n.tls+","+n.sasl) })
	for i := range holders {
		attackers.Go(func() { child(attack, t, fmt.Sprintf("CHAOS_HOSTILE_HOLD=127.0.0.%d@%s", 2+i, n.Addr)) })
	}
	worst := figures{}
	for end := time.Now().Add(time.Duration(seconds) * time.Second); time.Now().Before(end); {
		pause(min(5*time.Second, time.Until(end)))
		f, _ := n.figures(t)
		worst = figures{max(worst.goroutines, f.goroutines), max(worst.descriptors, f.descriptors), max(worst.connections, f.connections), f.panics, max(worst.rss, f.rss)}
	}
	p50During, p99During, slowest, records := g.lap()
	stop()
	attackers.Wait()
	t.Logf("attacked for %d s: %d records, p50 %v, p99 %v (%.1f times), slowest %v; at most %+v", seconds, records, p50During, p99During,
		float64(p99During)/float64(p99Before), slowest, worst)
	kit.Eventually(t, 90*time.Second, "goroutines and descriptors are as before", func() error {
		if f, _ := n.figures(t); f.goroutines > before.goroutines+20 || f.descriptors > before.descriptors+20 {
			return fmt.Errorf("%+v, before %+v", f, before)
		}
		return nil
	})
	cancel()
	wg.Wait()
	kit.Eventually(t, time.Minute, "every record is read", func() error {
		if left := g.unread.Load(); left != 0 {
			return fmt.Errorf("%d of %d are not", left, g.acked.Load())
		}
		return nil
	})
	after, closed := n.figures(t)
	t.Logf("afterwards: %+v; connections closed by reason: %v", after, closed)
	if after.panics != 0 {
		t.Errorf("%v requests made their handlers panic", after.panics)
	}
	if g.failed.Load() > 0 {
		t.Errorf("%d records of good clients were refused, the last with %v", g.failed.Load(), g.last.Load())
	}
	if killed := n.killed(t); killed != "0" {
		t.Errorf("the control group says oom_kill %s", killed)
	}
	n.Stop()
}

// killed is how many processes of the control group the kernel has killed for want of memory.
func (n *node) killed(t *testing.T) string {
	t.Helper()
	if n.group == "" {
		return "0"
	}
	b, err := os.ReadFile(n.group + "/memory.oom_control")
	if err != nil {
		t.Fatal(err)
	}
	_, count, _ := strings.Cut(string(b), "oom_kill ")
	return strings.TrimSpace(count)
}

// pause waits: time is what passes here.
func pause(d time.Duration) { <-time.After(d) }

// hold is the process that holds connections: as many as it gets, each with a request answered.
func hold(t *testing.T, addr string) {
	from, addr, _ := strings.Cut(addr, "@")
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 2 * time.Second}
	var open []net.Conn
	dialed, refused := 0, 0
	done := make(chan struct{})
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); close(done) }()
	for {
		select {
		case <-done:
			fmt.Printf("HELD dialed %d refused %d open %d\n", dialed, refused, len(open))
			return
		default:
		}
		if len(open) >= held {
			for _, c := range open { // in turn, so that none is idle for long
				_, _ = c.Write(apiVersions)
			}
			pause(10 * time.Second)
			kept := open[:0]
			for _, c := range open {
				_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
				if _, err := c.Read(make([]byte, 4096)); err == nil {
					kept = append(kept, c)
				} else {
					c.Close()
				}
			}
			open = kept
			continue
		}
		c, err := dialer.Dial("tcp", addr)
		if dialed++; err != nil {
			refused++
			pause(5 * time.Millisecond)
			continue
		}
		_, _ = c.Write(apiVersions)
		_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
		if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
			refused++
			c.Close()
			pause(5 * time.Millisecond)
			continue
		}
		open = append(open, c)
	}
}

// child runs this test in a process of its own, which gives way to others, until ctx ends, and tells what it says.
func child(ctx context.Context, t *testing.T, env string) {
	cmd := exec.Command("nice", "-n", "19", os.Args[0], "-test.run=^TestHostileMix$", "-test.timeout=0")
	cmd.Env = append(os.Environ(), env)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Error(err)
		return
	}
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Error(err)
		return
	}
	<-ctx.Done()
	in.Close()
	_ = cmd.Wait()
	line, _, _ := strings.Cut(out.String(), "\n")
	t.Logf("%s: %s", env, line)
}

// attackers is the process of all others who mean ill.
func attackers(t *testing.T, addrs []string) {
	ctx, stop := context.WithCancel(t.Context())
	n := &node{Broker: &kit.Broker{Addr: addrs[0]}, tls: addrs[1], sasl: addrs[2]}
	var wg sync.WaitGroup
	counts := n.attack(ctx, &wg)
	_, _ = io.Copy(io.Discard, os.Stdin) // it ends when they are to stop
	stop()
	wg.Wait()
	fmt.Println(counts)
}

// request is a frame with a header of version 1 and a body.
func request(key, version int16, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(10+len(body)))
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = append(b, 0, 0, 0, 7, 0xff, 0xff)
	return append(b, body...)
}

var apiVersions = request(18, 0, nil)
