package broker_test

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/varve-io/varve/broker"
	"github.com/varve-io/varve/broker/brokertest"
	"github.com/varve-io/varve/objstore/mem"
)

// afterEvents are metrics that have no series before something happens that this test does not
// bring about: failures, throttling, transactions, telemetry.
var afterEvents = []string{
	"varve_client_telemetry_value", "varve_client_telemetry_accumulated",
	"varve_cleaner_rounds_total", "varve_coordinator_failures_total", "varve_txn_markers_total",
	"varve_replica_heals_total", "varve_replica_log_moves_total", "varve_replica_remote_reads_total",
	"varve_server_connections_closed_total", "varve_tier_failures_total",
	"varve_wal_direct", "varve_wal_size_bytes", "varve_wal_used_bytes",
}

// TestMetricsPage: docs/metrics.md names every metric that a live broker shows, with its type and labels, and
// no other. VARVE_WRITE=1 ('make gen') writes it.
func TestMetricsPage(t *testing.T) {
	n := brokertest.Node{Bucket: mem.New()}.Start(t)
	traffic(t, n)
	page, err := n.MetricsPage()
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("VARVE_WRITE") != "" {
		if err := os.WriteFile("../docs/metrics.md", page, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	written, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented, shown := map[string]string{}, map[string]string{}
	row := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([a-z]+) \\|")
	for _, m := range row.FindAllStringSubmatch(string(written), -1) {
		documented[m[1]] = m[2]
	}
	for _, path := range []string{"/metrics", "/metrics/kafka"} {
		code, body := get(t, "http://"+n.AdminAddr()+path)
		if code != 200 {
			t.Fatalf("%s: %d %s", path, code, body)
		}
		for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)`).FindAllStringSubmatch(string(body), -1) {
			if !strings.HasPrefix(m[1], "go_") && !strings.HasPrefix(m[1], "process_") {
				shown[m[1]] = m[2]
			}
		}
	}
	for name, kind := range shown {
		if documented[name] != kind {
			t.Errorf("%s is shown as a %s, and documented as %q: run 'make gen'", name, kind, documented[name])
		}
	}
	for name := range documented {
		if _, ok := shown[name]; !ok && !slices.Contains(afterEvents, name) {
			t.Errorf("%s is documented and not shown", name)
		}
	}
	if len(shown) < 100 {
		t.Errorf("only %d metrics are shown", len(shown))
	}
	if len(documented) != bytes.Count(page, []byte("\n| `")) {
		t.Errorf("docs/metrics.md has %d names, a broker registers %d: run 'make gen'", len(documented), bytes.Count(page, []byte("\n| `")))
	}
}

// traffic has a broker do a little of everything.
func traffic(t *testing.T, n *broker.Node) {
	t.Helper()
	client, adm := admin(t, n)
	if _, err := adm.CreateTopics(t.Context(), 2, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := produce(t, client, "t", 10); err != nil {
			t.Fatal(err)
		}
	}
	client.AddConsumeTopics("t")
	if f := client.PollFetches(t.Context()); f.Err() != nil {
		t.Fatal(f.Err())
	}
	for _, group := range []string{"a", "\xff"} {
		offsets := kadm.Offsets{}
		offsets.AddOffset("t", 0, 1, -1)
		if err := adm.CommitAllOffsets(t.Context(), group, offsets); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMetricsStages: a request's time is told by stage, of the requests that there were.
func TestMetricsStages(t *testing.T) {
	n := brokertest.Node{}.Start(t)
	traffic(t, n)
	_, body := get(t, "http://"+n.AdminAddr()+"/metrics")
	series := regexp.MustCompile(`(?m)^varve_server_request_stage_seconds_total\{api="(\w+)",stage="(\w+)"\} (\S+)$`)
	got := map[string]string{}
	for _, m := range series.FindAllStringSubmatch(string(body), -1) {
		got[m[1]+" "+m[2]] = m[3]
	}
	for _, stage := range []string{"queue", "local", "remote", "throttle", "response"} {
		if _, ok := got["Produce "+stage]; !ok {
			t.Errorf("Produce has no stage %s", stage)
		}
	}
	if got["Produce local"] == "0" || got["Produce throttle"] != "0" {
		t.Errorf("Produce was handled in %s s and throttled for %s s", got["Produce local"], got["Produce throttle"])
	}
	if _, ok := got["DeleteTopics local"]; ok {
		t.Error("an API that nobody has used has stages")
	}
}

// TestMetricsKafkaNames: the figures under the names of other exporters, their bounds, and a group whose
// name is no text, which is counted and takes nobody down.
func TestMetricsKafkaNames(t *testing.T) {
	n := brokertest.Node{Set: []string{"varve.metrics.kafka.max.partitions=53"}}.Start(t)
	traffic(t, n)
	client, adm := admin(t, n)
	if _, err := adm.CreateTopics(t.Context(), 2, 1, nil, "zz"); err != nil { // not shown: one of its partitions does not fit
		t.Fatal(err)
	}
	_, body := get(t, "http://"+n.AdminAddr()+"/metrics/kafka")
	for _, want := range []string{
		"kafka_brokers 1", `kafka_topic_partitions{topic="t"} 2`, `kafka_topic_partition_current_offset{partition="0",topic="t"} 3`,
		`kafka_topic_partition_leader{partition="1",topic="t"} 1`, `kafka_consumergroup_lag{consumergroup="a",partition="0",topic="t"} 2`,
		`kafka_consumergroup_lag_sum{consumergroup="a",topic="t"} 2`, `kafka_consumergroup_members{consumergroup="a"} 0`,
		`kafka_server_brokertopicmetrics_messagesin_total{topic="t"} 3`, `kafka_server_brokertopicmetrics_totalproducerequests_total{topic="t"} 3`,
		`varve_kafka_metrics_left_out{kind="offsets"} 1`, `varve_kafka_metrics_left_out{kind="groups"} 1`,
		"kafka_controller_kafkacontroller_activecontrollercount 1", "kafka_controller_kafkacontroller_offlinepartitionscount 0",
		fmt.Sprintf(`kafka_broker_info{address=%q,id="1"} 1`, n.KafkaAddr()),
	} {
		if !strings.Contains(string(body), want+"\n") {
			t.Errorf("/metrics/kafka lacks %s", want)
		}
	}
	for _, not := range []string{`topic="zz"`, "\xff"} {
		if strings.Contains(string(body), not) {
			t.Errorf("/metrics/kafka has %q", not)
		}
	}
	if t.Failed() {
		t.Logf("%s", body)
	}
	client.Close()
}
