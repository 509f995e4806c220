package replica

import (
	"errors"
	"testing"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

// A broker's own appends are committed when the in-sync set has them, and refused in an epoch
// that is over.
func TestOwnLog(t *testing.T) {
	k := newKit(t)
	topic := pair()
	p := k.create(topic)
	log, err := Own(p)
	if err != nil {
		t.Fatal(err)
	}
	end, err := log.Append(k.records(3))
	if err != nil || end != 3 {
		t.Fatalf("Append: end %d, %v", end, err)
	}
	var told []error
	tell := func(err error) { told = append(told, err) }
	if log.WhenCommitted(end, tell) || len(told) != 0 {
		t.Fatal("committed before the follower has it")
	}
	p.ObserveFollower(8, 3)
	if len(told) != 1 || told[0] != nil || !log.WhenCommitted(end, tell) {
		t.Fatalf("the follower has it: told %v", told)
	}
	if _, err := log.Append(k.records(2)); err != nil {
		t.Fatal(err)
	}
	if start, end := log.Bounds(); start != 0 || end != 5 {
		t.Errorf("bounds [%d, %d), want [0, 5)", start, end)
	}
	b, err := log.Read(0, 5)
	if err != nil {
		t.Fatal(err)
	}
	if h, err := batch.ParseHeader(b); err != nil || h.BaseOffset != 0 || h.Count != 3 {
		t.Errorf("Read: %+v, %v", h, err)
	}

	// The broker leads again, in another epoch: what waits goes on waiting under the new one,
	// and what was meant for the old one is refused.
	log.WhenCommitted(5, tell)
	topic.Partitions[0].LeaderEpoch++
	k.apply(&metadata.Delta{Changed: []*metadata.Topic{topic}})
	if _, err := log.Append(k.records(1)); !errors.Is(err, kafka.FencedLeaderEpoch) {
		t.Errorf("an append of an epoch that is over: %v", err)
	}
	if end := p.Log().End(); end != 5 {
		t.Errorf("the log ends at %d, want 5", end)
	}
	told = nil
	if log.WhenCommitted(5, tell) || len(told) != 1 || !errors.Is(told[0], kafka.FencedLeaderEpoch) {
		t.Errorf("a wait of an epoch that is over: told %v", told)
	}

	// Another broker leads: nobody waits any more.
	now, err := Own(p)
	if err != nil {
		t.Fatal(err)
	}
	told = nil
	now.WhenCommitted(5, tell)
	topic.Partitions[0].Leader = 8
	topic.Partitions[0].LeaderEpoch++
	k.apply(&metadata.Delta{Changed: []*metadata.Topic{topic}})
	if len(told) != 2 || !errors.Is(told[0], kafka.NotLeaderOrFollower) || !errors.Is(told[1], kafka.NotLeaderOrFollower) {
		t.Errorf("the leadership is lost: told %v", told)
	}
}
