package compat

import (
	"context"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varve-io/varve/test/kit"
)

const (
	txnTool     = "org.apache.kafka.tools.TransactionsCommand"
	consoleTool = "org.apache.kafka.tools.consumer.ConsoleConsumer"
)

// TestTransactionTools has Kafka's producer write transactions, its console consumer read what
// is committed, and its tools look at transactions and end one that hangs.
func TestTransactionTools(t *testing.T) {
	b := kit.Start(t, filepath.Join(t.TempDir(), "node"), "--set", "transaction.state.log.num.partitions=3",
		"--set", "group.initial.rebalance.delay.ms=100")
	b.Kcat(strings.NewReader("plain\n"), "-P", "-t", "txn")
	txns := func(args ...string) string {
		return b.Tool(txnTool, append([]string{"--bootstrap-server", b.Addr}, args...)...)
	}
	out := b.Tool("org.apache.kafka.tools.ProducerPerformance", "--topic", "txn", "--num-records", "2000", "--record-size", "100",
		"--throughput", "4000", "--transactional-id", "perf", "--transaction-duration-ms", "100", "--bootstrap-server", b.Addr)
	mentions(t, "ProducerPerformance", out, "2000 records sent")
	read := b.Tool(consoleTool, "--bootstrap-server", b.Addr, "--topic", "txn", "--from-beginning", "--isolation-level", "read_committed",
		"--max-messages", "2001", "--timeout-ms", "20000")
	if n := strings.Count(read, "\n"); n != 2001 {
		t.Errorf("the console consumer read %d records", n)
	}
	mentions(t, "list", txns("list"), "perf", "CompleteCommit")
	mentions(t, "describe", txns("describe", "--transactional-id", "perf"), "CompleteCommit")
	format := b.Tool(consoleTool, "--bootstrap-server", b.Addr, "--topic", "__transaction_state", "--from-beginning", "--timeout-ms", "3000",
		"--formatter", "org.apache.kafka.tools.consumer.TransactionLogMessageFormatter")
	mentions(t, "TransactionLogMessageFormatter", format, `"transactionalId":"perf"`, `"clientTransactionVersion":2`)

	// A transaction that is left open.
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addr), kgo.TransactionalID("left"), kgo.DefaultProduceTopic("txn"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(ctx, kgo.StringRecord("open")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	mentions(t, "list", txns("list"), "left", "Ongoing")
	mentions(t, "describe", txns("describe", "--transactional-id", "left"), "Ongoing", "txn-0")
	producers := txns("describe-producers", "--topic", "txn", "--partition", "0")
	start := ""
	for line := range strings.Lines(producers) {
		if f := strings.Fields(line); len(f) >= 6 && regexp.MustCompile(`^\d+$`).MatchString(f[5]) {
			start = f[5]
		}
	}
	if start == "" {
		t.Fatalf("describe-producers shows no open transaction:\n%s", producers)
	}
	mentions(t, "find-hanging", txns("find-hanging", "--broker-id", "1", "--max-transaction-timeout", "15"), "")
	txns("abort", "--topic", "txn", "--partition", "0", "--start-offset", start)
	if after := txns("describe-producers", "--topic", "txn", "--partition", "0"); regexp.MustCompile(`(?m)\b` + start + `\s*$`).MatchString(after) {
		t.Errorf("the transaction is open still:\n%s", after)
	}
	b.Stop()
	dump := b.Tool("org.apache.kafka.tools.DumpLogSegments", "--transaction-log-decoder", "--files", segmentsOf(t, b.Dir, "__transaction_state"))
	mentions(t, "DumpLogSegments", dump, "transactionalId", "perf")
}

// segmentsOf lists the log segments of a topic's partitions that have records.
func segmentsOf(t *testing.T, dir, topic string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", topic+"-*", "*.log"))
	if more, _ := filepath.Glob(filepath.Join(dir, topic+"-*", "*.log")); len(more) > 0 {
		files = append(files, more...)
	}
	if err != nil || len(files) == 0 {
		t.Fatalf("no segments of %s below %s: %v", topic, dir, err)
	}
	return strings.Join(files, ",")
}
