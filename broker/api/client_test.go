package api

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestFranzGoAdministers drives the broker with a real client, which negotiates versions and
// follows the endpoints of Metadata by itself.
func TestFranzGoAdministers(t *testing.T) {
	k := newKit(t)
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.srv.Addr(internalListener).String()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm, ctx := kadm.NewClient(cl), testContext(t)
	retention := "1234567"
	made, err := adm.CreateTopics(ctx, 3, -1, map[string]*string{"retention.ms": &retention}, "a", "b")
	if err != nil || made.Error() != nil {
		t.Fatalf("create: %v, %v", err, made.Error())
	}
	listed, err := adm.ListTopics(ctx)
	if err != nil || len(listed) != 2 || len(listed["a"].Partitions) != 3 || listed["a"].ID != made["a"].ID {
		t.Errorf("list: %+v, %v", listed, err)
	}
	configs, err := adm.DescribeTopicConfigs(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, c := range configs[0].Configs {
		found = found || c.Key == "retention.ms" && c.MaybeValue() == retention
	}
	if !found {
		t.Errorf("retention.ms=%s is not among the settings of a", retention)
	}
	if brokers, err := adm.DescribeBrokerConfigs(ctx, testNode); err != nil || len(brokers[0].Configs) == 0 {
		t.Errorf("settings of the broker: %v, %v", brokers, err)
	}
	gone, err := adm.DeleteTopics(ctx, "a", "b")
	if err != nil || gone.Error() != nil {
		t.Errorf("delete: %v, %v", err, gone.Error())
	}
	if n := k.cluster.Image().TopicCount(); n != 0 {
		t.Errorf("%d topics are left", n)
	}
}

// TestF6FranzGoReadsThroughASession: a real client, whose partitions come and go, reads all
// there is through incremental fetches.
func TestF6FranzGoReadsThroughASession(t *testing.T) {
	k := newKit(t)
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.srv.Addr(internalListener).String()), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx := testContext(t)
	const partitions, rounds = 20, 10
	if _, err := kadm.NewClient(cl).CreateTopics(ctx, partitions, 1, nil, "wide"); err != nil {
		t.Fatal(err)
	}
	all := map[int32]kgo.Offset{}
	for p := range int32(partitions) {
		all[p] = kgo.NewOffset().AtStart()
	}
	cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{"wide": all})
	next := map[int32]int64{}
	for round := range rounds {
		paused := map[string][]int32{"wide": {int32(round+1) % 3, int32(round+2)%3 + 3}} // not those of this round
		cl.PauseFetchPartitions(paused)
		want := 0
		for p := int32(round % 3); p < partitions; p += 3 {
			if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "wide", Partition: p, Value: []byte("v")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
			want++
		}
		for want > 0 {
			fetches := cl.PollFetches(ctx)
			if err := fetches.Err(); err != nil {
				t.Fatal(err)
			}
			fetches.EachRecord(func(r *kgo.Record) {
				if r.Offset != next[r.Partition] {
					t.Errorf("partition %d: offset %d, want %d", r.Partition, r.Offset, next[r.Partition])
				}
				next[r.Partition] = r.Offset + 1
				want--
			})
		}
		cl.ResumeFetchPartitions(paused)
	}
	if sessions, n, _ := k.api.FetchSessions(); sessions == 0 || n == 0 {
		t.Errorf("%d sessions with %d partitions", sessions, n)
	}
}
