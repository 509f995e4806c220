package controller_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/varve-io/varve/broker/controller"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

// TestElections with three brokers, whose leaders have gone.
func TestElections(t *testing.T) {
	c := open(t, options(memfs.New()))
	for id := int32(1); id <= 3; id++ {
		register(t, c, id)
	}
	create(t, c, controller.NewTopic{Name: "t", Partitions: -1, ReplicationFactor: -1, Assignments: map[int32][]int32{0: {2, 1}, 1: {2, 3}, 2: {1, 2}}})
	tp := func(i int32) kafka.TopicPartition { return kafka.TopicPartition{Topic: "t", Partition: i} }
	part := func(i int32) metadata.Partition { return c.Image().Topic("t").Partitions[i] }
	elect := func(kind controller.Election, i int32) error {
		return c.ElectLeaders(t.Context(), kind, []kafka.TopicPartition{tp(i)})[0]
	}
	if err := elect(controller.Preferred, 0); !errors.Is(err, kafka.ElectionNotNeeded) {
		t.Errorf("the preferred replica leads: %v", err)
	}
	for _, id := range []int32{3, 2} {
		if err := c.UnregisterBroker(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if p := part(0); p.Leader != 1 || !slices.Equal(p.ISR, []int32{1}) || p.LeaderEpoch != 1 || !slices.Equal(p.Replicas, []int32{2, 1}) {
		t.Errorf("the other replica should lead: %+v", p)
	}
	if p := part(1); p.Leader != metadata.NoLeader || !slices.Equal(p.ISR, []int32{2}) {
		t.Errorf("nobody else has the data: %+v", p)
	}
	if p := part(2); p.Leader != 1 || !slices.Equal(p.ISR, []int32{1}) || p.LeaderEpoch != 0 {
		t.Errorf("the leader stays: %+v", p)
	}
	if err := elect(controller.Preferred, 0); !errors.Is(err, kafka.PreferredLeaderNotAvailable) {
		t.Errorf("the preferred replica is gone: %v", err)
	}
	if err := elect(controller.Unclean, 1); !errors.Is(err, kafka.EligibleLeadersNotAvailable) {
		t.Errorf("no replica lives: %v", err)
	}
	register(t, c, 2)
	if err := elect(controller.Unclean, 1); err != nil || part(1).Leader != 2 {
		t.Errorf("it is back: %v, %+v", err, part(1))
	}
	if err := c.UnregisterBroker(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if err := c.UnregisterBroker(t.Context(), 2); !errors.Is(err, kafka.BrokerIDNotRegistered) {
		t.Errorf("a broker that is gone: %v", err)
	}
	if err := c.UnregisterBroker(t.Context(), 1); !errors.Is(err, kafka.InvalidRequest) {
		t.Errorf("this broker: %v", err)
	}
}

// TestReassign: another order of the same brokers is taken over, and the leader stays.
func TestReassign(t *testing.T) {
	c := open(t, options(memfs.New()))
	register(t, c, 1)
	register(t, c, 2)
	create(t, c, controller.NewTopic{Name: "t", Partitions: -1, ReplicationFactor: -1, Assignments: map[int32][]int32{0: {1, 2}}})
	move := func(factor bool, replicas ...int32) error {
		return c.Reassign(t.Context(), []controller.Reassignment{{TopicPartition: kafka.TopicPartition{Topic: "t"}, Replicas: replicas}}, factor)[0]
	}
	if err := move(false, 2, 1); err != nil {
		t.Fatal(err)
	}
	if p := c.Image().Topic("t").Partitions[0]; !slices.Equal(p.Replicas, []int32{2, 1}) || p.Leader != 1 {
		t.Errorf("%+v", p)
	}
	if err := move(true, 2); !errors.Is(err, kafka.InvalidReplicaAssignment) {
		t.Errorf("one less: %v", err)
	}
	if err := move(false, 2); !errors.Is(err, kafka.InvalidReplicationFactor) {
		t.Errorf("one less, not allowed: %v", err)
	}
	if err := c.ElectLeaders(t.Context(), controller.Preferred, []kafka.TopicPartition{{Topic: "t"}})[0]; err != nil || c.Image().Topic("t").Partitions[0].Leader != 2 {
		t.Errorf("the new preferred replica: %v", err)
	}
}

// TestAlterConfigsSurviveARestart, and one bad resource does not keep the others from changing.
func TestAlterConfigsSurviveARestart(t *testing.T) {
	fsys := memfs.New()
	c := open(t, options(fsys))
	register(t, c, 1)
	create(t, c, topic("t"))
	broker := metadata.ConfigResource{Type: metadata.BrokerResource, Name: "1"}
	errs := c.AlterConfigs(t.Context(), []controller.ConfigChange{
		{Resource: metadata.ConfigResource{Type: metadata.TopicResource, Name: "t"}, Edits: []controller.ConfigEdit{{Name: "retention.ms", Value: "5"}}},
		{Resource: metadata.ConfigResource{Type: metadata.TopicResource, Name: "t"}, Edits: []controller.ConfigEdit{{Name: "segment.ms", Value: "x"}}},
		{Resource: broker, Edits: []controller.ConfigEdit{{Name: "max.connections", Value: "5"}}},
		{Resource: metadata.ConfigResource{Type: metadata.BrokerResource, Name: "9"}, Edits: []controller.ConfigEdit{{Name: "max.connections", Value: "5"}}},
	}, false)
	if errs[0] != nil || !errors.Is(errs[1], kafka.InvalidConfig) || errs[2] != nil || !errors.Is(errs[3], kafka.BrokerIDNotRegistered) {
		t.Errorf("%v", errs)
	}
	before := encoded(t, c.Image())
	closeOf(t, c)
	c = open(t, options(fsys))
	if string(encoded(t, c.Image())) != string(before) || c.Image().Config(broker)["max.connections"] != "5" || c.Image().Topic("t").Config["retention.ms"] != "5" {
		t.Error("settings are lost")
	}
}

// TestAdoption creates topics with the ids, epochs and producer ids of another cluster, once.
func TestAdoption(t *testing.T) {
	c := open(t, options(memfs.New()))
	register(t, c, 1)
	id := kafka.NewUUID()
	adopted := topic("moved")
	adopted.Origin = &controller.Origin{ID: id, LeaderEpoch: 41, ProducerIDs: 7000}
	for range 2 {
		got := create(t, c, adopted)[0]
		if got.ID != id || got.Partitions[0].LeaderEpoch != 42 || c.Image().NextProducerID() != 7000 {
			t.Fatalf("%+v, producer ids from %d", got, c.Image().NextProducerID())
		}
	}
	other := topic("moved")
	other.Origin = &controller.Origin{ID: kafka.NewUUID()}
	if err := c.CreateTopics(t.Context(), []controller.NewTopic{other}, false)[0].Err; !errors.Is(err, kafka.TopicAlreadyExists) {
		t.Errorf("a topic of that name and another id: %v", err)
	}
	other.Name, other.Origin.ID = "other", id
	if err := c.CreateTopics(t.Context(), []controller.NewTopic{other}, false)[0].Err; !errors.Is(err, kafka.TopicAlreadyExists) {
		t.Errorf("a topic of that id and another name: %v", err)
	}
	other.Origin.ID = kafka.UUID{}
	if err := c.CreateTopics(t.Context(), []controller.NewTopic{other}, false)[0].Err; !errors.Is(err, kafka.InvalidConfig) {
		t.Errorf("no id: %v", err)
	}
	if first, err := c.AllocateProducerIDs(t.Context(), 10); err != nil || first != 7000 {
		t.Errorf("producer ids from %d: %v", first, err)
	}
}
