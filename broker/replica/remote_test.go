package replica

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/tiered"
)

// tieredKit is a partition with offsets 0 to 9 in the store, 10 to 14 on local disk.
func tieredKit(t *testing.T) (*kit, *Partition, *fakeTier) {
	t.Helper()
	k := newKit(t)
	f := &fakeTier{fs: k.fs}
	k.withTier(f)
	p := k.create(newTopic("t", "remote.storage.enable", "true"))
	k.produce(p, 5)
	k.produce(p, 5)
	if err := p.Log().Roll(); err != nil {
		t.Fatal(err)
	}
	k.nowMs += 1000
	k.produce(p, 5)
	f.upload(t, p)
	if _, err := p.Log().EvictBelow(10); err != nil {
		t.Fatal(err)
	}
	if start := p.Log().LocalStart(); start != 10 {
		t.Fatalf("local start %d, want 10", start)
	}
	return k, p, f
}

// TestAbortedWhileTheStoreAnswers: the segment with the marker of an aborted transaction is
// tiered and evicted, or the log moves, after a remote read has taken its manifest and before it asks
// the local log. The transaction is in the answer all the same.
func TestAbortedWhileTheStoreAnswers(t *testing.T) {
	for _, what := range []string{"nothing", "eviction", "move"} {
		t.Run(what, func(t *testing.T) {
			k := newKitIn(t, "/a", "/b")
			store := &fakeTier{fs: k.fs}
			k.withTier(store)
			p := k.create(newTopic("t", "remote.storage.enable", "true"))
			b := batch.Builder{ProducerID: 9, Attributes: batch.Transactional, BaseTimestampMs: k.nowMs}
			b.Append(nil, []byte("v"), nil, k.nowMs)
			h, err := batch.ParseHeader(b.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			_, err = p.Log().Append(b.Bytes(), h, 0)
			tier := func() {
				store.batches, store.segments, store.view.Segments = nil, nil, 0
				store.upload(t, p)
				if _, err := p.Log().EvictBelow(store.view.Next); err != nil {
					t.Error(err)
				}
			}
			if err := errors.Join(err, p.Log().Roll()); err != nil {
				t.Fatal(err)
			}
			tier()
			_, err = WriteMarker(p, Marker{ProducerID: 9})
			if err := errors.Join(err, p.Log().Roll()); err != nil {
				t.Fatal(err)
			}
			p.advance()
			first := store.batches
			store.during = func(reads int) {
				switch {
				case reads > 1:
				case what == "eviction":
					tier()
					store.batches = append(first, store.batches...)
				case what == "move":
					if err := k.move(DirChange{"t", 0, other(p.Log().Dir())})[0]; err != nil {
						t.Error(err)
					}
					k.idle()
				}
			}
			committed := long(1, ask(p, 0))
			committed.ReadCommitted = true
			res := (<-k.fetch(committed).done)[0]
			if res.Err != nil || len(res.Records) == 0 || len(res.Aborted) != 1 || res.Aborted[0].ProducerID != 9 {
				t.Errorf("error %v, %d ranges, aborted %v", res.Err, len(res.Records), res.Aborted)
			}
			res.release()
			if want := map[string]int{"nothing": 1, "eviction": 2, "move": 2}[what]; store.reads != want {
				t.Errorf("%d reads, want %d", store.reads, want)
			}
		})
	}
}

// A closed segment is offered to the store at once, not at the next interval.
func TestARollWakesTheUploads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		f := &fakeTier{fs: k.fs}
		k.withTier(f)
		p := k.create(newTopic("t", "remote.storage.enable", "true"))
		for i, want := range []int{1, 1, 2, 2} {
			if i == 2 {
				if err := p.Log().Roll(); err != nil {
					t.Fatal(err)
				}
			}
			if k.produce(p, 1); f.wakes != want {
				t.Errorf("append %d: woken %d times, want %d", i, f.wakes, want)
			}
		}
		if err := p.retained().Roll(); err != nil || f.wakes != 3 {
			t.Errorf("roll by retention: woken %d times, %v", f.wakes, err)
		}
	})
}

func TestOneReadPathOverStoreAndDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, p, _ := tieredKit(t)
		for off, want := range map[int64][]int64{0: {0, 5}, 7: {5}, 10: {10}} {
			f := k.fetch(long(1, ask(p, off)))
			synctest.Wait()
			res := f.answer()[0]
			if res.LogStart != 0 || res.HighWatermark != 15 {
				t.Errorf("offset %d: log start %d, high watermark %d; want 0 and 15", off, res.LogStart, res.HighWatermark)
			}
			if got := offsets(t, res); res.Err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("offset %d: batches at %v, error %v; want %v", off, got, res.Err, want)
			}
		}
	})
}

func TestT14OnlyOneRemotePartitionMayExceedTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, p, _ := tieredKit(t)
		tiny := ask(p, 0)
		tiny.MaxBytes = 1
		other := tiny
		other.Offset = 5
		f := k.fetch(long(1, tiny, other))
		synctest.Wait()
		res := f.answer()
		if x, y := offsets(t, res[0]), offsets(t, res[1]); len(x) != 1 || len(y) != 0 {
			t.Errorf("%d and %d batches, want 1 and 0", len(x), len(y))
		}
	})
}

func TestASlowStoreGivesAnEmptyAnswerInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, p, store := tieredKit(t)
		store.gate = make(chan struct{})
		began := time.Now()
		f := k.fetch(long(1, ask(p, 0)))
		res := (<-f.done)[0]
		wait := time.Duration(k.node().RemoteFetchMaxWaitMs) * time.Millisecond
		if took := time.Since(began); took != wait {
			t.Errorf("answered after %v, want %v", took, wait)
		}
		if res.Err != nil || len(res.Records) > 0 {
			t.Errorf("answer %+v, want none and no error", res)
		}
		// The client comes back while the cache is still being filled: no second read.
		again := k.fetch(long(1, ask(p, 0)))
		synctest.Wait()
		if store.reads != 1 {
			t.Errorf("%d reads under way, want 1", store.reads)
		}
		close(store.gate)
		synctest.Wait()
		if got := offsets(t, again.answer()[0]); !reflect.DeepEqual(got, []int64{0, 5}) {
			t.Errorf("batches at %v", got)
		}
	})
}

func TestAStoreThatFailsIsNoErrorAndNoStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, p, store := tieredKit(t)
		store.err = errors.New("bucket is down")
		began := time.Now()
		f := k.fetch(long(1, ask(p, 0)))
		res := (<-f.done)[0]
		if took := time.Since(began); took != time.Second {
			t.Errorf("answered after %v, want the fetch's own second", took)
		}
		if res.Err != nil || len(res.Records) > 0 {
			t.Errorf("answer %+v, want none and no error", res)
		}
		// Local data keeps flowing meanwhile.
		f = k.fetch(long(1, ask(p, 10)))
		if got := offsets(t, f.answer()[0]); !reflect.DeepEqual(got, []int64{10}) {
			t.Errorf("batches at %v", got)
		}
	})
}

// TestAFetchWhoseStoreFailsEndsWithItsClient, and with the broker: it holds nothing up for
// the wait that the client asked for.
func TestAFetchWhoseStoreFailsEndsWithItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, p, store := tieredKit(t)
		store.err = errors.New("bucket is down")
		fetch := func(ctx context.Context) chan []FetchResult {
			done := make(chan []FetchResult, 1)
			params := &FetchParams{MaxWait: 24 * time.Hour, MinBytes: 1, MaxBytes: 1 << 20, Partitions: []FetchPartition{ask(p, 0)}}
			k.Fetch(ctx, params, func(res []FetchResult) { done <- res })
			synctest.Wait()
			if len(done) > 0 {
				t.Error("answered at once")
			}
			return done
		}
		ctx, leave := context.WithCancel(t.Context())
		gone, stays := fetch(ctx), fetch(t.Context())
		leave()
		synctest.Wait()
		if len(gone) != 1 || <-gone != nil || len(stays) != 0 {
			t.Error("the client has gone and its fetch has not")
		}
		k.Close()
		synctest.Wait()
		if len(stays) != 1 {
			t.Error("the broker is closed and the fetch waits")
		}
	})
}

// purse is a payer with or without credit.
type purse struct {
	credit bool
	asked  int
}

func (p *purse) MayPay() bool { p.asked++; return p.credit }
func (p *purse) Pay(int64)    {}

// TestA9AFetchWithoutCreditHasWhatIsLocal: a client over its quota of the object store is answered
// at once, with the records on local disk; what the others would take of the answer is theirs.
func TestA9AFetchWithoutCreditHasWhatIsLocal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, p, store := tieredKit(t)
		cold, hot := ask(p, 0), ask(p, 10)
		poor := &purse{}
		params := long(1<<20, cold, hot, cold)
		params.Payer, params.MaxBytes = poor, cold.MaxBytes
		res := k.fetch(params).answer()
		if got := offsets(t, res[1]); !reflect.DeepEqual(got, []int64{10}) {
			t.Errorf("batches of the local log at %v", got)
		}
		if r := res[0]; len(r.Records) > 0 || r.Err != nil || r.HighWatermark != 15 {
			t.Errorf("of the store: %+v, want nothing, and no error", r)
		}
		if store.reads != 0 || poor.asked != 1 {
			t.Errorf("%d reads of the store, asked for credit %d times", store.reads, poor.asked)
		}
		rich := &purse{credit: true}
		params = long(1, cold)
		params.Payer = rich
		f := k.fetch(params)
		synctest.Wait()
		if got := offsets(t, f.answer()[0]); len(got) == 0 || got[0] != 0 {
			t.Errorf("with credit: batches at %v", got)
		}
		local := long(1, hot)
		local.Payer = rich
		k.fetch(local).answer()
		if rich.asked != 1 {
			t.Errorf("asked for credit %d times, want once: a local read needs none", rich.asked)
		}
	})
}

// TestA9UploadsThatABatchCauses are its bytes in a tiered topic, once.
func TestA9UploadsThatABatchCauses(t *testing.T) {
	k, p, _ := tieredKit(t)
	local := k.create(newTopic("local"))
	frozen := k.create(newTopic("frozen", "remote.storage.enable", "true", "remote.log.copy.disable", "true"))
	b := k.records(5)
	for _, tt := range []struct {
		to   *Partition
		want int64
	}{{p, int64(len(b))}, {local, 0}, {frozen, 0}} {
		if res := k.produce(tt.to, 5); res.Uploads != tt.want {
			t.Errorf("%s: %d bytes of uploads, want %d", tt.to.tp, res.Uploads, tt.want)
		}
	}
}

func TestCorruptRemoteBytesAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, p, store := tieredKit(t)
		store.err = fmt.Errorf("chunk 3: %w", kafka.ErrCorrupt)
		f := k.fetch(long(1, ask(p, 0)))
		synctest.Wait()
		if res := f.answer()[0]; kafka.Code(res.Err) != kafka.CorruptMessage {
			t.Errorf("answer %+v", res)
		}
	})
}

func TestF4BelowTheRemoteStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, p, store := tieredKit(t)
		store.view.Start = 5
		res := k.fetch(long(1, ask(p, 4))).answer()[0]
		if !errors.Is(res.Err, kafka.OffsetOutOfRange) || res.LogStart != 5 {
			t.Errorf("answer %+v", res)
		}
	})
}

// offsetAt is the answer to one query, which waits for the store where it must.
func offsetAt(t testing.TB, p *Partition, tsMs int64) int64 {
	t.Helper()
	off, _, _, err := p.ListOffset(t.Context(), tsMs, false, kafka.NoEpoch)
	if err != nil {
		t.Fatal(err)
	}
	return off
}

func TestF12OffsetsOfTheTiers(t *testing.T) {
	_, p, store := tieredKit(t)
	for _, known := range []bool{true, false} {
		store.known = known
		for ts, want := range map[int64]int64{Latest: 15, Earliest: 0, EarliestLocal: 10, LatestTiered: 9, EarliestPendingUpload: 10} {
			if got := offsetAt(t, p, ts); got != want {
				t.Errorf("manifest known %v: query %d answers %d, want %d", known, ts, got, want)
			}
		}
	}
}

func TestF12OffsetsWithoutTiers(t *testing.T) {
	k := newKit(t)
	p := k.create(newTopic("t"))
	k.produce(p, 5)
	for ts, want := range map[int64]int64{Latest: 5, Earliest: 0, EarliestLocal: 0, LatestTiered: -1, EarliestPendingUpload: -1} {
		if got := offsetAt(t, p, ts); got != want {
			t.Errorf("query %d answers %d, want %d", ts, got, want)
		}
	}
}

func TestF12NothingTieredYet(t *testing.T) {
	k := newKit(t)
	k.withTier(&fakeTier{fs: k.fs})
	p := k.create(newTopic("t", "remote.storage.enable", "true"))
	k.produce(p, 5)
	for ts, want := range map[int64]int64{Earliest: 0, EarliestLocal: 0, LatestTiered: -1, EarliestPendingUpload: 0} {
		if got := offsetAt(t, p, ts); got != want {
			t.Errorf("query %d answers %d, want %d", ts, got, want)
		}
	}
}

func TestF11OffsetsByTime(t *testing.T) {
	k, p, _ := tieredKit(t) // offsets 0 to 9 are a second older than 10 to 14
	for ts, want := range map[int64]int64{
		0: 0, k.nowMs - 1000: 0, k.nowMs - 999: 10, k.nowMs: 10, k.nowMs + 1: -1, MaxTimestamp: 10,
	} {
		if got := offsetAt(t, p, ts); got != want {
			t.Errorf("time %d: offset %d, want %d", ts, got, want)
		}
	}
}

func TestF11NothingAboveTheHighWatermarkIsFound(t *testing.T) {
	k := newKit(t)
	p := k.create(pair())
	k.produce(p, 2)
	if got := offsetAt(t, p, 0); got != -1 {
		t.Errorf("offset %d, want none", got)
	}
	p.ObserveFollower(8, 2)
	if got := offsetAt(t, p, 0); got != 0 {
		t.Errorf("offset %d, want 0", got)
	}
}

func TestF11ASlowStoreTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, p, store := tieredKit(t)
		stuck := &stuckTier{fakeTier: store}
		p.lead.remote = stuck
		answers := make(chan []OffsetResult, 1)
		k.ListOffsets(t.Context(), []OffsetQuery{
			{Topic: "t", TimestampMs: 0, CurrentLeaderEpoch: kafka.NoEpoch},
			{Topic: "t", TimestampMs: Latest, CurrentLeaderEpoch: kafka.NoEpoch},
			{Topic: "none", TimestampMs: Latest, CurrentLeaderEpoch: kafka.NoEpoch},
		}, false, time.Second, func(res []OffsetResult) { answers <- res })
		synctest.Wait()
		if len(answers) > 0 {
			t.Fatalf("answered at once: %+v", <-answers)
		}
		got := <-answers
		if len(got) != 3 || !errors.Is(got[0].Err, kafka.RequestTimedOut) || got[1].Offset != 15 || !errors.Is(got[2].Err, kafka.UnknownTopicOrPartition) {
			t.Errorf("answers %+v", got)
		}
	})
}

// stuckTier never finds an offset by time.
type stuckTier struct{ *fakeTier }

func (stuckTier) OffsetForTime(ctx context.Context, _ int64) (int64, int64, int32, bool, error) {
	<-ctx.Done()
	return 0, 0, 0, false, ctx.Err()
}

// restarted is a topic as an image of a later process of the broker shows it.
func restarted() *metadata.Topic {
	topic := newTopic("t", "remote.storage.enable", "true")
	topic.Partitions[0].LeaderEpoch = 1
	return topic
}

func TestALostLogStartsBehindTheManifest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		store := &fakeTier{fs: k.fs, view: tiered.View{Start: 20, Next: 100, Segments: 3}}
		k.withTier(store)
		p := k.create(restarted())
		if _, err := p.Append(k.records(1), AppendOptions{Acks: 1}); !kafka.Code(err).Retriable() {
			t.Errorf("the first append: %v, want a retriable error", err)
		}
		synctest.Wait()
		if got := offsetAt(t, p, Latest); got != 100 {
			t.Errorf("the log ends at %d, want 100", got)
		}
		if got := offsetAt(t, p, Earliest); got != 20 {
			t.Errorf("the log starts at %d, want 20", got)
		}
		if res := k.produce(p, 1); res.Base != 100 {
			t.Errorf("appended at %d, want 100", res.Base)
		}
		if store.loads != 1 {
			t.Errorf("the manifest was read %d times", store.loads)
		}
	})
}

func TestALostLogRefusesAppendsWhileTheStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		store := &fakeTier{fs: k.fs, err: errors.New("bucket is down"), view: tiered.View{Next: 100, Segments: 1}}
		k.withTier(store)
		p := k.create(restarted())
		other := newTopic("other")
		other.Partitions[0].LeaderEpoch = 1
		k.produce(k.create(other), 1) // that partition alone
		for range 10 {
			if _, err := p.Append(k.records(1), AppendOptions{Acks: 1}); kafka.Code(err) != kafka.KafkaStorageError {
				t.Errorf("append: %v", err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		if store.loads != 2 {
			t.Errorf("the manifest was asked for %d times in a second, want 2", store.loads)
		}
		store.mu.Lock()
		store.err = nil
		store.mu.Unlock()
		time.Sleep(healRetry)
		_, _ = p.Append(k.records(1), AppendOptions{Acks: 1})
		synctest.Wait()
		if res := k.produce(p, 1); res.Base != 100 {
			t.Errorf("appended at %d, want 100", res.Base)
		}
	})
}

func TestALostLogWithoutManifestStartsAtZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		k.withTier(&fakeTier{fs: k.fs})
		p := k.create(restarted())
		_, _ = p.Append(k.records(1), AppendOptions{Acks: 1})
		synctest.Wait()
		if res := k.produce(p, 1); res.Base != 0 {
			t.Errorf("appended at %d, want 0", res.Base)
		}
	})
}

func TestANewPartitionAsksNoStore(t *testing.T) {
	k := newKit(t)
	store := &fakeTier{fs: k.fs, err: errors.New("bucket is down")}
	k.withTier(store)
	k.produce(k.create(newTopic("t", "remote.storage.enable", "true")), 1)
	if store.loads != 0 {
		t.Errorf("the manifest was read %d times", store.loads)
	}
}

func TestT4ALostCheckpointDoesNotMoveTheLogStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, p, store := tieredKit(t)
		if err := p.Log().SetStart(10); err != nil { // as a log that knows its own files only
			t.Fatal(err)
		}
		store.known = false
		if got := offsetAt(t, p, Earliest); got != 0 {
			t.Errorf("the log starts at %d, want 0", got)
		}
		store.known = false
		f := k.fetch(long(1, ask(p, 0)))
		synctest.Wait()
		if got := offsets(t, f.answer()[0]); !reflect.DeepEqual(got, []int64{0, 5}) {
			t.Errorf("batches at %v", got)
		}
	})
}

func TestTheTierIsLeftWithTheLeadership(t *testing.T) {
	k := newKit(t)
	stopped := k.withTier(&fakeTier{fs: k.fs})
	topic := newTopic("t", "remote.storage.enable", "true")
	k.create(topic)
	k.apply(changed(topic, func(part *metadata.Partition) { part.Leader, part.LeaderEpoch = 8, 1 }))
	if *stopped != 1 {
		t.Errorf("stopped %d times, want once", *stopped)
	}
	k.apply(&metadata.Delta{Deleted: []*metadata.Topic{topic}})
	if *stopped != 1 {
		t.Errorf("stopped %d times, want once", *stopped)
	}
}

func TestServedBytesAreCountedByLayer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, p, store := tieredKit(t)
		f := k.fetch(long(1, ask(p, 0), ask(p, 10)))
		synctest.Wait()
		res := f.answer()
		want := [2]int64{res[1].bytes(), int64(len(store.batches[0]) + len(store.batches[1]))}
		local, remote := k.Served()
		if got := [2]int64{local, remote}; got != want || local == 0 {
			t.Errorf("served %v, want %v", got, want)
		}
		for i := range res {
			res[i].release()
		}
	})
}
