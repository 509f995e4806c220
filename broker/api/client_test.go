package api

import (
	"testing"

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
