package replica

import (
	"context"
	"errors"
	"reflect"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varve-io/varve/broker/commitlog/logdir"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/tiered"
)

// deleteRecords deletes and waits for the answer.
func (k *kit) deleteRecords(deletions ...Deletion) []DeletionResult {
	k.t.Helper()
	done := make(chan []DeletionResult, 1)
	k.DeleteRecords(deletions, time.Minute, func(res []DeletionResult) { done <- res })
	return <-done
}

// wantDeleted deletes below an offset and wants the log to start at start.
func (k *kit) wantDeleted(p *Partition, offset, start int64) {
	k.t.Helper()
	if res := k.deleteRecords(Deletion{p, offset})[0]; res.Err != nil || res.LogStart != start {
		k.t.Errorf("delete below %d: %+v, want log start %d", offset, res, start)
	}
	if got := offsetAt(k.t, p, Earliest); got != start {
		k.t.Errorf("after a deletion below %d: earliest offset %d, want %d", offset, got, start)
	}
}

func (k *kit) fetchOne(p *Partition, off int64) FetchResult {
	k.t.Helper()
	f := k.fetch(long(1, ask(p, off)))
	return (<-f.done)[0]
}

func TestF13DeleteRecords(t *testing.T) {
	k := newKit(t)
	p := k.create(newTopic("t"))
	k.produce(p, 5)
	k.produce(p, 5)
	for _, bad := range []int64{11, -2, 1 << 62} {
		if res := k.deleteRecords(Deletion{p, bad})[0]; kafka.Code(res.Err) != kafka.OffsetOutOfRange || res.LogStart != -1 {
			t.Errorf("offset %d: %+v", bad, res)
		}
	}
	k.wantDeleted(p, 0, 0)
	k.wantDeleted(p, 7, 7) // inside a batch, inside a segment
	k.wantDeleted(p, 3, 7) // never back
	if res := k.fetchOne(p, 6); kafka.Code(res.Err) != kafka.OffsetOutOfRange || res.LogStart != 7 {
		t.Errorf("below the start: %+v", res)
	}
	if res := k.fetchOne(p, 7); !reflect.DeepEqual(offsets(t, res), []int64{5}) || res.LogStart != 7 {
		t.Errorf("at the start: %+v, want the batch that holds it", res)
	}
	k.wantDeleted(p, AllRecords, 10)
	if res := k.produce(p, 1); res.Base != 10 || res.LogStart != 10 {
		t.Errorf("then appended %+v", res)
	}
}

func TestF13OnlyTheDeletePolicyAllowsIt(t *testing.T) {
	k := newKit(t)
	for policy, allowed := range map[string]bool{"compact": false, "delete": true, "compact,delete": true} {
		p := k.create(newTopic("t-"+policy, "cleanup.policy", policy))
		k.produce(p, 2)
		res := k.deleteRecords(Deletion{p, 1})[0]
		if allowed != (res.Err == nil) || !allowed && kafka.Code(res.Err) != kafka.PolicyViolation {
			t.Errorf("cleanup.policy=%s: %+v", policy, res)
		}
	}
}

func TestF13ADeletionIsDurableWhenItIsAnswered(t *testing.T) {
	k := newKit(t)
	topic := newTopic("t")
	p := k.create(topic)
	k.produce(p, 5)
	k.produce(p, 5)
	if err := p.Log().Flush(); err != nil {
		t.Fatal(err)
	}
	if err := k.dirs.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	k.wantDeleted(p, 7, 7)
	k.fs = k.fs.CrashClone(3) // power fails
	k.openDirs()
	k.start()
	topic.Partitions[0].LeaderEpoch++
	p = k.create(topic)
	if start, end := offsetAt(t, p, Earliest), p.Log().End(); start != 7 || end != 10 {
		t.Errorf("after a crash the log is [%d, %d), want [7, 10)", start, end)
	}
	p = k.restart(nil, topic)[0]
	if start := offsetAt(t, p, Earliest); start != 7 {
		t.Errorf("after a clean restart the log starts at %d, want 7", start)
	}
}

func TestF13CleanUpRemovesWhatWasDeleted(t *testing.T) {
	k := newKit(t)
	p := k.create(newTopic("t", "file.delete.delay.ms", "0"))
	for range 3 {
		k.produce(p, 5)
		if err := p.Log().Roll(); err != nil {
			t.Fatal(err)
		}
	}
	k.wantDeleted(p, 12, 12)
	if err := k.tick(); err != nil {
		t.Fatal(err)
	}
	if segs := p.Log().Segments(); segs[0].Base != 10 || offsetAt(t, p, Earliest) != 12 {
		t.Errorf("the first segment is %d and the log starts at %d; want 10 and 12", segs[0].Base, offsetAt(t, p, Earliest))
	}
	k.wantDeleted(p, 15, 15)
	if err := k.tick(); err != nil {
		t.Fatal(err)
	}
	if segs := p.Log().Segments(); len(segs) != 1 || segs[0].Base != 15 || offsetAt(t, p, Earliest) != 15 {
		t.Errorf("%d segments, the log starts at %d; want one and 15", len(segs), offsetAt(t, p, Earliest))
	}
}

func TestF13OnlyTheLeaderDeletes(t *testing.T) {
	k := newKit(t)
	topic := newTopic("t")
	p := k.create(topic)
	k.produce(p, 2)
	k.apply(changed(topic, func(part *metadata.Partition) { part.Leader, part.LeaderEpoch = 8, 1 }))
	if res := k.deleteRecords(Deletion{p, 1})[0]; kafka.Code(res.Err) != kafka.NotLeaderOrFollower {
		t.Errorf("%+v", res)
	}
}

// brokenDirs fails its checkpoints.
type brokenDirs struct{ *logdir.Manager }

func (brokenDirs) CheckpointDir(string) error { return syscall.EIO }

func TestF13ADeletionThatIsNotDurableIsNotAcknowledged(t *testing.T) {
	k := newKit(t)
	p := k.create(newTopic("t"))
	k.produce(p, 2)
	k.Manager.dirs = brokenDirs{k.dirs}
	if res := k.deleteRecords(Deletion{p, 1}, Deletion{p, 5})[0]; kafka.Code(res.Err) != kafka.KafkaStorageError || res.LogStart != -1 {
		t.Errorf("%+v", res)
	}
}

func TestT37DeletionInTheStoreIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, p, store := tieredKit(t) // 0 to 9 in the store, 10 to 14 on disk
		k.wantDeleted(p, 3, 3)
		if store.view.Start != 3 {
			t.Errorf("the manifest starts at %d, want 3", store.view.Start)
		}
		if res := k.fetchOne(p, 2); kafka.Code(res.Err) != kafka.OffsetOutOfRange {
			t.Errorf("below the start: %+v", res)
		}
		if got := offsets(t, k.fetchOne(p, 3)); len(got) == 0 || got[0] != 0 {
			t.Errorf("at the start: batches at %v, want the one that holds it", got)
		}
		k.wantDeleted(p, 12, 12) // past the store's end: what is on disk from there on stays
		if store.view.Start != 12 || store.view.Segments != 0 {
			t.Errorf("manifest %+v, want it empty at 12", store.view)
		}
		if got := offsets(t, k.fetchOne(p, 12)); !reflect.DeepEqual(got, []int64{10}) {
			t.Errorf("on disk: batches at %v, want 10", got)
		}
		if err := k.tick(); err != nil {
			t.Fatal(err)
		}
		if got := offsetAt(t, p, EarliestLocal); got != 12 {
			t.Errorf("local start %d, want 12", got)
		}
	})
}

func TestF13AStoreThatFailsDeletesNothing(t *testing.T) {
	k, p, store := tieredKit(t)
	store.err = errors.New("bucket is down")
	if res := k.deleteRecords(Deletion{p, 3})[0]; kafka.Code(res.Err) != kafka.KafkaStorageError {
		t.Errorf("store down: %+v", res)
	}
	store.err = tiered.ErrFenced
	if res := k.deleteRecords(Deletion{p, 3})[0]; kafka.Code(res.Err) != kafka.NotLeaderOrFollower {
		t.Errorf("fenced: %+v", res)
	}
	store.err = nil
	if got := offsetAt(t, p, Earliest); got != 0 || store.view.Start != 0 {
		t.Errorf("the log starts at %d, want 0", got)
	}
}

// slowTier holds Expire back.
type slowTier struct {
	*fakeTier
	expire chan struct{}
}

func TestF13ASlowStoreTimesOutAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, p, store := tieredKit(t)
		gate := make(chan struct{})
		p.lead.Lock()
		p.lead.remote = slowTier{store, gate}
		p.lead.Unlock()
		local := k.create(newTopic("local"))
		k.produce(local, 3)
		res := make(chan []DeletionResult, 1)
		k.DeleteRecords([]Deletion{{p, 3}, {local, 2}, {local, 9}}, time.Second, func(out []DeletionResult) { res <- out })
		got := <-res
		if kafka.Code(got[0].Err) != kafka.RequestTimedOut || got[1] != (DeletionResult{LogStart: 2}) || kafka.Code(got[2].Err) != kafka.OffsetOutOfRange {
			t.Errorf("%+v", got)
		}
		close(gate)
		synctest.Wait()
		if got := offsetAt(t, p, Earliest); got != 3 {
			t.Errorf("the log starts at %d, want 3", got)
		}
	})
}

func (s slowTier) Expire(ctx context.Context, newStart int64) error {
	<-s.expire
	return s.fakeTier.Expire(ctx, newStart)
}
