package compat

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/varve-io/varve/test/kit"
)

// TestKafkaLogTools runs Kafka's tools for log starts, log directories and producers.
func TestKafkaLogTools(t *testing.T) {
	dir := t.TempDir()
	b := kit.Start(t, filepath.Join(dir, "node"))
	const topic, records = "logs", 1000
	b.Tool("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", b.Addr, "--create", "--topic", topic, "--partitions", "2")
	b.Tool("org.apache.kafka.tools.ProducerPerformance", "--topic", topic, "--num-records", strconv.Itoa(records), "--record-size", "100",
		"--throughput", "-1", "--producer-props", "bootstrap.servers="+b.Addr, "acks=all", "enable.idempotence=true",
		"partitioner.class=org.apache.kafka.clients.producer.RoundRobinPartitioner") // the default may fill one partition only
	logDirs(t, b, topic)
	describeProducers(t, b, topic)
	deleteRecords(t, b, dir, topic)

	b.Kill()
	b.Start() // what was deleted stays so
	out := b.Tool("org.apache.kafka.tools.GetOffsetShell", "--bootstrap-server", b.Addr, "--topic", topic, "--time", "-2")
	if !strings.Contains(out, topic+":0:7\n") {
		t.Errorf("after kill -9 GetOffsetShell printed %q", out)
	}
	b.Stop()
}

// logDirs compares what LogDirsCommand prints with the files.
func logDirs(t *testing.T, b *kit.Broker, topic string) {
	t.Helper()
	out := b.Tool("org.apache.kafka.tools.LogDirsCommand", "--bootstrap-server", b.Addr, "--describe", "--topic-list", topic)
	var got struct {
		Brokers []struct {
			Broker  int
			LogDirs []struct {
				LogDir     string
				Error      *string
				Partitions []struct {
					Partition       string
					Size, OffsetLag int64
					IsFuture        bool
				}
			}
		}
	}
	i := strings.IndexByte(out, '{')
	if i < 0 {
		t.Fatalf("LogDirsCommand printed %q", out)
	}
	if err := json.NewDecoder(strings.NewReader(out[i:])).Decode(&got); err != nil {
		t.Fatalf("LogDirsCommand printed %q: %v", out, err)
	}
	if len(got.Brokers) != 1 || len(got.Brokers[0].LogDirs) != 1 || got.Brokers[0].LogDirs[0].Error != nil || len(got.Brokers[0].LogDirs[0].Partitions) != 2 {
		t.Fatalf("LogDirsCommand printed %q", out)
	}
	for _, p := range got.Brokers[0].LogDirs[0].Partitions {
		var want int64
		files, err := filepath.Glob(filepath.Join(got.Brokers[0].LogDirs[0].LogDir, p.Partition, "*.log"))
		if err != nil || len(files) == 0 {
			t.Errorf("partition %s has no segment files: %v", p.Partition, err)
		}
		for _, f := range files {
			info, err := os.Stat(f)
			if err != nil {
				t.Fatal(err)
			}
			want += info.Size()
		}
		if p.Size != want || p.Size == 0 || p.OffsetLag != 0 || p.IsFuture {
			t.Errorf("LogDirsCommand says %+v, the files have %d bytes", p, want)
		}
	}
}

// describeProducers wants the idempotent producer to be listed for one of the partitions.
func describeProducers(t *testing.T, b *kit.Broker, topic string) {
	t.Helper()
	lines := 0
	for _, partition := range []string{"0", "1"} {
		out := b.Tool("org.apache.kafka.tools.TransactionsCommand", "--bootstrap-server", b.Addr, "describe-producers", "--topic", topic, "--partition", partition)
		head, rows, _ := strings.Cut(out, "\n")
		if !strings.Contains(head, "ProducerId") || !strings.Contains(head, "CurrentTransactionStartOffset") {
			t.Errorf("describe-producers printed %q", out)
		}
		for row := range strings.Lines(rows) {
			lines++
			if f := strings.Fields(row); len(f) != 6 || f[1] != "0" || f[5] != "None" {
				t.Errorf("describe-producers printed the row %q", row)
			}
		}
	}
	if lines == 0 {
		t.Error("describe-producers lists no producer")
	}
}

// deleteRecords deletes below an offset, and below the high watermark.
func deleteRecords(t *testing.T, b *kit.Broker, dir, topic string) {
	t.Helper()
	offsets := func(partition int, offset int64) string {
		path := filepath.Join(dir, "offsets.json")
		text := fmt.Sprintf(`{"partitions": [{"topic": %q, "partition": %d, "offset": %d}], "version": 1}`, topic, partition, offset)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return b.Tool("org.apache.kafka.tools.DeleteRecordsCommand", "--bootstrap-server", b.Addr, "--offset-json-file", path)
	}
	if out := offsets(0, 7); !strings.Contains(out, topic+"-0\tlow_watermark: 7") {
		t.Errorf("DeleteRecordsCommand printed %q", out)
	}
	if out := offsets(0, 1<<40); !strings.Contains(out, "error:") || !strings.Contains(out, "OffsetOutOfRange") {
		t.Errorf("DeleteRecordsCommand above the high watermark printed %q", out)
	}
	if out := offsets(1, -1); !strings.Contains(out, topic+"-1\tlow_watermark: ") {
		t.Errorf("DeleteRecordsCommand up to the high watermark printed %q", out)
	}
	latest := b.Tool("org.apache.kafka.tools.GetOffsetShell", "--bootstrap-server", b.Addr, "--topic-partitions", topic+":1", "--time", "-1")
	earliest := b.Tool("org.apache.kafka.tools.GetOffsetShell", "--bootstrap-server", b.Addr, "--topic-partitions", topic+":1", "--time", "-2")
	if latest != earliest || !strings.Contains(latest, topic+":1:") {
		t.Errorf("partition 1 is [%q, %q), want it empty", earliest, latest)
	}
}
