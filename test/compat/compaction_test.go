package compat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varve-io/varve/test/kit"
)

// compactedTopic is the settings under which everything behind the active segment is
// cleaned soon. Segments roll by record time, which the test makes up.
func compactedTopic() map[string]*string {
	return map[string]*string{
		"cleanup.policy": kadm.StringPtr("compact"), "segment.ms": kadm.StringPtr("1000"), "min.cleanable.dirty.ratio": kadm.StringPtr("0"),
		"delete.retention.ms": kadm.StringPtr("86400000"),
	}
}

// hasty makes a broker's cleaner look often.
var hasty = []string{"log.cleaner.backoff.ms=100", "log.flush.offset.checkpoint.interval.ms=100"}

func hastyNode(t *testing.T) *kit.Broker {
	var args []string
	for _, s := range hasty {
		args = append(args, "--set", s)
	}
	return kit.Start(t, filepath.Join(t.TempDir(), "node"), args...)
}

// history is batches of keyed records, the same for everybody who asks with one seed.
func history(seed uint64, batches int, startMs int64) [][]*kgo.Record {
	r := rand.New(rand.NewPCG(seed, 1))
	var out [][]*kgo.Record
	for i := range batches {
		var recs []*kgo.Record
		for range 1 + r.IntN(20) {
			rec := &kgo.Record{
				Topic: "states", Partition: 0, Key: fmt.Appendf(nil, "k%d", r.IntN(300)), Timestamp: time.UnixMilli(startMs + int64(i)*40),
				Value: bytes.Repeat([]byte{byte('a' + r.IntN(26))}, r.IntN(400)), Headers: []kgo.RecordHeader{{Key: "n", Value: fmt.Append(nil, i)}},
			}
			if r.IntN(8) == 0 {
				rec.Value = nil
			}
			recs = append(recs, rec)
		}
		out = append(out, recs)
	}
	return out
}

// produceHistory writes each batch as one, the codecs taking turns.
func produceHistory(t *testing.T, addr string, batches [][]*kgo.Record) {
	t.Helper()
	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
	var clients []*kgo.Client
	for _, c := range codecs {
		cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(c), kgo.ProducerLinger(5*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		clients = append(clients, cl)
	}
	for i, recs := range batches {
		var mine []*kgo.Record
		for _, r := range recs {
			one := *r
			mine = append(mine, &one)
		}
		if err := clients[i%len(clients)].ProduceSync(t.Context(), mine...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// survivors reads the whole partition: offset, key, and the size of the value, -1 for null.
func survivors(t *testing.T, addr, topic string) []string {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	end, _ := ends.Lookup(topic, 0)
	var out []string
	for last := int64(-1); last < end.Offset-1; {
		f := cl.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatalf("read up to %d of %d: %v", last, end.Offset, err)
		}
		for _, r := range f.Records() {
			n := len(r.Value)
			if r.Value == nil {
				n = -1
			}
			out = append(out, fmt.Sprint(r.Offset, " ", string(r.Key), " ", n))
			last = r.Offset
		}
	}
	return out
}

func createTopic(t *testing.T, addr, name string, configs map[string]*string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), 1, 1, configs, name); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		t.Fatal(err)
	}
}

// TestCompactionAsKafka has Varve and Apache Kafka compact one history, and wants the same
// records at the same offsets from both; Kafka's own tool then looks at Varve's segments.
func TestCompactionAsKafka(t *testing.T) {
	b := hastyNode(t)
	kafka := kit.StartKafka(t, hasty[0])
	batches := history(1, 400, time.Now().UnixMilli()-60_000)
	for _, addr := range []string{b.Addr, kafka} {
		createTopic(t, addr, "states", compactedTopic())
		produceHistory(t, addr, batches)
	}
	total := 0
	for _, recs := range batches {
		total += len(recs)
	}
	var ours, theirs []string
	kit.Eventually(t, 60*time.Second, "both keep the same records", func() error {
		if ours, theirs = survivors(t, b.Addr, "states"), survivors(t, kafka, "states"); slices.Equal(ours, theirs) && len(ours) < total/2 {
			return nil
		}
		return fmt.Errorf("of %d records Varve has %d, Kafka %d", total, len(ours), len(theirs))
	})
	t.Logf("of %d records both keep %d", total, len(ours))
	checkCompacted(t, b, "states", len(ours))
	b.Kill()
	b.Start()
	if again := survivors(t, b.Addr, "states"); !slices.Equal(again, ours) {
		t.Errorf("after kill -9 there are %d records, there were %d", len(again), len(ours))
	}
	b.Stop()
	checkCompacted(t, b, "states", len(ours))
}

// checkCompacted wants Kafka's DumpLogSegments to find nothing wrong in a partition's files.
func checkCompacted(t *testing.T, b *kit.Broker, topic string, want int) {
	t.Helper()
	all, err := localFiles(b.Dir)
	if err != nil {
		t.Fatal(err)
	}
	mine := slices.DeleteFunc(all, func(f string) bool { return filepath.Base(filepath.Dir(f)) != topic+"-0" })
	total := 0
	for _, n := range dumpLogs(t, mine, true) {
		total += n
	}
	if total != want {
		t.Errorf("DumpLogSegments counts %d records in %d files, readers get %d", total, len(mine), want)
	}
	t.Logf("DumpLogSegments: %d files are sound", len(mine))
}

// TestCompactionKcat has kcat write the same keys again and again while the broker dies now
// and then, and reads the newest value of each.
func TestCompactionKcat(t *testing.T) {
	b := hastyNode(t)
	configs := compactedTopic()
	configs["segment.ms"] = kadm.StringPtr("50")
	createTopic(t, b.Addr, "kcat", configs)
	const keys, rounds = 20, 30
	for round := range rounds {
		var in strings.Builder
		for k := range keys {
			fmt.Fprintf(&in, "key%d:%d\n", k, round)
		}
		b.Kcat(strings.NewReader(in.String()), "-P", "-t", "kcat", "-p", "0", "-K:", "-z", []string{"none", "gzip", "snappy", "lz4", "zstd"}[round%5])
		if round%10 == 9 {
			b.Kill()
			b.Start()
		}
	}
	kit.Eventually(t, 30*time.Second, "only the newest are left", func() error {
		lines := strings.Fields(b.Kcat(nil, "-C", "-t", "kcat", "-p", "0", "-e", "-q", "-K:"))
		newest := map[string]string{}
		for _, l := range lines {
			k, v, _ := strings.Cut(l, ":")
			newest[k] = v
		}
		for k := range keys {
			if v := newest[fmt.Sprintf("key%d", k)]; v != fmt.Sprint(rounds-1) {
				t.Fatalf("key%d has value %q", k, v)
			}
		}
		if len(lines) > rounds*keys/3 { // the active segment is not compacted
			return fmt.Errorf("%d records", len(lines))
		}
		return nil
	})
	b.Stop()
}
