package broker_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varve-io/varve/broker"
	"github.com/varve-io/varve/broker/brokertest"
	"github.com/varve-io/varve/objstore/mem"
)

// admin is a client of the node, for requests and for records as they are.
func admin(t *testing.T, n *broker.Node) (*kgo.Client, *kadm.Client) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(n.KafkaAddr()), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(16<<20), kgo.BrokerMaxWriteBytes(32<<20))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client, kadm.NewClient(client)
}

func produce(t *testing.T, c *kgo.Client, topic string, size int) error {
	t.Helper()
	return c.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: bytes.Repeat([]byte{'x'}, size)}).FirstErr()
}

func set(name, value string) kadm.AlterConfig {
	return kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: &value}
}

func alterTopic(t *testing.T, adm *kadm.Client, topic string, configs ...kadm.AlterConfig) error {
	t.Helper()
	res, err := adm.AlterTopicConfigs(t.Context(), configs, topic)
	if err != nil {
		t.Fatal(err)
	}
	return res[0].Err
}

func alterBroker(t *testing.T, adm *kadm.Client, ids []int32, configs ...kadm.AlterConfig) {
	t.Helper()
	res, err := adm.AlterBrokerConfigs(t.Context(), configs, ids...)
	if err != nil || res[0].Err != nil {
		t.Fatal(err, res)
	}
}

// eventually asks until the answer is yes.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.After(20 * time.Second); !done(); {
		select {
		case <-deadline:
			t.Fatal("not within 20 s: " + what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestTopicSettingsTakeEffectAtOnce: size limits, segment size, retention and tiering of a topic
// that has records.
func TestTopicSettingsTakeEffectAtOnce(t *testing.T) {
	bucket := mem.New()
	n := brokertest.Node{Bucket: bucket}.Start(t)
	client, adm := admin(t, n)
	if _, err := adm.CreateTopic(t.Context(), 1, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	if err := produce(t, client, "t", 2<<20); !errors.Is(err, kerr.MessageTooLarge) {
		t.Fatalf("2 MiB at the default limit: %v", err)
	}
	if err := alterTopic(t, adm, "t", set("max.message.bytes", "3000000"), set("segment.bytes", "1048576")); err != nil {
		t.Fatal(err)
	}
	if err := produce(t, client, "t", 2<<20); !errors.Is(err, kerr.RecordListTooLarge) {
		t.Fatalf("2 MiB at the new limit, and more than a segment: %v", err)
	}
	for range 4 {
		if err := produce(t, client, "t", 700_000); err != nil {
			t.Fatal(err)
		}
	}
	if err := alterTopic(t, adm, "t", set("remote.storage.enable", "true")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "closed segments are in the object store", func() bool {
		_, body := get(t, "http://"+n.AdminAddr()+"/metrics")
		return strings.Contains(string(body), "varve_tier_uploaded_segments_total 3")
	})
	if err := alterTopic(t, adm, "t", set("remote.storage.enable", "false")); !errors.Is(err, kerr.InvalidConfig) {
		t.Errorf("turning tiering off: %v", err)
	}
	if err := alterTopic(t, adm, "t", set("cleanup.policy", "compact")); !errors.Is(err, kerr.InvalidConfig) {
		t.Errorf("compacting a tiered topic: %v", err)
	}
	if err := alterTopic(t, adm, "t", set("retention.bytes", "1048576"), set("local.retention.bytes", "1048576")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "retention keeps less", func() bool {
		starts, err := adm.ListStartOffsets(t.Context(), "t")
		o, ok := starts.Lookup("t", 0)
		return err == nil && ok && o.Offset >= 2
	})
}

// TestDynamicSettings: settings of all brokers and of one reach topics, connections and producers
// at once, the broker's own before those of all, and are in force again after a restart.
func TestDynamicSettings(t *testing.T) {
	dir := t.TempDir()
	n := brokertest.Node{Dir: dir}.Start(t)
	client, adm := admin(t, n)
	if _, err := adm.CreateTopic(t.Context(), 1, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	alterBroker(t, adm, nil, set("message.max.bytes", "3000000"), set("max.connections", "100"))
	if err := produce(t, client, "t", 2<<20); err != nil {
		t.Fatalf("2 MiB at the limit of all brokers: %v", err)
	}
	alterBroker(t, adm, []int32{1}, set("message.max.bytes", "500000"))
	if err := produce(t, client, "t", 1<<20); !errors.Is(err, kerr.MessageTooLarge) {
		t.Fatalf("1 MiB at the broker's own limit: %v", err)
	}
	if err := n.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	n = brokertest.Node{Dir: dir}.Start(t)
	client, adm = admin(t, n)
	if err := produce(t, client, "t", 1<<20); !errors.Is(err, kerr.MessageTooLarge) {
		t.Fatalf("1 MiB at the broker's own limit, after a restart: %v", err)
	}
	alterBroker(t, adm, []int32{1}, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: "message.max.bytes"})
	if err := produce(t, client, "t", 2<<20); err != nil {
		t.Fatalf("2 MiB at the limit of all brokers, after a restart: %v", err)
	}
	alterBroker(t, adm, nil, set("max.connections.per.ip", "1"))
	late, _ := admin(t, n)
	if err := late.Ping(t.Context()); err == nil {
		t.Error("a connection above the limit is served")
	}
}
