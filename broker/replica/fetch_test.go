package replica

import (
	"context"
	"errors"
	"math"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

func TestF1TheFirstBatchComesWhole(t *testing.T) {
	k := newKit(t)
	a, b := k.create(newTopic("a")), k.create(newTopic("b"))
	for range 3 {
		k.produce(a, 5)
		k.produce(b, 5)
	}
	small := func(p *Partition) FetchPartition {
		fp := ask(p, 0)
		fp.MaxBytes = 1
		return fp
	}
	res := k.fetch(FetchParams{MinBytes: 1, MaxBytes: 1, Partitions: []FetchPartition{small(a), small(b)}}).answer()
	if got := offsets(t, res[0]); !reflect.DeepEqual(got, []int64{0}) {
		t.Errorf("first partition: batches at %v, want one at 0", got)
	}
	if got := offsets(t, res[1]); len(got) > 0 {
		t.Errorf("second partition: batches at %v, want none", got)
	}
}

func TestF1TheFirstPartitionWithDataGetsTheWholeBatch(t *testing.T) {
	k := newKit(t)
	a, b := k.create(newTopic("a")), k.create(newTopic("b"))
	k.produce(b, 5)
	res := k.fetch(FetchParams{MinBytes: 1, MaxBytes: 1, Partitions: []FetchPartition{ask(a, 0), ask(b, 0)}}).answer()
	if got := offsets(t, res[1]); !reflect.DeepEqual(got, []int64{0}) {
		t.Errorf("batches at %v, want one at 0", got)
	}
}

func TestF1LaterPartitionsObeyTheRemainingBudget(t *testing.T) {
	k := newKit(t)
	a, b := k.create(newTopic("a")), k.create(newTopic("b"))
	for range 4 {
		k.produce(a, 5)
		k.produce(b, 5)
	}
	size := int64(len(k.records(5)))
	res := k.fetch(FetchParams{MinBytes: 1, MaxBytes: 5 * size, Partitions: []FetchPartition{ask(a, 0), ask(b, 0)}}).answer()
	if got := offsets(t, res[0]); len(got) != 4 {
		t.Errorf("first partition: batches at %v, want four", got)
	}
	if got := offsets(t, res[1]); len(got) != 1 {
		t.Errorf("second partition: batches at %v, want one", got)
	}
}

func TestF2TheBatchAroundTheOffsetIsReturnedWhole(t *testing.T) {
	k := newKit(t)
	p := k.create(newTopic("t"))
	k.produce(p, 5)
	k.produce(p, 5)
	res := k.fetch(FetchParams{MinBytes: 1, Partitions: []FetchPartition{ask(p, 7)}}).answer()
	if got := offsets(t, res[0]); !reflect.DeepEqual(got, []int64{5}) {
		t.Errorf("batches at %v, want one at 5", got)
	}
}

// long is a long poll.
func long(minBytes int64, parts ...FetchPartition) FetchParams {
	return FetchParams{MinBytes: minBytes, MaxWait: time.Second, Partitions: parts}
}

func TestF3LongPollEndsWithData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		p := k.create(newTopic("t"))
		f := k.fetch(long(1, ask(p, 0)))
		synctest.Wait()
		f.pending()
		k.produce(p, 1)
		synctest.Wait()
		if got := offsets(t, f.answer()[0]); len(got) != 1 {
			t.Errorf("batches at %v, want one", got)
		}
		if p.mu.watchers != nil {
			t.Error("the partition still holds the fetch")
		}
	})
}

func TestF3LongPollWaitsForMinBytesAcrossPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		a, b := k.create(newTopic("a")), k.create(newTopic("b"))
		size := int64(len(k.records(1)))
		k.produce(a, 1)
		f := k.fetch(long(3*size, ask(a, 0), ask(b, 0)))
		k.produce(b, 1)
		synctest.Wait()
		f.pending()
		k.produce(a, 1)
		synctest.Wait()
		res := f.answer()
		if x, y := offsets(t, res[0]), offsets(t, res[1]); len(x) != 2 || len(y) != 1 {
			t.Errorf("%d and %d batches, want 2 and 1", len(x), len(y))
		}
	})
}

func TestF3LongPollEndsAfterMaxWaitWithWhatThereIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		p := k.create(newTopic("t"))
		k.produce(p, 1)
		began := time.Now()
		f := k.fetch(long(1<<20, ask(p, 0)))
		res := <-f.done
		if got := offsets(t, res[0]); len(got) != 1 {
			t.Errorf("batches at %v, want one", got)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("answered after %v, want 1s", took)
		}
	})
}

func TestF3MaxWaitZeroAndMinBytesZeroNeverWait(t *testing.T) {
	k := newKit(t)
	p := k.create(newTopic("t"))
	k.fetch(FetchParams{MinBytes: 1, Partitions: []FetchPartition{ask(p, 0)}}).answer()
	k.fetch(FetchParams{MaxWait: time.Hour, Partitions: []FetchPartition{ask(p, 0)}}).answer()
	k.fetch(FetchParams{MaxWait: time.Hour, MinBytes: 1}).answer()
}

func TestF3LongPollEndsWithTheLeadership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		topic := newTopic("t")
		p := k.create(topic)
		fp := ask(p, 0)
		fp.CurrentLeaderEpoch = 0
		f := k.fetch(long(1, fp))
		k.apply(changed(topic, func(part *metadata.Partition) { part.LeaderEpoch = 1 }))
		synctest.Wait()
		if res := f.answer()[0]; !errors.Is(res.Err, kafka.FencedLeaderEpoch) {
			t.Errorf("answer %+v", res)
		}
		f = k.fetch(long(1, ask(p, 0)))
		k.apply(changed(topic, func(part *metadata.Partition) { part.Leader, part.LeaderEpoch = 8, 2 }))
		synctest.Wait()
		if res := f.answer()[0]; !errors.Is(res.Err, kafka.NotLeaderOrFollower) {
			t.Errorf("answer %+v", res)
		}
	})
}

func TestF3AnErrorAnswersAtOnce(t *testing.T) {
	k := newKit(t)
	p := k.create(newTopic("t"))
	res := k.fetch(long(1, ask(p, 0), FetchPartition{Topic: "none"})).answer()
	if res[0].Err != nil || !errors.Is(res[1].Err, kafka.UnknownTopicOrPartition) {
		t.Errorf("answers %+v", res)
	}
}

func TestF3ARollDoesNotHoldTheFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		p := k.create(newTopic("t"))
		k.produce(p, 1)
		if err := p.Log().Roll(); err != nil {
			t.Fatal(err)
		}
		k.produce(p, 1)
		size := int64(len(k.records(1)))
		// One range lies in one segment, so the two bytes' worth can't come together.
		if got := offsets(t, k.fetch(long(2*size, ask(p, 0))).answer()[0]); len(got) != 1 {
			t.Errorf("batches at %v, want the one in front of the roll", got)
		}
	})
}

func TestF4OffsetsOutsideTheLog(t *testing.T) {
	k := newKit(t)
	p := k.create(newTopic("t"))
	for range 3 {
		k.produce(p, 2)
	}
	if err := p.Log().Roll(); err != nil {
		t.Fatal(err)
	}
	k.produce(p, 2)
	if err := p.Log().SetStart(6); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Log().EvictBelow(6); err != nil {
		t.Fatal(err)
	}
	for off, want := range map[int64]error{5: kafka.OffsetOutOfRange, 9: kafka.OffsetOutOfRange, math.MaxInt64: kafka.OffsetOutOfRange, -1: kafka.OffsetOutOfRange, 6: nil, 8: nil} {
		res := k.fetch(FetchParams{Partitions: []FetchPartition{ask(p, off)}}).answer()[0]
		if !errors.Is(res.Err, want) || want != nil && res.Err == nil {
			t.Errorf("offset %d: %v, want %v", off, res.Err, want)
		}
		if res.LogStart != 6 || res.HighWatermark != 8 {
			t.Errorf("offset %d: log start %d, high watermark %d; want 6 and 8", off, res.LogStart, res.HighWatermark)
		}
		res.release()
	}
}

func TestF4NothingAboveTheHighWatermarkIsRead(t *testing.T) {
	k := newKit(t)
	p := k.create(pair())
	k.produce(p, 2)
	k.produce(p, 2)
	p.ObserveFollower(8, 2)
	res := k.fetch(FetchParams{Partitions: []FetchPartition{ask(p, 0)}}).answer()[0]
	if got := offsets(t, res); !reflect.DeepEqual(got, []int64{0}) {
		t.Errorf("batches at %v, want one at 0", got)
	}
	for _, off := range []int64{2, 3, 4} {
		res := k.fetch(FetchParams{Partitions: []FetchPartition{ask(p, off)}}).answer()[0]
		if got := offsets(t, res); res.Err != nil || len(got) > 0 || res.HighWatermark != 2 {
			t.Errorf("offset %d: %v, batches at %v, high watermark %d", off, res.Err, got, res.HighWatermark)
		}
	}
}

func TestFollowersWakeFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		p := k.create(pair())
		f := k.fetch(long(1, ask(p, 0)))
		k.produce(p, 2)
		synctest.Wait()
		f.pending()
		p.ObserveFollower(8, 2)
		synctest.Wait()
		if got := offsets(t, f.answer()[0]); len(got) != 1 {
			t.Errorf("batches at %v, want one", got)
		}
	})
}

func TestF5LeaderEpochs(t *testing.T) {
	k := newKit(t)
	topic := newTopic("t")
	topic.Partitions[0].LeaderEpoch = 5
	p := k.create(topic)
	k.produce(p, 1)
	for epoch, want := range map[int32]error{4: kafka.FencedLeaderEpoch, 6: kafka.UnknownLeaderEpoch, 5: nil, kafka.NoEpoch: nil} {
		fp := ask(p, 0)
		fp.CurrentLeaderEpoch = epoch
		res := k.fetch(FetchParams{Partitions: []FetchPartition{fp}}).answer()[0]
		if kafka.Code(res.Err) != kafka.Code(want) {
			t.Errorf("epoch %d: %v, want %v", epoch, res.Err, want)
		}
		res.release()
		if _, _, _, err := p.ListOffset(t.Context(), Latest, false, epoch); kafka.Code(err) != kafka.Code(want) {
			t.Errorf("list offset in epoch %d: %v, want %v", epoch, err, want)
		}
	}
}

func TestNegativeOffsetsOfPartitionsThatAreNotServed(t *testing.T) {
	k := newKit(t)
	topic := newTopic("t")
	topic.Partitions[0].Leader = 8
	p := k.create(topic)
	res := k.fetch(FetchParams{Partitions: []FetchPartition{ask(p, math.MinInt64)}}).answer()[0]
	if !errors.Is(res.Err, kafka.NotLeaderOrFollower) {
		t.Errorf("answer %+v", res)
	}
}

func TestF7AnOldTopicIDNeverReadsNewData(t *testing.T) {
	k := newKit(t)
	old := newTopic("t")
	k.create(old)
	k.apply(&metadata.Delta{Deleted: []*metadata.Topic{old}})
	again := newTopic("t")
	p := k.create(again)
	k.produce(p, 1)
	res := k.fetch(FetchParams{Partitions: []FetchPartition{{TopicID: old.ID, ByID: true, MaxBytes: 1 << 20}}}).answer()[0]
	if !errors.Is(res.Err, kafka.UnknownTopicID) {
		t.Errorf("old id: %+v", res)
	}
	res = k.fetch(FetchParams{Partitions: []FetchPartition{ask(p, 0)}}).answer()[0]
	if got := offsets(t, res); len(got) != 1 {
		t.Errorf("new id: batches at %v, want one", got)
	}
}

func TestF7DeletionEndsALongPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		topic := newTopic("t")
		p := k.create(topic)
		f := k.fetch(long(1, ask(p, 0)))
		k.apply(&metadata.Delta{Deleted: []*metadata.Topic{topic}})
		synctest.Wait()
		if res := f.answer()[0]; !errors.Is(res.Err, kafka.UnknownTopicOrPartition) {
			t.Errorf("answer %+v", res)
		}
		if _, err := p.Append(k.records(1), AppendOptions{Acks: 1}); !errors.Is(err, kafka.UnknownTopicOrPartition) {
			t.Errorf("append: %v", err)
		}
	})
}

func TestF10DivergingEpoch(t *testing.T) {
	k := newKit(t)
	topic := newTopic("t")
	p := k.create(topic)
	k.produce(p, 3)
	k.apply(changed(topic, func(part *metadata.Partition) { part.LeaderEpoch = 2 }))
	k.produce(p, 3)
	for _, c := range []struct {
		off   int64
		epoch int32
		want  *EpochEnd
		err   kafka.Error
	}{
		{3, 0, nil, kafka.NoError},
		{4, 0, &EpochEnd{Epoch: 0, End: 3}, kafka.NoError},
		{4, 1, &EpochEnd{Epoch: 0, End: 3}, kafka.NoError},
		{6, 2, nil, kafka.NoError},
		{6, 3, nil, kafka.OffsetOutOfRange},
	} {
		fp := ask(p, c.off)
		fp.LastFetchedEpoch = c.epoch
		res := k.fetch(FetchParams{MaxWait: time.Second, MinBytes: 0, Partitions: []FetchPartition{fp}}).answer()[0]
		if !reflect.DeepEqual(res.Diverging, c.want) || kafka.Code(res.Err) != c.err {
			t.Errorf("offset %d of epoch %d: diverging %+v, error %v; want %+v, %v", c.off, c.epoch, res.Diverging, res.Err, c.want, c.err)
		}
		res.release()
	}
	fp := ask(p, 1)
	fp.LastFetchedEpoch = 9
	if res := k.fetch(FetchParams{Partitions: []FetchPartition{fp}}).answer()[0]; kafka.Code(res.Err) != kafka.OffsetOutOfRange || res.Diverging != nil {
		t.Errorf("an epoch that never was: %+v", res)
	}
}

func TestADisconnectEndsTheFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		p := k.create(newTopic("t"))
		ctx, cancel := context.WithCancel(t.Context())
		calls := 0
		params := long(1, ask(p, 0))
		params.MaxBytes = 1 << 20
		k.Fetch(ctx, &params, func(res []FetchResult) {
			calls++
			if res != nil {
				t.Errorf("answer %+v", res)
			}
		})
		cancel()
		synctest.Wait()
		if calls != 1 || p.mu.watchers != nil || k.metrics.parked.Load() != 0 {
			t.Errorf("%d calls, %d watchers, %d parked", calls, len(p.mu.watchers), k.metrics.parked.Load())
		}
	})
}

func TestCloseAnswersWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		p := k.create(pair())
		f := k.fetch(FetchParams{MaxWait: time.Hour, MinBytes: 1, Partitions: []FetchPartition{ask(p, 0)}})
		_, done := k.await(p, 1, time.Hour)
		k.Close()
		synctest.Wait()
		if res := f.answer()[0]; !errors.Is(res.Err, kafka.NotLeaderOrFollower) {
			t.Errorf("fetch: %+v", res)
		}
		if err := <-done; !errors.Is(err, kafka.NotLeaderOrFollower) {
			t.Errorf("produce: %v", err)
		}
	})
}

func TestManyLongPollsAndOneProducer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		p := k.create(newTopic("t"))
		var all []*fetching
		for range 500 {
			all = append(all, k.fetch(long(1, ask(p, 0))))
		}
		k.produce(p, 1)
		synctest.Wait()
		for _, f := range all {
			if got := offsets(t, f.answer()[0]); len(got) != 1 {
				t.Fatalf("batches at %v, want one", got)
			}
		}
	})
}
