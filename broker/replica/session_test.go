package replica

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog/logdir"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

// sessionClient fetches a session's partitions as a client would.
type sessionClient struct {
	k  *kit
	s  *Session
	at map[*Partition]int64
}

// answer is how a fetch of a session ended.
type answer struct {
	results []SessionResult
	err     error
}

// newSession fetches the partitions from their starts and opens a session with them.
func (k *kit) newSession(partitions ...*Partition) *sessionClient {
	k.t.Helper()
	c := &sessionClient{k: k, at: map[*Partition]int64{}}
	var asks []FetchPartition
	for _, p := range partitions {
		asks = append(asks, ask(p, 0))
	}
	results := <-k.fetch(FetchParams{Partitions: asks}).done
	c.s = k.NewSession(asks, results)
	for i := range results {
		c.consume(partitions[i], &results[i])
	}
	return c
}

// consume notes how far the records of a result reach.
func (c *sessionClient) consume(p *Partition, res *FetchResult) {
	c.k.t.Helper()
	for _, r := range res.Records {
		b, err := r.ReadAll()
		if err != nil {
			c.k.t.Error(err)
		}
		for len(b) > 0 {
			h, err := batch.ParseHeader(b)
			if err != nil || h.Size() > int64(len(b)) {
				break
			}
			if h.BaseOffset > c.at[p] {
				c.k.t.Errorf("partition %s: a gap from %d to %d", p.tp, c.at[p], h.BaseOffset)
			}
			c.at[p] = max(c.at[p], h.LastOffset()+1)
			b = b[h.Size():]
		}
	}
	res.release()
}

// ahead is the partitions whose offset the client has moved.
func (c *sessionClient) ahead() []FetchPartition {
	var out []FetchPartition
	for p, off := range c.at {
		out = append(out, ask(p, off))
	}
	return out
}

// fetch sends the changed partitions and fetches.
func (c *sessionClient) fetch(params FetchParams, changed ...FetchPartition) chan answer {
	c.s.Update(changed, nil)
	done := make(chan answer, 1)
	if params.MaxBytes == 0 {
		params.MaxBytes = 10 << 20
	}
	c.s.Fetch(c.k.t.Context(), params, func(res []SessionResult, err error) { done <- answer{res, err} })
	return done
}

// told lists the partitions of an answer, and releases it.
func told(a answer) []string {
	out := []string{}
	for _, r := range a.results {
		out = append(out, fmt.Sprintf("%d: hw %d start %d err %v %d bytes", r.Index, r.HighWatermark, r.LogStart, r.Err, r.bytes()))
		r.release()
	}
	return out
}

func (s *Session) activeNow() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.active)
}

// wide is a topic of n partitions.
func wide(n int) *metadata.Topic {
	topic := newTopic("wide")
	for len(topic.Partitions) < n {
		topic.Partitions = append(topic.Partitions, topic.Partitions[0])
	}
	return topic
}

func (k *kit) createWide(n int) []*Partition {
	k.t.Helper()
	topic := wide(n)
	k.create(topic)
	var out []*Partition
	for i := range n {
		p, err := k.ByID(topic.ID, int32(i))
		if err != nil {
			k.t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func TestF6IdlePartitionsCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		parts := k.createWide(500)
		c := k.newSession(parts...)
		if n := c.s.activeNow(); n != 500 {
			t.Fatalf("%d active members of a new session, want 500", n)
		}
		a := c.fetch(long(1))
		synctest.Wait()
		if n := c.s.activeNow(); n != 0 {
			t.Errorf("%d active members while the fetch waits, want none", n)
		}
		<-a
		if got := <-c.fetch(long(1)); got.err != nil || got.results == nil || len(got.results) != 0 {
			t.Errorf("nothing happened: %+v, want an empty answer", got)
		}
		a = c.fetch(long(1))
		synctest.Wait()
		k.produce(parts[77], 1)
		got := <-a
		if len(got.results) != 1 || got.results[0].Index != 77 || got.results[0].bytes() == 0 {
			t.Fatalf("answer %v", told(got))
		}
		c.consume(parts[77], &got.results[0].FetchResult)
		if n := c.s.activeNow(); n != 1 {
			t.Errorf("%d active members after the answer, want the one that was served", n)
		}
		// Without a fetch under way, what happens is noted once.
		for range 3 {
			k.produce(parts[5], 1)
		}
		if n, w := c.s.activeNow(), len(parts[5].mu.watchers); n != 2 || w != 0 {
			t.Errorf("%d active members, %d watchers; want 2 and none", n, w)
		}
		got = <-c.fetch(long(1), ask(parts[77], 1))
		if len(got.results) != 1 || got.results[0].Index != 5 {
			t.Errorf("answer %v", told(got))
		}
		got.results[0].release()
		c.s.Close()
		for _, p := range parts {
			if p.mu.watchers != nil {
				t.Fatalf("partition %s is still watched", p.tp)
			}
		}
	})
}

func TestF6AnIncrementalAnswerOmitsWhatDidNotChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		parts := k.createWide(3)
		k.produce(parts[0], 2)
		c := k.newSession(parts...)
		began := time.Now()
		if got := <-c.fetch(long(1), ask(parts[0], 2)); got.err != nil || len(got.results) != 0 || time.Since(began) != time.Second {
			t.Errorf("nothing happened: %v, %v after %v", told(got), got.err, time.Since(began))
		}
		// The log start is told when it moves, although that wakes nobody.
		a := c.fetch(long(1))
		synctest.Wait()
		k.wantDeleted(parts[0], 1, 1)
		if got := told(<-a); !reflect.DeepEqual(got, []string{"0: hw 2 start 1 err <nil> 0 bytes"}) {
			t.Errorf("after a deletion: %q", got)
		}
		// Records that do not make up min.bytes are told when the time is up, and again as long
		// as the client does not move on.
		for range 2 {
			a = c.fetch(long(1 << 20))
			synctest.Wait()
			if parts[1].HighWatermark() == 0 {
				k.produce(parts[1], 1)
			}
			if got := <-a; len(got.results) != 1 || got.results[0].Index != 1 || len(offsets(t, got.results[0].FetchResult)) != 1 {
				t.Errorf("too few bytes: %v", told(got))
			}
		}
	})
}

func TestF6ErrorsAreAlwaysTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		parts := k.createWide(2)
		k.produce(parts[0], 2)
		c := k.newSession(parts...)
		for range 2 {
			if got := <-c.fetch(long(1), ask(parts[0], 7)); len(got.results) != 1 || kafka.Code(got.results[0].Err) != kafka.OffsetOutOfRange {
				t.Errorf("out of range: %v", told(got))
			}
		}
		if got := told(<-c.fetch(long(1), ask(parts[0], 2))); !reflect.DeepEqual(got, []string{"0: hw 2 start 0 err <nil> 0 bytes"}) {
			t.Errorf("the error has passed: %q", got)
		}
		if got := told(<-c.fetch(long(1))); len(got) != 0 {
			t.Errorf("then: %q", got)
		}
	})
}

func TestF6ForgottenPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		parts := k.createWide(3)
		c := k.newSession(parts...)
		if n := c.s.Update(nil, []FetchPartition{ask(parts[1], 0), ask(parts[1], 0)}); n != 2 {
			t.Errorf("%d partitions left, want 2", n)
		}
		a := c.fetch(long(1))
		synctest.Wait()
		k.produce(parts[1], 1)
		if got := <-a; len(got.results) != 0 {
			t.Errorf("of a forgotten partition: %v", told(got))
		}
		a = c.fetch(long(1), ask(parts[1], 0)) // wanted again
		if got := <-a; len(got.results) != 1 || got.results[0].Index != 1 {
			t.Errorf("wanted again: %v", told(got))
		} else {
			got.results[0].release()
		}
	})
}

func TestF6ALaterFetchEndsAnEarlierOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		parts := k.createWide(2)
		c := k.newSession(parts...)
		first := c.fetch(long(1))
		synctest.Wait()
		second := c.fetch(long(1))
		if got := <-first; !errors.Is(got.err, kafka.InvalidFetchSessionEpoch) || got.results != nil {
			t.Errorf("the earlier one: %+v", got)
		}
		synctest.Wait()
		k.produce(parts[0], 1)
		got := <-second
		if len(got.results) != 1 {
			t.Fatalf("the later one: %v, %v", told(got), got.err)
		}
		got.results[0].release()
		third := c.fetch(long(1), ask(parts[0], 1))
		synctest.Wait()
		c.s.Close()
		if got := <-third; !errors.Is(got.err, kafka.FetchSessionIDNotFound) {
			t.Errorf("of a session that was closed: %+v", got)
		}
		if parts[0].mu.watchers != nil || parts[1].mu.watchers != nil || k.metrics.parked.Load() != 0 {
			t.Error("a closed session still watches")
		}
	})
}

func TestF6ADisconnectEndsASessionsFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		c := k.newSession(k.createWide(2)...)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan answer, 1)
		params := long(1)
		params.MaxBytes = 1 << 20
		c.s.Fetch(ctx, params, func(res []SessionResult, err error) { done <- answer{res, err} })
		synctest.Wait()
		cancel()
		if got := <-done; got.results != nil || got.err != nil {
			t.Errorf("answer %+v", got)
		}
		if got := <-c.fetch(long(1)); got.err != nil || len(got.results) != 0 {
			t.Errorf("the next one: %+v", got)
		}
	})
}

func TestF7ADeletedTopicWakesItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		topic := newTopic("t")
		old := k.create(topic)
		k.produce(old, 1)
		byName := ask(old, 0)
		byName.ByID, byName.Topic, byName.TopicID = false, "t", kafka.UUID{}
		ids, names := k.newSession(old), &sessionClient{k: k}
		results := <-k.fetch(FetchParams{Partitions: []FetchPartition{byName}}).done
		results[0].release()
		names.s = k.NewSession([]FetchPartition{byName}, results)
		byName.Offset = 1
		a, b := ids.fetch(long(1), ask(old, 1)), names.fetch(long(1), byName)
		synctest.Wait()
		k.apply(&metadata.Delta{Deleted: []*metadata.Topic{topic}})
		for want, got := range map[kafka.Error]answer{kafka.UnknownTopicID: <-a, kafka.UnknownTopicOrPartition: <-b} {
			if len(got.results) != 1 || kafka.Code(got.results[0].Err) != want {
				t.Errorf("the topic was deleted: %v, want %v", told(got), want)
			}
		}
		again := newTopic("t")
		p := k.create(again)
		k.produce(p, 2)
		if got := <-ids.fetch(long(1)); len(got.results) != 1 || kafka.Code(got.results[0].Err) != kafka.UnknownTopicID {
			t.Errorf("by the old id: %v", told(got))
		}
		if got := told(<-names.fetch(long(1))); len(got) != 1 || got[0][:24] != "0: hw 2 start 0 err <nil" {
			t.Errorf("by name: %q", got)
		}
		byName.Offset = 2
		got := told(<-names.fetch(long(1), byName))
		if _, leaks := old.mu.watchers[names.s.mu.members[keyOf(&byName)]]; leaks || len(got) != 0 || len(p.mu.watchers) != 1 {
			t.Errorf("at the end of the new topic: %q, %d watchers of the old one, %d of the new one", got, len(old.mu.watchers), len(p.mu.watchers))
		}
		ids.s.Close()
		names.s.Close()
		if old.mu.watchers != nil || p.mu.watchers != nil {
			t.Error("a closed session still watches")
		}
	})
}

func TestF6AnotherIsolationLevelLooksAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		parts := k.createWide(2)
		c := k.newSession(parts...)
		committed := long(1)
		committed.ReadCommitted = true
		<-c.fetch(committed)
		// An open transaction, which no client may begin yet.
		b := batch.Builder{ProducerID: 9, Attributes: batch.Transactional, BaseTimestampMs: k.nowMs}
		b.Append(nil, []byte("v"), nil, k.nowMs)
		raw := b.Bytes()
		h, err := batch.ParseHeader(raw)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parts[0].Log().Append(raw, h, 0); err != nil {
			t.Fatal(err)
		}
		parts[0].advance()
		if got := told(<-c.fetch(committed)); !reflect.DeepEqual(got, []string{"0: hw 1 start 0 err <nil> 0 bytes"}) {
			t.Errorf("read_committed: %q", got)
		}
		if n := c.s.activeNow(); n != 0 {
			t.Errorf("%d active members, want none: the client knows all that it may", n)
		}
		if got := <-c.fetch(long(1)); len(got.results) != 1 || len(offsets(t, got.results[0].FetchResult)) != 1 {
			t.Errorf("read_uncommitted: %v", told(got))
		}
	})
}

func TestAFailedDirectoryWakesTheFetchesOfItsPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		parts := k.createWide(2)
		c := k.newSession(parts...)
		a, b := c.fetch(long(1)), k.fetch(long(1, ask(parts[1], 0)))
		synctest.Wait()
		for _, p := range parts {
			p.Log().Fail(syscall.EIO)
		}
		k.dirFailed(logdir.DirInfo{Path: "/data"})
		synctest.Wait()
		if res := b.answer()[0]; kafka.Code(res.Err) != kafka.KafkaStorageError {
			t.Errorf("a fetch: %+v", res)
		}
		got := <-a
		if len(got.results) == 0 || kafka.Code(got.results[0].Err) != kafka.KafkaStorageError {
			t.Errorf("a session's: %v", told(got))
		}
	})
}

func TestF6ServedPartitionsWaitForTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		parts := k.createWide(4)
		c := k.newSession(parts...)
		for _, p := range parts {
			k.produce(p, 1)
		}
		tiny := long(1)
		tiny.MaxBytes = 1 // one batch an answer
		var order []int32
		for range 8 {
			got := <-c.fetch(tiny)
			for _, r := range got.results {
				if r.bytes() > 0 {
					order = append(order, r.Index)
				}
				r.release()
			}
		}
		if want := []int32{0, 1, 2, 3, 0, 1, 2, 3}; !reflect.DeepEqual(order, want) {
			t.Errorf("served %v, want %v", order, want)
		}
	})
}

// TestF6TurnsAreTheSessionsNotThoseOfTheNews: which partition is served first doesn't depend on
// which one had its news first, as in Kafka.
func TestF6TurnsAreTheSessionsNotThoseOfTheNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		parts := k.createWide(3)
		c := k.newSession(parts...)
		told(<-c.fetch(FetchParams{}))
		if n := c.s.activeNow(); n != 0 {
			t.Fatalf("%d active members of a quiet session", n)
		}
		for _, i := range []int{2, 0, 1} {
			k.produce(parts[i], 1)
		}
		tiny := long(1)
		tiny.MaxBytes = 1 // one batch an answer
		var order []int32
		for range 3 {
			got := <-c.fetch(tiny)
			for _, r := range got.results {
				if r.bytes() > 0 {
					order = append(order, r.Index)
				}
				r.release()
			}
		}
		if want := []int32{0, 1, 2}; !reflect.DeepEqual(order, want) {
			t.Errorf("served %v, want %v", order, want)
		}
	})
}

// TestF6WhatHappensWhileAFetchReads: of a partition that changes between the look at it
// and the moment from which it is watched, the client hears nevertheless.
func TestF6WhatHappensWhileAFetchReads(t *testing.T) {
	for what, happens := range map[string]func(*kit, *sessionClient, *Partition){
		"nothing":             func(*kit, *sessionClient, *Partition) {},
		"an append":           func(k *kit, _ *sessionClient, p *Partition) { k.produce(p, 1) },
		"a deletion":          func(k *kit, _ *sessionClient, p *Partition) { k.wantDeleted(p, 1, 1) },
		"another offset":      func(_ *kit, c *sessionClient, p *Partition) { c.s.Update([]FetchPartition{ask(p, 1)}, nil) },
		"the end of a leader": func(_ *kit, _ *sessionClient, p *Partition) { p.resign(kafka.NotLeaderOrFollower) },
		"the session's end":   func(_ *kit, c *sessionClient, _ *Partition) { c.s.Close() },
	} {
		for _, watched := range []bool{false, true} {
			k := newKit(t)
			p := k.create(newTopic("t"))
			k.produce(p, 2)
			c := k.newSession(p)
			c.s.Update([]FetchPartition{ask(p, 2)}, nil)
			f := &fetch{m: k.Manager, params: &FetchParams{MaxBytes: 1 << 20}, session: &sessionFetch{s: c.s}}
			c.s.mu.fetch = f
			if watched {
				f.session.gather(f)
				f.read()
				f.session.rest(f, true)
				p.touch()
			}
			f.session.gather(f)
			f.read()
			happens(k, c, p)
			f.session.rest(f, true)
			f.release()
			want := 1
			if what == "nothing" || what == "the session's end" {
				want = 0
			}
			if n := c.s.activeNow(); n != want {
				t.Errorf("%s (watched before: %v): %d active members, want %d", what, watched, n, want)
			}
			c.s.Close()
			if p.mu.watchers != nil {
				t.Errorf("%s (watched before: %v): the partition is still watched", what, watched)
			}
		}
	}
}

// TestF6ASessionThatEndsWhileItsFetchRestsLeavesNoWatcher: whichever comes first.
func TestF6ASessionThatEndsWhileItsFetchRestsLeavesNoWatcher(t *testing.T) {
	k := newKit(t)
	parts := k.createWide(64)
	for i := range 200 {
		c := k.newSession(parts...)
		f := &fetch{m: k.Manager, params: &FetchParams{MaxBytes: 1 << 20}, session: &sessionFetch{s: c.s}}
		f.session.gather(f)
		f.read()
		var wg sync.WaitGroup
		wg.Go(func() {
			for range i % 20 {
				c.s.Len()
			}
			c.s.Close()
		})
		f.session.rest(f, true)
		wg.Wait()
		for _, p := range parts {
			if p.mu.watchers != nil {
				t.Fatalf("partition %s is still watched", p.tp)
			}
		}
	}
}

// TestF6NothingIsLostUnderLoad: what producers append while a session fetches, with small
// answers and a mover of log starts beside it, arrives without a gap.
func TestF6NothingIsLostUnderLoad(t *testing.T) {
	k := newKit(t)
	parts := k.createWide(16)
	c := k.newSession(parts...)
	const batches = 300
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(7, uint64(w)))
			for range batches {
				p := parts[rng.IntN(len(parts))]
				if _, err := p.Append(k.records(1+rng.IntN(3)), AppendOptions{Acks: 1}); err != nil {
					t.Error(err)
				}
				parts[rng.IntN(len(parts))].touch()
			}
		})
	}
	produced := make(chan struct{})
	go func() { wg.Wait(); close(produced) }()
	rng := rand.New(rand.NewPCG(8, 8))
	deadline := time.Now().Add(30 * time.Second)
	for over := false; !over && time.Now().Before(deadline); {
		select {
		case <-produced:
			over = true
			for _, p := range parts {
				over = over && c.at[p] == p.HighWatermark()
			}
		default:
		}
		params := FetchParams{MaxWait: 20 * time.Millisecond, MinBytes: 1 + int64(rng.IntN(500)), MaxBytes: 1 + int64(rng.IntN(2000))}
		got := <-c.fetch(params, c.ahead()[:rng.IntN(len(parts))%(len(c.at)+1)]...)
		if got.err != nil {
			t.Fatal(got.err)
		}
		for i := range got.results {
			c.consume(parts[got.results[i].Index], &got.results[i].FetchResult)
		}
	}
	for _, p := range parts {
		if c.at[p] != p.HighWatermark() {
			t.Errorf("partition %s: read up to %d of %d", p.tp, c.at[p], p.HighWatermark())
		}
	}
}
