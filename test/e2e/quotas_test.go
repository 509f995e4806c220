package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/varve-io/varve/broker/brokertest"
	"github.com/varve-io/varve/objstore/mem"
)

// login is a client of a user, whose password is secret.
func login(t *testing.T, addr, user string) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.SASL(plain.Auth{User: user, Pass: "secret"}.AsMechanism()), kgo.DefaultProduceTopic(topic),
		kgo.ProducerBatchMaxBytes(64<<10), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// fetchAt is one Fetch of a new connection: how many bytes of records came, and the pause.
func fetchAt(t *testing.T, addr, user string, offset int64) (bytes int, pause time.Duration) {
	t.Helper()
	cl := login(t, addr, user)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 5000, 1, 1<<20
	part := kmsg.NewFetchRequestTopicPartition()
	part.FetchOffset, part.PartitionMaxBytes = offset, 1<<20
	req.Topics = []kmsg.FetchRequestTopic{{Topic: topic, Partitions: []kmsg.FetchRequestTopicPartition{part}}}
	req.Version = 12
	resp, err := cl.Broker(1).Request(ctx, pinned{req})
	if err != nil {
		t.Fatalf("%s fetches at %d: %v", user, offset, err)
	}
	r := resp.(*kmsg.FetchResponse)
	for _, topic := range r.Topics {
		for _, p := range topic.Partitions {
			if p.ErrorCode != 0 {
				t.Fatalf("%s fetches at %d: code %d", user, offset, p.ErrorCode)
			}
			bytes += len(p.RecordBatches)
		}
	}
	return bytes, time.Duration(r.ThrottleMillis) * time.Millisecond
}

// pinned is a fetch at version 12 at most, where topics go by name.
type pinned struct{ *kmsg.FetchRequest }

// MaxVersion implements kmsg.Request.
func (pinned) MaxVersion() int16 { return 12 }

// TestA9TierTrafficIsBounded: a user over the quota of the object store waits for cold records and
// gets hot ones; one over the quota of uploads waits after a produce to a tiered topic. Other
// users do not.
func TestA9TierTrafficIsBounded(t *testing.T) {
	n := brokertest.Node{Bucket: mem.New(), Set: []string{"listeners=SASL_PLAINTEXT://127.0.0.1:0,PLAINTEXT://127.0.0.1:0"}, YAML: `
listener.name.sasl_plaintext.sasl.enabled.mechanisms: PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config: org.apache.kafka.common.security.plain.PlainLoginModule required user_ann="secret" user_bob="secret";
`}.Start(t)
	secured := n.Addr("SASL_PLAINTEXT")
	cl, err := kgo.NewClient(kgo.SeedBrokers(n.Addr("PLAINTEXT")), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchMaxBytes(64<<10), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	adm := kadm.NewClient(cl)
	create(t, adm, tieredTopic())
	produce(t, cl, 0, 8000)
	hot := evicted(t, adm).local
	ann := kadm.ClientQuotaEntity{{Type: "user", Name: kmsg.StringPtr("ann")}}
	set := func(name string, bound float64) {
		t.Helper()
		out, err := adm.AlterClientQuotas(t.Context(), []kadm.AlterClientQuotaEntry{{Entity: ann, Ops: []kadm.AlterClientQuotaOp{{Key: name, Value: bound}}}})
		if err != nil || out[0].Err != nil {
			t.Fatalf("%s: %v, %+v", name, err, out)
		}
	}
	set("varve_remote_fetch_byte_rate", 10_000)
	set("varve_upload_byte_rate", 10_000)

	if bytes, pause := fetchAt(t, secured, "ann", 0); bytes == 0 || pause != 0 {
		t.Errorf("ann's first cold fetch: %d bytes, a pause of %v: want records at once", bytes, pause)
	}
	if bytes, pause := fetchAt(t, secured, "ann", hot/2); bytes != 0 || pause < time.Second {
		t.Errorf("ann's second cold fetch: %d bytes, a pause of %v: want nothing, and a pause", bytes, pause)
	}
	if bytes, pause := fetchAt(t, secured, "ann", hot); bytes == 0 || pause != 0 {
		t.Errorf("ann's hot fetch: %d bytes, a pause of %v: want records at once", bytes, pause)
	}
	if bytes, pause := fetchAt(t, secured, "bob", hot/2); bytes == 0 || pause != 0 {
		t.Errorf("bob's cold fetch: %d bytes, a pause of %v: want records at once", bytes, pause)
	}

	// What bob and ann produce is 300 KB each, thirty seconds of the quota.
	paused := func(user, topic string) (longest time.Duration) {
		t.Helper()
		pauses := make(chan time.Duration, 100)
		cl, err := kgo.NewClient(kgo.SeedBrokers(secured), kgo.SASL(plain.Auth{User: user, Pass: "secret"}.AsMechanism()), kgo.WithHooks(throttled(pauses)))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: noise(300_000)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		for len(pauses) > 0 {
			longest = max(longest, <-pauses)
		}
		return longest
	}
	if _, err := adm.CreateTopic(t.Context(), 1, 1, nil, "local"); err != nil {
		t.Fatal(err)
	}
	if d := paused("ann", "local"); d != 0 {
		t.Errorf("ann pauses for %v after a produce to a topic that is not tiered", d)
	}
	if d := paused("ann", topic); d < 10*time.Second {
		t.Errorf("ann pauses for %v after a produce to a tiered topic, want about 20 s", d)
	}
	if d := paused("bob", topic); d != 0 {
		t.Errorf("bob has no quota and pauses for %v", d)
	}
}

// throttled sends the pauses that brokers tell.
type throttled chan time.Duration

// OnBrokerThrottle implements kgo.HookBrokerThrottle.
func (c throttled) OnBrokerThrottle(_ kgo.BrokerMetadata, d time.Duration, _ bool) {
	select {
	case c <- d:
	default:
	}
}

// noise is bytes that no codec makes smaller.
func noise(n int) []byte {
	b := make([]byte, n)
	state := uint64(1)
	for i := range b {
		state = state*6364136223846793005 + 1442695040888963407
		b[i] = byte(state >> 56)
	}
	return b
}
