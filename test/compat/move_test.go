package compat

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varve-io/varve/test/kit"
)

// TestADirectoryMoves takes a partition's files from Apache Kafka to Varve and back: each
// serves every record, in both isolations, and Kafka's tool finds every file sound.
func TestADirectoryMoves(t *testing.T) {
	kit.Binary(t)
	k := kit.NewKafka(t, "transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1", "transaction.state.log.num.partitions=1")
	const topic = "moved"
	moveTopic(t, k.Addr, topic, 1<<20)
	for i, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
		produceMany(t, k.Addr, topic, 400, i, kgo.ProducerBatchCompression(codec))
	}
	transact(t, k.Addr, topic)
	k.Stop() // the next leader epoch
	k.Start()
	kit.Run(t, nil, "java", append(kit.JavaArgs(t, "org.apache.kafka.tools.ProducerPerformance"), "--topic", topic, "--num-records", "8000",
		"--record-size", "500", "--throughput", "-1", "--transactional-id", "perf", "--transaction-duration-ms", "50",
		"--producer-props", "bootstrap.servers="+k.Addr, "compression.type=zstd")...)
	all, committed := readLog(t, k.Addr, topic, false), readLog(t, k.Addr, topic, true)
	if len(all) < 10000 || len(committed) >= len(all) {
		t.Fatalf("Kafka holds %d records, %d of them committed", len(all), len(committed))
	}
	k.Stop()

	b := kit.Start(t, filepath.Join(t.TempDir(), "node"))
	moveTopic(t, b.Addr, topic, 1<<20)
	b.Stop()
	logs := logDirOf(t, b.Dir)
	src := filepath.Join(k.Dir, topic+"-0")
	t.Logf("import: %s", kit.Run(t, nil, kit.Binary(t), "log", "import", logs, topic+"-0", "--from", src))
	verify(t, logs, topic, len(all))
	b.Start()
	if n := scannedBytes(t, b.Admin); n != "0" {
		t.Errorf("the start after the import scanned %s bytes", n)
	}
	same(t, "Varve", all, readLog(t, b.Addr, topic, false))
	same(t, "Varve, committed", committed, readLog(t, b.Addr, topic, true))
	produceMany(t, b.Addr, topic, 1000, 9, kgo.ProducerBatchCompression(kgo.Lz4Compression()))
	all, committed = readLog(t, b.Addr, topic, false), readLog(t, b.Addr, topic, true)
	b.Stop()
	checkDump(t, filepath.Join(logs, topic+"-0"))

	const back = "back"
	k.Start()
	moveTopic(t, k.Addr, back, 1<<20)
	k.Stop()
	dst := filepath.Join(k.Dir, back+"-0")
	for _, old := range glob(t, dst, "0*") {
		if err := os.Remove(old); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range append(glob(t, filepath.Join(logs, topic+"-0"), "0*"), filepath.Join(logs, topic+"-0", "leader-epoch-checkpoint")) {
		raw, err := os.ReadFile(f)
		if err == nil {
			err = os.WriteFile(filepath.Join(dst, filepath.Base(f)), raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	k.Start()
	same(t, "Kafka again", all, readLog(t, k.Addr, back, false))
	same(t, "Kafka again, committed", committed, readLog(t, k.Addr, back, true))
	produceMany(t, k.Addr, back, 10, 10)
	k.Stop()
	checkDump(t, dst)
}

// TestWriteMovedGoldens writes the partition directories that the unit tests of
// broker/commitlog open, where VARVE_GOLDENS names their testdata directory.
func TestWriteMovedGoldens(t *testing.T) {
	dir := os.Getenv("VARVE_GOLDENS")
	if dir == "" {
		t.Skip("VARVE_GOLDENS names no directory")
	}
	k := kit.NewKafka(t, "transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1", "transaction.state.log.num.partitions=1")
	b := kit.Start(t, filepath.Join(t.TempDir(), "node"))
	const topic = "moved"
	moveTopic(t, k.Addr, topic, 1<<20)
	moveTopic(t, b.Addr, topic, 1<<20)
	for _, addr := range []string{k.Addr, b.Addr} {
		for i, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
			produceMany(t, addr, topic, 4, i, kgo.ProducerBatchCompression(codec))
		}
	}
	transact(t, k.Addr, topic)
	k.Stop()
	k.Start()
	produceMany(t, k.Addr, topic, 4, 5)
	k.Stop()
	b.Stop()
	for name, src := range map[string]string{"kafka-4.3.1": k.Dir, "varve-1": logDirOf(t, b.Dir)} {
		dst := filepath.Join(dir, name)
		if err := os.MkdirAll(dst, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, f := range glob(t, filepath.Join(src, topic+"-0"), "*") {
			raw, err := os.ReadFile(f)
			if err == nil {
				err = os.WriteFile(filepath.Join(dst, filepath.Base(f)), raw, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func client(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func moveTopic(t *testing.T, addr, topic string, segmentBytes int) {
	t.Helper()
	size := fmt.Sprint(segmentBytes)
	kit.Eventually(t, 30*time.Second, "the topic is created", func() error {
		cl, err := kgo.NewClient(kgo.SeedBrokers(addr))
		if err != nil {
			return err
		}
		defer cl.Close()
		_, err = kadm.NewClient(cl).CreateTopic(t.Context(), 1, 1, map[string]*string{"segment.bytes": &size}, topic)
		return err
	})
}

func value(salt, i int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "record %d of %d. ", i, salt), 1+(i*7+salt)%40)
}

// produceMany writes records of an idempotent producer.
func produceMany(t *testing.T, addr, topic string, n, salt int, opts ...kgo.Opt) {
	t.Helper()
	cl := client(t, addr, append(opts, kgo.DefaultProduceTopic(topic), kgo.ProducerBatchMaxBytes(16<<10))...)
	defer cl.Close()
	var records []*kgo.Record
	for i := range n {
		records = append(records, &kgo.Record{Key: fmt.Appendf(nil, "%d-%d", salt, i), Value: value(salt, i)})
	}
	if err := cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// transact commits and aborts transactions in turns.
func transact(t *testing.T, addr, topic string) {
	t.Helper()
	cl := client(t, addr, kgo.DefaultProduceTopic(topic), kgo.TransactionalID("mover"))
	defer cl.Close()
	for i := range 10 {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for j := range 20 {
			cl.Produce(t.Context(), &kgo.Record{Key: fmt.Appendf(nil, "txn-%d-%d", i, j), Value: value(i, j)}, nil)
		}
		if err := cl.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := cl.EndTransaction(t.Context(), kgo.TransactionEndTry(i%3 != 1)); err != nil {
			t.Fatal(err)
		}
	}
}

// readLog reads a partition from its start to its end: a line per record.
func readLog(t *testing.T, addr, topic string, committed bool) []string {
	t.Helper()
	level := kgo.ReadUncommitted()
	if committed {
		level = kgo.ReadCommitted()
	}
	cl := client(t, addr, kgo.FetchIsolationLevel(level), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out []string
	kit.Eventually(t, 30*time.Second, "the partition has a leader", func() error {
		ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
		if err == nil {
			err = ends.Error()
		}
		return err
	})
	for _, r := range pollAll(t, cl) {
		out = append(out, fmt.Sprintf("%d %d %s %s", r.Offset, r.Timestamp.UnixMilli(), r.Key, r.Value))
	}
	return out
}

// pollAll polls until nothing comes any more: a reader of committed records can't tell the
// last one by the end offset.
func pollAll(t *testing.T, cl *kgo.Client) (out []*kgo.Record) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for idle := 0; idle < 2; {
		poll, stop := context.WithTimeout(ctx, 700*time.Millisecond)
		fetches := cl.PollFetches(poll)
		stop()
		fetches.EachError(func(topic string, _ int32, err error) {
			if ctx.Err() != nil || !strings.Contains(err.Error(), "context deadline") {
				t.Fatalf("reading %s: %v", topic, err)
			}
		})
		if idle++; fetches.NumRecords() > 0 {
			idle = 0
		}
		out = append(out, fetches.Records()...)
	}
	return out
}

func same(t *testing.T, who string, want, got []string) {
	t.Helper()
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			t.Fatalf("%s: record %d is %.80q, want %.80q", who, i, got[i], want[i])
		}
	}
	if len(want) != len(got) {
		t.Fatalf("%s serves %d records, want %d", who, len(got), len(want))
	}
}

func glob(t *testing.T, dir, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// logDirOf finds the log directory below a node's data.
func logDirOf(t *testing.T, dir string) string {
	t.Helper()
	var found string
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.Name() == "meta.properties" {
			found = filepath.Dir(p)
		}
		return err
	})
	if err != nil || found == "" {
		t.Fatalf("no log directory below %s: %v", dir, err)
	}
	return found
}

// verify wants 'varve log verify' to find the partition sound, with that many records and
// the markers of transactions.
func verify(t *testing.T, logs, topic string, records int) {
	t.Helper()
	var reports []struct {
		Records, Segments int
		Findings          []struct{ What string }
	}
	out := kit.Run(t, nil, kit.Binary(t), "log", "verify", logs, topic+"-0", "-o", "json")
	if err := json.Unmarshal([]byte(out), &reports); err != nil || len(reports) != 1 {
		t.Fatalf("log verify printed %q: %v", out, err)
	}
	if r := reports[0]; r.Records < records || r.Segments < 2 || len(r.Findings) > 0 {
		t.Errorf("log verify: %+v, want %d records", r, records)
	}
}

// scannedBytes is what the start read of segments.
func scannedBytes(t *testing.T, admin string) string {
	t.Helper()
	out := kit.Run(t, nil, "curl", "-s", "http://"+admin+"/metrics")
	for line := range strings.Lines(out) {
		if v, ok := strings.CutPrefix(line, "varve_log_recovery_scanned_bytes_total "); ok {
			return strings.TrimSpace(v)
		}
	}
	return "no metric"
}

// checkDump has Kafka's DumpLogSegments judge every file of a partition.
func checkDump(t *testing.T, dir string) {
	t.Helper()
	files, err := localFiles(dir)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files, %v", dir, len(files), err)
	}
	total := 0
	for _, n := range dumpLogs(t, files, false) {
		total += n
	}
	t.Logf("DumpLogSegments: %d files in %s, %d records and markers", len(files), dir, total)
}
