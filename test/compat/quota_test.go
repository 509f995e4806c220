package compat

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varve-io/varve/test/kit"
)

// TestKafkaQuotaTools has Kafka's own tool set, show and end quotas of each kind.
func TestKafkaQuotaTools(t *testing.T) {
	b := kit.Start(t, filepath.Join(t.TempDir(), "node"))
	for _, step := range []struct{ args, want string }{
		{"--alter --entity-type users --entity-name ann --add-config producer_byte_rate=1048576,request_percentage=50.5", "Completed updating config for user ann."},
		{"--alter --entity-type users --entity-name ann --entity-type clients --entity-default --add-config consumer_byte_rate=2048", "Completed updating config for user ann."},
		{"--alter --entity-type clients --entity-default --add-config controller_mutation_rate=10", "Completed updating default config for clients in the cluster."},
		{"--alter --entity-type ips --entity-name 10.0.0.1 --add-config connection_creation_rate=5", "Completed updating config for ip 10.0.0.1."},
		{"--describe --entity-type users --entity-name ann", "Quota configs for user-principal 'ann' are producer_byte_rate=1048576.0, request_percentage=50.5"},
		{"--describe --entity-type users --entity-type clients", "Quota configs for user-principal 'ann', the default client-id are consumer_byte_rate=2048.0"},
		{"--describe --entity-type ips", "Quota configs for ip '10.0.0.1' are connection_creation_rate=5.0"},
		{"--alter --entity-type users --entity-name ann --delete-config producer_byte_rate,request_percentage", "Completed updating config for user ann."},
	} {
		out := b.Tool("kafka.admin.ConfigCommand", append([]string{"--bootstrap-server", b.Addr}, strings.Fields(step.args)...)...)
		if !strings.Contains(out, step.want) {
			t.Errorf("%s printed %q, want %q", step.args, out, step.want)
		}
	}
	// Kafka's tool knows Kafka's names alone, and shows whatever is there.
	for _, change := range []string{"--add-config", "--delete-config"} {
		args := append(kit.JavaArgs(t, "kafka.admin.ConfigCommand"), "--bootstrap-server", b.Addr, "--alter", "--entity-type", "users", "--entity-name", "ann",
			change, strings.TrimSuffix("varve_upload_byte_rate=1024", map[string]string{"--delete-config": "=1024"}[change]))
		out, err := exec.CommandContext(t.Context(), "java", args...).CombinedOutput()
		t.Logf("%s: %v, %s", change, err, out)
		if !bytes.Contains(out, []byte("varve_upload_byte_rate")) || err == nil {
			t.Errorf("%s of a quota that Kafka does not have printed %s", change, out)
		}
	}
	b.Varve("quota", "set", "user/ann", "--set", "varve_remote_fetch_byte_rate=1048576")
	script := func(args ...string) string {
		return kit.Run(t, nil, kit.Binary(t), append([]string{"kafka-configs"}, args...)...)
	}
	script("--bootstrap-server", b.Addr, "--alter", "--entity-type", "users", "--entity-name", "ann", "--add-config", "varve_upload_byte_rate=2048")
	want := "Quota configs for user-principal 'ann' are varve_remote_fetch_byte_rate=1048576.0, varve_upload_byte_rate=2048.0"
	describe := []string{"--bootstrap-server", b.Addr, "--describe", "--entity-type", "users", "--entity-name", "ann"}
	for who, out := range map[string]string{
		"Kafka's tool": b.Tool("kafka.admin.ConfigCommand", describe...), "ours": script(describe...),
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%s printed %q, want %q", who, out, want)
		}
	}
	if out := b.Varve("quota", "list"); strings.Contains(out, "request_percentage") || !strings.Contains(out, "user/ann client/*") {
		t.Errorf("varve quota list:\n%s", out)
	}
}

// TestQuotasHoldClients has three clients send as fast as they can under a quota for each, and
// compares what arrives with it. VARVE_QUOTA_SECONDS is how long to measure; from 60 on the windows
// are Kafka's default and the rates are held to ±10 %, below that a busy machine may be slower.
func TestQuotasHoldClients(t *testing.T) {
	const quota = 400_000
	seconds, _ := strconv.Atoi(os.Getenv("VARVE_QUOTA_SECONDS"))
	warm, low, high, windows := 25*time.Second, 0.9, 1.1, "11"
	if seconds < 60 {
		seconds, warm, low, high, windows = 8, 6*time.Second, 0.3, 1.3, "2"
	}
	b := kit.Start(t, filepath.Join(t.TempDir(), "node"), "--set", "quota.window.num="+windows)
	b.Varve("quota", "set", "client/*", "--set", "producer_byte_rate="+strconv.Itoa(quota))
	ctx, cancel := context.WithCancel(t.Context())
	topics := map[string]<-chan string{"kcat": flood(ctx, t, b), "java": perf(ctx, t, b), "franz": franz(ctx, t, b)}
	defer func() {
		cancel()
		for name, said := range topics {
			if out := <-said; out != "" {
				t.Logf("%s said: %s", name, out)
			}
		}
	}()

	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addr))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ends := func() map[string]int64 {
		listed, err := kadm.NewClient(cl).ListEndOffsets(ctx, "kcat", "java", "franz")
		if err != nil {
			t.Fatal(err)
		}
		sums := map[string]int64{}
		listed.Each(func(o kadm.ListedOffset) { sums[o.Topic] += max(o.Offset, 0) })
		return sums
	}
	kit.Eventually(t, time.Minute, "every client sends", func() error {
		for _, n := range ends() {
			if n == 0 {
				return io.ErrNoProgress
			}
		}
		return nil
	})
	<-time.After(warm)
	from, start := ends(), time.Now()
	<-time.After(time.Duration(seconds) * time.Second)
	to, took := ends(), time.Since(start)
	for topic := range topics {
		rate := float64(to[topic]-from[topic]) * quotaRecord / took.Seconds()
		t.Logf("%s: %.0f bytes a second in records, %.2f of the quota", topic, rate, rate/quota)
		// The quota is on requests, which are a little larger than their records.
		if rate > high*quota || rate < low*quota {
			t.Errorf("%s sends %.0f bytes a second, its quota is %d", topic, rate, quota)
		}
	}
	out := kit.Run(t, nil, "curl", "-s", "http://"+b.Admin+"/metrics")
	if !regexp.MustCompile(`varve_quota_throttled_total\{quota="producer_byte_rate"\} [1-9]`).MatchString(out) {
		t.Error("no metric tells of the pauses")
	}
}

// quotaRecord is the size of the records that are sent, in bytes.
const quotaRecord = 1000

// background runs a command until ctx ends, and tells what it wrote to stderr when it ended before.
func background(ctx context.Context, t *testing.T, stdin io.Reader, name string, args ...string) <-chan string {
	t.Helper()
	said := make(chan string, 1)
	cmd := exec.CommandContext(ctx, name, args...)
	var errOut bytes.Buffer
	cmd.Stdin, cmd.Stderr = stdin, &errOut
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		err := cmd.Wait()
		if ctx.Err() == nil {
			said <- fmt.Sprintf("it ended: %v\n%s", err, &errOut)
		}
		close(said)
	}()
	return said
}

// flood is kcat with a line for each record, without an end.
func flood(ctx context.Context, t *testing.T, b *kit.Broker) <-chan string {
	return background(ctx, t, endless(strings.Repeat("x", quotaRecord)+"\n"), "kcat", "-b", b.Addr, "-P", "-t", "kcat",
		"-X", "client.id=kcat", "-X", "queue.buffering.max.kbytes=1024", "-X", "batch.size=65536")
}

// perf is Kafka's own load generator.
func perf(ctx context.Context, t *testing.T, b *kit.Broker) <-chan string {
	args := append(kit.JavaArgs(t, "org.apache.kafka.tools.ProducerPerformance"), "--topic", "java", "--num-records", "100000000",
		"--record-size", strconv.Itoa(quotaRecord), "--throughput", "-1", "--producer-props", "bootstrap.servers="+b.Addr, "client.id=java", "buffer.memory=1048576")
	return background(ctx, t, nil, "java", args...)
}

// franz is franz-go in this process.
func franz(ctx context.Context, t *testing.T, b *kit.Broker) <-chan string {
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addr), kgo.ClientID("franz"), kgo.DefaultProduceTopic("franz"), kgo.AllowAutoTopicCreation(),
		kgo.MaxBufferedRecords(1000), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(100_000))
	if err != nil {
		t.Fatal(err)
	}
	said := make(chan string)
	go func() {
		defer close(said)
		defer cl.Close()
		value := bytes.Repeat([]byte("x"), quotaRecord)
		for ctx.Err() == nil {
			cl.Produce(ctx, &kgo.Record{Value: value}, nil)
		}
	}()
	return said
}

// endless is a text again and again.
type endlessText struct {
	text string
	at   int
}

func endless(text string) io.Reader { return &endlessText{text: text} }

func (e *endlessText) Read(p []byte) (int, error) {
	n := copy(p, e.text[e.at:])
	e.at = (e.at + n) % len(e.text)
	return n, nil
}
