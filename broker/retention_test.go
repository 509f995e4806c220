package broker_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varve-io/varve/broker/brokertest"
	"github.com/varve-io/varve/objstore/fault"
	"github.com/varve-io/varve/objstore/mem"
)

// TestLocalRetentionDoesNotWaitForTheStore: the retention of a tiered partition hangs in an
// object store that does not answer; a local topic is kept to its size all the same.
func TestLocalRetentionDoesNotWaitForTheStore(t *testing.T) {
	gate := fault.NewGate()
	defer gate.Release()
	store := fault.Wrap(mem.New(), fault.Rule{Op: "list", Do: fault.Stall(gate)})
	n := brokertest.Node{Bucket: store}.Start(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(n.KafkaAddr()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	yes, small := "true", "1048576"
	if _, err := admin.CreateTopic(t.Context(), 1, 1, map[string]*string{"remote.storage.enable": &yes}, "tiered"); err != nil {
		t.Fatal(err)
	}
	<-gate.Arrived()
	if _, err := admin.CreateTopic(t.Context(), 1, 1, map[string]*string{"segment.bytes": &small, "retention.bytes": &small}, "local"); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "local", Value: bytes.Repeat([]byte{'x'}, 600_000)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.After(20 * time.Second); ; {
		starts, err := admin.ListStartOffsets(t.Context(), "local")
		if err != nil {
			t.Fatal(err)
		}
		if o, ok := starts.Lookup("local", 0); ok && o.Offset > 2 {
			return
		}
		select {
		case <-deadline:
			t.Fatal("the local topic is not kept to its size")
		case <-time.After(20 * time.Millisecond):
		}
	}
}
