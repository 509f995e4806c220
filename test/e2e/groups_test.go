package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varve-io/varve/broker"
	"github.com/varve-io/varve/broker/brokertest"
)

// groupNode is a node whose groups rebalance without delay.
func groupNode() brokertest.Node {
	return brokertest.Node{Set: []string{"group.initial.rebalance.delay.ms=0"}}
}

const (
	groupName  = "readers"
	groupParts = 6
)

// reader is a member of the group; it reads until it is stopped and notes what it has.
type reader struct {
	cl   *kgo.Client
	done chan struct{}
	mu   struct {
		sync.Mutex
		owned map[int32]bool
		read  map[string]int // values, and how often each came
	}
}

// join starts a member with a balancer.
func join(t *testing.T, n *broker.Node, opts ...kgo.Opt) *reader {
	t.Helper()
	r := &reader{done: make(chan struct{})}
	r.mu.owned, r.mu.read = map[int32]bool{}, map[string]int{}
	change := func(parts []int32, has bool) {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, p := range parts {
			if delete(r.mu.owned, p); has {
				r.mu.owned[p] = true
			}
		}
	}
	r.cl, _ = client(t, n, append([]kgo.Opt{
		kgo.ConsumerGroup(groupName), kgo.ConsumeTopics(topic), kgo.HeartbeatInterval(100 * time.Millisecond),
		kgo.AutoCommitMarks(), kgo.AutoCommitInterval(100 * time.Millisecond), kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) { change(parts[topic], true) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) { change(parts[topic], false) }),
		kgo.OnPartitionsRevoked(func(ctx context.Context, cl *kgo.Client, parts map[string][]int32) {
			if err := cl.CommitMarkedOffsets(ctx); err != nil {
				t.Errorf("commit before partitions go: %v", err)
			}
			change(parts[topic], false)
		}),
	}, opts...)...)
	go func() {
		defer close(r.done)
		for {
			fetches := r.cl.PollFetches(context.Background())
			if fetches.IsClientClosed() {
				return
			}
			r.mu.Lock()
			fetches.EachRecord(func(rec *kgo.Record) { r.mu.read[string(rec.Value)]++ })
			r.mu.Unlock()
			r.cl.MarkCommitRecords(fetches.Records()...)
			r.cl.AllowRebalance()
		}
	}()
	return r
}

// leave commits and leaves the group.
func (r *reader) leave() {
	r.cl.Close()
	<-r.done
}

func (r *reader) partitions() []int32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.mu.owned))
}

func (r *reader) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.mu.read)
}

// shared says whether the members own all partitions between them, each a fair share.
func shared(members ...*reader) bool {
	var all []int32
	for _, m := range members {
		p := m.partitions()
		if len(p) != groupParts/len(members) {
			return false
		}
		all = append(all, p...)
	}
	slices.Sort(all)
	return len(slices.Compact(all)) == groupParts
}

func produceTo(t *testing.T, cl *kgo.Client, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		cl.Produce(t.Context(), &kgo.Record{Topic: topic, Key: fmt.Append(nil, i), Value: fmt.Append(nil, i)}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("record %d: %v", i, err)
			}
		})
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// committed is the sum of the group's offsets, which is how many records it has committed.
func committed(t *testing.T, adm *kadm.Client, group string) int64 {
	t.Helper()
	offsets, err := adm.FetchOffsets(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	sum := int64(0)
	offsets.Each(func(o kadm.OffsetResponse) { sum += o.At })
	return sum
}

// TestGroup has three members share a topic, one leave, and the group come back to its
// offsets after a restart of the broker; with each of franz-go's balancers.
func TestGroup(t *testing.T) {
	for name, balancer := range map[string]kgo.GroupBalancer{
		"range": kgo.RangeBalancer(), "roundrobin": kgo.RoundRobinBalancer(), "sticky": kgo.StickyBalancer(), "cooperative": kgo.CooperativeStickyBalancer(),
	} {
		t.Run(name, func(t *testing.T) {
			node := groupNode()
			node.Dir = t.TempDir()
			n := node.Start(t)
			cl, adm := client(t, n)
			if _, err := adm.CreateTopic(t.Context(), groupParts, 1, nil, topic); err != nil {
				t.Fatal(err)
			}
			a, b, c := join(t, n, kgo.Balancers(balancer)), join(t, n, kgo.Balancers(balancer)), join(t, n, kgo.Balancers(balancer))
			eventually(t, "three members share the topic", func() bool { return shared(a, b, c) })
			const records = 600
			produceTo(t, cl, 0, records)
			eventually(t, "everything is read once", func() bool { return a.count()+b.count()+c.count() == records })
			b.leave()
			eventually(t, "two members share the topic", func() bool { return shared(a, c) })
			a.leave()
			c.leave()
			if got := committed(t, adm, groupName); got != records {
				t.Errorf("%d records committed, want %d", got, records)
			}
			stop(t, n)

			n = node.Start(t)
			cl, adm = client(t, n)
			if got := committed(t, adm, groupName); got != records {
				t.Errorf("after a restart %d records committed, want %d", got, records)
			}
			produceTo(t, cl, records, records+60)
			d := join(t, n, kgo.Balancers(balancer))
			eventually(t, "the new records are read", func() bool { return d.count() >= 60 })
			d.mu.Lock()
			defer d.mu.Unlock()
			for v, times := range d.mu.read {
				if len(v) < 3 || v < fmt.Sprint(records) || times != 1 {
					t.Errorf("record %s came %d times after the restart", v, times)
				}
			}
		})
	}
}
