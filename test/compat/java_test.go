package compat

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/varve-io/varve/test/kit"
)

// TestKafkaTools runs the tools that come with Apache Kafka against one tiered topic.
func TestKafkaTools(t *testing.T) {
	dir := t.TempDir()
	b := kit.Start(t, filepath.Join(dir, "node"), "--tier", "file://"+filepath.Join(dir, "store"),
		"--set", "log.retention.check.interval.ms=300", "--set", "remote.log.manager.task.interval.ms=200")

	b.Tool("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", b.Addr, "--create", "--topic", "tools", "--partitions", "1",
		"--config", "segment.bytes=1048576", "--config", "remote.storage.enable=true", "--config", "local.retention.bytes=1")
	if out := b.Tool("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", b.Addr, "--list"); !strings.Contains(out, "tools") {
		t.Errorf("TopicCommand --list does not name the topic:\n%s", out)
	}
	out := b.Tool("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", b.Addr, "--describe", "--topic", "tools")
	for _, want := range []string{"PartitionCount: 1", "ReplicationFactor: 1", "segment.bytes=1048576", "Leader: 1", "Isr: 1"} {
		if !strings.Contains(out, want) {
			t.Errorf("TopicCommand --describe lacks %q:\n%s", want, out)
		}
	}

	const records, size = 20000, 500
	perf := b.Tool("org.apache.kafka.tools.ProducerPerformance", "--topic", "tools", "--num-records", strconv.Itoa(records),
		"--record-size", strconv.Itoa(size), "--throughput", "-1", "--producer-props", "bootstrap.servers="+b.Addr, "acks=all", "linger.ms=5")
	if !strings.Contains(perf, fmt.Sprintf("%d records sent", records)) {
		t.Errorf("ProducerPerformance did not send all records:\n%s", perf)
	}
	kit.Eventually(t, 30*time.Second, "closed segments are evicted", func() error { return fewClosedSegments(b.Dir, "tools") })

	end := offsetOf(t, b, "-1")
	tiered, localStart := offsetOf(t, b, "-5"), offsetOf(t, b, "-4")
	if end != records || offsetOf(t, b, "-2") != 0 {
		t.Errorf("GetOffsetShell: log is [%d, %d), want [0, %d)", offsetOf(t, b, "-2"), end, records)
	}
	if localStart <= 0 || localStart >= records || tiered != localStart-1 && tiered < localStart {
		t.Errorf("GetOffsetShell: earliest local %d, latest tiered %d do not show a tiered log of %d records", localStart, tiered, records)
	}
	consoleRoundTrip(t, b)
	javaAssign(t, b, records)
	checkFiles(t, b, filepath.Join(dir, "store"), records)
	b.Stop()
}

// offsetOf asks GetOffsetShell for one of the special times.
func offsetOf(t *testing.T, b *kit.Broker, when string) int64 {
	t.Helper()
	out := strings.TrimSpace(b.Tool("org.apache.kafka.tools.GetOffsetShell", "--bootstrap-server", b.Addr, "--topic", "tools", "--time", when))
	f := strings.Split(out, ":")
	n, err := strconv.ParseInt(f[len(f)-1], 10, 64)
	if err != nil {
		t.Fatalf("GetOffsetShell --time %s answered %q", when, out)
	}
	return n
}

func consoleRoundTrip(t *testing.T, b *kit.Broker) {
	t.Helper()
	kit.Run(t, strings.NewReader("one\ntwo\nthree\n"), "java", append(kit.JavaArgs(t, "org.apache.kafka.tools.ConsoleProducer"),
		"--bootstrap-server", b.Addr, "--topic", "console")...)
	out := b.Tool("org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", b.Addr, "--topic", "console",
		"--partition", "0", "--offset", "earliest", "--max-messages", "3")
	if out != "one\ntwo\nthree\n" {
		t.Errorf("ConsoleConsumer printed %q", out)
	}
}

// javaAssign reads the whole topic with the Java client's assign().
func javaAssign(t *testing.T, b *kit.Broker, records int) {
	t.Helper()
	src, err := filepath.Abs("testdata/AssignConsumer.java")
	if err != nil {
		t.Fatal(err)
	}
	args := kit.JavaArgs(t, src)
	out := strings.TrimSpace(kit.Run(t, nil, "java", append(args, b.Addr, "tools", "0", strconv.Itoa(records))...))
	if out != fmt.Sprintf("records=%d first=0 last=%d gaps=0", records, records-1) {
		t.Errorf("the Java consumer with assign() saw %q", out)
	}
}

// TestGapsAreListed keeps docs/differences.md honest: an API that is not served is named there.
func TestGapsAreListed(t *testing.T) {
	kit.Binary(t)
	page, err := os.ReadFile("../../docs/differences.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, api := range []string{"ConsumerGroupHeartbeat", "AddPartitionsToTxn", "AlterConfigs"} {
		if !strings.Contains(string(page), api) {
			t.Errorf("docs/differences.md does not list %s, which this version does not serve", api)
		}
	}
}
