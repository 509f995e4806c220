package tiered

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/fault"
	"github.com/varve-io/varve/objstore/mem"
	"github.com/varve-io/varve/tiered/manifest"
)

func TestUploadEvictRead(t *testing.T) {
	r := newRig(t)
	r.tick()
	if n := len(r.bucket.Calls()); n != 0 {
		t.Fatalf("an empty partition cost %d requests", n)
	}
	r.produce(5)
	r.tick()
	v := r.p.View()
	if !v.Known || !v.Owned || v.Segments != 5 || v.Start != 0 || v.HighestRemote != v.Next-1 || r.log.State().HighestRemote != v.HighestRemote {
		t.Fatalf("%+v", v)
	}
	if rep := r.exact(); rep.Segments != 5 || rep.Versions != 2 {
		t.Fatalf("%+v", rep)
	}
	n, err := r.p.EvictLocal(1 << 40)
	r.check(err)
	if n != 5 || r.log.LocalStart() != v.Next {
		t.Fatalf("%d segments evicted, local start %d, remote next %d", n, r.log.LocalStart(), v.Next)
	}
	got := r.remote()
	if !bytes.Equal(got, r.want[:len(got)]) || int64(len(got)) != v.Bytes {
		t.Fatal("other bytes came back")
	}
	if want := []string{"uploaded 0"}; !slices.Equal(r.events()[:1], want) {
		t.Fatal(r.events())
	}
	calls := len(r.bucket.Calls())
	r.remote()
	r.tick()
	for _, c := range r.bucket.Calls()[calls:] {
		if c.Op == fault.GetRange {
			t.Fatalf("a second read asked the store for %s", c.Key)
		}
	}
}

func TestReadEdges(t *testing.T) {
	r := newRig(t)
	r.produce(3)
	r.tick()
	next := r.p.View().Next
	for _, off := range []int64{-1, next, next + 5} {
		if _, err := r.p.Read(t.Context(), off, 100, true); !errors.Is(err, kafka.OffsetOutOfRange) {
			t.Errorf("offset %d: %v", off, err)
		}
	}
	got, err := r.p.Read(t.Context(), 13, 1, false)
	r.check(err)
	if len(got.Ranges) != 0 {
		t.Error("a batch that does not fit was returned")
	}
	got, err = r.p.Read(t.Context(), 13, 1, true)
	r.check(err)
	if raw := readAll(t, got); got.Base != 8 || len(raw) < 8*200 || !bytes.Contains(r.want, raw) {
		t.Errorf("base %d, %d bytes", got.Base, len(raw))
	}
}

func TestOffsetForTime(t *testing.T) {
	r := newRig(t)
	r.produce(4)
	r.tick()
	next := r.p.View().Next
	for _, off := range []int64{0, 1, 7, 8, 100, next - 1} {
		got, ts, epoch, ok, err := r.p.OffsetForTime(t.Context(), startMs+off)
		if err != nil || !ok || got != off || ts != startMs+off || epoch != 1 {
			t.Errorf("time of offset %d: %d, %d, %d, %v, %v", off, got, ts, epoch, ok, err)
		}
	}
	if _, _, _, ok, err := r.p.OffsetForTime(t.Context(), startMs+next); ok || err != nil {
		t.Error("a time above the remote part was found", err)
	}
	r.check(r.p.Expire(t.Context(), 13))
	if got, _, _, ok, err := r.p.OffsetForTime(t.Context(), 0); got != 13 || !ok || err != nil {
		t.Error("below the start:", got, ok, err)
	}
}

// TestOffsetForTimeInABatchThatDoesNotDecode: what validation by header lets in is no damage.
func TestOffsetForTimeInABatchThatDoesNotDecode(t *testing.T) {
	r := newRig(t)
	r.produce(1)
	var b batch.Builder
	b.Append(nil, []byte("value"), nil, startMs+1_000_000)
	junk := b.Bytes()
	junk[22] |= byte(batch.Zstd)
	binary.BigEndian.PutUint32(junk[17:], batch.Checksum(junk))
	h, err := batch.ParseHeader(junk)
	r.check(err)
	a, err := r.log.Append(junk, h, r.epoch)
	r.check(err)
	r.produce(2)
	r.tick()
	if off, ts, _, ok, err := r.p.OffsetForTime(t.Context(), startMs+999_999); off != a.BaseOffset || ts != startMs+1_000_000 || !ok || err != nil {
		t.Errorf("offset %d, time %d, %v, %v; want %d", off, ts, ok, err, a.BaseOffset)
	}
}

// TestRestart: a new incarnation in a higher epoch takes over where the old one was (T4, T25).
func TestRestart(t *testing.T) {
	r := newRig(t)
	r.produce(3)
	r.tick()
	old := r.p
	r.epoch = 2
	r.start(kafka.UUID{0x22})
	if r.p.View().Known {
		t.Fatal("known before it was read")
	}
	v, err := r.p.Load(t.Context())
	r.check(err)
	if v.Segments != 3 || v.Owned || v.Start != 0 {
		t.Fatalf("%+v", v)
	}
	r.produce(2)
	r.tick()
	if v := r.p.View(); v.Segments != 5 || !v.Owned || v.OwnerEpoch != 2 {
		t.Fatalf("%+v", v)
	}
	r.exact()
	if err := old.Expire(t.Context(), 100); !errors.Is(err, ErrFenced) {
		t.Fatal(err)
	}
	if v := old.View(); !v.Fenced || v.Owned {
		t.Fatalf("%+v", v)
	}
	if n, err := old.EvictLocal(1 << 40); n != 0 || err != nil {
		t.Fatal("a fenced leader evicted", n, err)
	}
	r.exact()
}

// TestCopiedDataDir: the same epoch under another incarnation is fenced, loudly and once.
func TestCopiedDataDir(t *testing.T) {
	r := newRig(t)
	r.produce(2)
	r.tick()
	r.start(kafka.UUID{0x22})
	r.produce(1)
	r.tick()
	r.tick()
	if v := r.p.View(); !v.Fenced {
		t.Fatalf("%+v", v)
	}
	if n := strings.Count(strings.Join(r.events(), ";"), "fenced"); n != 1 {
		t.Fatalf("fenced was reported %d times: %v", n, r.events())
	}
}

// TestLostFiles: a log that lost its files learns where to go on, with epochs and producers.
func TestLostFiles(t *testing.T) {
	r := newRig(t)
	r.produce(3)
	r.tick()
	next := r.p.View().Next
	r.freshDisk()
	r.epoch = 2
	r.start(kafka.UUID{0x22})
	tail, err := r.p.Tail(t.Context())
	r.check(err)
	if tail.Next != next || len(tail.ProducerSnapshot) == 0 || len(tail.Epochs) != 1 || tail.Epochs[0].Epoch != 1 {
		t.Fatalf("%+v", tail)
	}
	r.check(r.log.ResetTo(tail.Next))
	r.check(r.log.Adopt(tail.Epochs, tail.ProducerSnapshot))
	r.want = r.want[:len(r.remote())]
	r.produce(2)
	r.tick()
	if got := r.remote(); !bytes.Equal(got, r.want[:len(got)]) || r.p.View().Segments != 5 {
		t.Fatalf("%d of %d bytes, %+v", len(got), len(r.want), r.p.View())
	}
	r.exact()
}

// TestShorterLog is T5: a log that ends below the manifest, or has another history, is
// detected, and nothing is interleaved.
func TestShorterLog(t *testing.T) {
	r := newRig(t)
	r.produce(3)
	r.tick()
	r.freshDisk()
	r.epoch = 2
	r.start(kafka.UUID{0x22})
	r.produce(1)
	if err := r.m.Tick(t.Context(), r.p); !errors.Is(err, ErrDiverged) {
		t.Fatal(err)
	}
	r.produce(5) // past the manifest's end, in another epoch
	if err := r.m.Tick(t.Context(), r.p); !errors.Is(err, ErrDiverged) {
		t.Fatal(err)
	}
	if rep := r.exact(); rep.Segments != 3 {
		t.Fatalf("%+v", rep)
	}
	if !slices.Contains(r.events(), "diverged") {
		t.Fatal(r.events())
	}
	r.check(r.p.Truncate(t.Context(), 0))
	r.tick()
	v := r.p.View()
	if v.Segments != 6 || v.Pending != 3 {
		t.Fatalf("%+v", v)
	}
	if rep := r.report(); !rep.OK() || rep.Pending != 3 || len(r.keys(".vseg")) != 9 {
		t.Fatalf("the cut objects must stay for now: %+v", rep)
	}
	r.nowMs.Add((8 * 24 * time.Hour).Milliseconds())
	r.tick()
	r.exact()
}

// TestExpire: the two phases of a deletion, and one key that the store will not delete (T36, T13).
func TestExpire(t *testing.T) {
	r := newRig(t)
	r.cfg.TierDeleteGraceMs = 60_000
	r.produce(4)
	r.tick()
	h := r.p.Manifest()
	start := h.Segments[1].Next + 5
	r.check(r.p.Expire(t.Context(), start))
	if v := r.p.View(); v.Start != start || v.Segments != 2 || v.Pending != 2 || r.log.LogStart() != start {
		t.Fatalf("%+v, log start %d", v, r.log.LogStart())
	}
	r.tick()
	if n := len(r.keys(".vseg")); n != 4 {
		t.Fatalf("%d objects within the grace", n)
	}
	if _, err := r.p.Read(t.Context(), start-1, 100, true); !errors.Is(err, kafka.OffsetOutOfRange) {
		t.Fatal(err)
	}
	got, err := r.p.Read(t.Context(), start, 100, true)
	r.check(err)
	got.Release()
	r.nowMs.Add(60_000)
	r.bucket.Add(fault.Rule{Op: fault.Delete, Key: testID.SegmentKey(h.Segments[1]), Times: 1, Do: fault.Fail(objstore.ErrTransient)})
	r.check(r.p.do(t.Context(), r.p.deleteJob()))
	if v := r.p.View(); v.Pending != 1 {
		t.Fatalf("%+v", v)
	}
	r.tick()
	r.exact()
	if err := r.p.Expire(t.Context(), 0); err != nil || r.p.View().Start != start {
		t.Fatal("the start moved down", err)
	}
}

// TestExpireBeyondRemote is T19: the start moves past what was uploaded; the copy goes on
// with the segment that holds it.
func TestExpireBeyondRemote(t *testing.T) {
	r := newRig(t)
	r.produce(2)
	r.tick()
	r.produce(3)
	start := r.log.Segments()[3].Base + 3
	r.check(r.p.Expire(t.Context(), start))
	r.tick()
	h := r.p.Manifest()
	if len(h.Segments) != 2 || h.Start != start || h.Segments[0].Base != start-3 {
		t.Fatalf("%+v", h)
	}
	r.exact()
}

// TestNoClaimNoRetention is T1: while the claim fails nothing is deleted or evicted.
func TestNoClaimNoRetention(t *testing.T) {
	r := newRig(t)
	r.produce(3)
	r.tick()
	r.epoch = 2
	r.start(kafka.UUID{0x22})
	if n, err := r.p.EvictLocal(1 << 40); n != 0 || err != nil {
		t.Fatal("evicted without a claim", n, err)
	}
	r.bucket.Add(fault.Rule{Op: fault.Put, Key: "/manifest/", Do: fault.Fail(objstore.ErrThrottled)})
	if err := r.p.Expire(t.Context(), 1<<20); !errors.Is(err, objstore.ErrThrottled) && err == nil {
		t.Fatal(err)
	}
	if rep := r.exact(); rep.Segments != 3 || rep.Start != 0 || r.log.LogStart() != 0 {
		t.Fatalf("%+v", rep)
	}
	if _, err := r.p.Load(t.Context()); err == nil {
		t.Fatal("an unsettled commit was left behind")
	}
	r.bucket.Clear()
	if _, err := r.p.Load(t.Context()); err != nil || r.p.View().Segments != 3 {
		t.Fatal(err)
	}
}

// TestFailures runs an upload against every kind of failure at every call (T12, T20, T23,
// T29, T34): it ends exact, with every segment once.
func TestFailures(t *testing.T) {
	actions := map[string]fault.Action{
		"lost":      fault.LoseReply(),
		"settled":   fault.LoseReplySettled(),
		"throttled": fault.Fail(objstore.ErrThrottled),
		"transient": fault.Fail(objstore.ErrTransient),
		"ambiguous": fault.Fail(objstore.ErrAmbiguous),
		"denied":    fault.Fail(objstore.ErrAccessDenied),
		"conflict":  fault.Fail(objstore.ErrConflict),
	}
	clean := newRig(t)
	clean.produce(3)
	clean.tick()
	calls := len(clean.bucket.Calls())
	for name, act := range actions {
		for skip := range calls {
			r := newRig(t)
			r.bucket.Add(fault.Rule{Skip: skip, Times: 1, Do: act})
			r.produce(3)
			for range 5 {
				_ = r.m.Tick(t.Context(), r.p)
			}
			r.check(r.p.CleanUp(t.Context()))
			r.check(r.p.CleanUp(t.Context()))
			if rep := r.exact(); rep.Segments != 3 {
				t.Fatalf("%s at call %d: %+v", name, skip, rep)
			}
			if got := r.remote(); !bytes.Equal(got, r.want[:len(got)]) {
				t.Fatalf("%s at call %d: other bytes came back", name, skip)
			}
			_ = r.m.Close()
		}
	}
}

// TestOutage is T10: the bucket is out of reach from the start; nothing is lost and the
// work goes on when it is back.
func TestOutage(t *testing.T) {
	r := newRig(t)
	r.bucket.Add(fault.Rule{Do: fault.Fail(objstore.ErrTransient)})
	r.produce(2)
	for range 3 {
		if err := r.m.Tick(t.Context(), r.p); !errors.Is(err, objstore.ErrTransient) {
			t.Fatal(err)
		}
	}
	r.p.mu.Lock()
	failures, wait := r.p.mu.failures, time.Until(r.p.mu.notBefore)
	r.p.mu.Unlock()
	if failures != 3 || wait <= 0 || r.p.enqueue(false) {
		t.Fatalf("%d failures, next look in %v", failures, wait)
	}
	if _, err := r.p.Read(t.Context(), 0, 100, true); kafka.Code(err) != kafka.KafkaStorageError {
		t.Fatal("readers get a retriable code:", err)
	}
	if n, _ := r.p.EvictLocal(1 << 40); n != 0 {
		t.Fatal("evicted what was never uploaded")
	}
	r.bucket.Clear()
	r.tick()
	if r.exact().Segments != 2 {
		t.Fatal("not uploaded")
	}
}

// TestHungStore is T21: a store that takes a request and never answers holds nothing for ever.
func TestHungStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.produce(1)
		gate := fault.NewGate()
		r.bucket.Add(fault.Rule{Op: fault.Put, Key: ".vseg", Times: 1, Do: fault.Stall(gate)})
		start := time.Now()
		if err := r.m.Tick(t.Context(), r.p); err == nil {
			t.Fatal("a hung upload succeeded")
		}
		if d := time.Since(start); d != 15*time.Minute {
			t.Fatalf("gave up after %v", d)
		}
		gate.Release()
		r.tick()
		r.exactAfterCleanUp()
		r.check(r.m.Close())
	})
}

func (r *rig) exactAfterCleanUp() Report {
	r.t.Helper()
	r.check(r.p.CleanUp(r.t.Context()))
	r.check(r.p.CleanUp(r.t.Context()))
	return r.exact()
}

// TestSilentCorruption: the store keeps other bytes than it was given and says nothing;
// the upload does not commit them, and a reader never sees flipped bits.
func TestSilentCorruption(t *testing.T) {
	r := newRig(t)
	r.produce(2)
	r.bucket.Add(fault.Rule{Op: fault.GetRange, Key: ".vseg", Times: 1, Do: fault.FlipBit(8*16_700 + 3)})
	_ = r.m.Tick(t.Context(), r.p)
	r.tick()
	if r.exactAfterCleanUp().Segments != 2 {
		t.Fatal("not uploaded")
	}
	r.bucket.Clear()
	h := r.p.Manifest()
	r.bucket.Add(fault.Rule{Op: fault.GetRange, Key: ".vseg", Times: 1, Do: fault.FlipBit(8 * 100)})
	if got := r.remote(); !bytes.Equal(got, r.want[:len(got)]) {
		t.Fatal("other bytes came back")
	}
	r.m.cache.DropPrefix("")
	key := testID.SegmentKey(h.Segments[0])
	r.damage(key, 5_000)
	if _, err := r.p.Read(t.Context(), 0, 100, true); !errors.Is(err, kafka.ErrCorrupt) || !strings.Contains(err.Error(), "block 0") {
		t.Fatal(err)
	}
	if rep := r.report(); rep.OK() || !strings.Contains(rep.Faults[0], key) {
		t.Fatalf("%+v", rep)
	}
	r.check(r.store.Delete(t.Context(), key))
	r.m.cache.DropPrefix("")
	if _, err := r.p.Read(t.Context(), 0, 100, true); !errors.Is(err, kafka.ErrCorrupt) {
		t.Fatal(err)
	}
	if rep := r.report(); rep.OK() || !strings.Contains(rep.Faults[0], "missing") {
		t.Fatalf("%+v", rep)
	}
}

// TestCrashBetweenPutAndCommit is T2: what was uploaded and not committed counts nowhere.
func TestCrashBetweenPutAndCommit(t *testing.T) {
	r := newRig(t)
	r.produce(1)
	r.tick()
	r.produce(1)
	r.bucket.Add(fault.Rule{Op: fault.Put, Key: "/manifest/", Do: fault.Fail(objstore.ErrTransient)}, fault.Rule{Op: fault.Open, Key: "/manifest/", Do: fault.Fail(objstore.ErrTransient)})
	if err := r.m.Tick(t.Context(), r.p); err == nil {
		t.Fatal("committed through a broken bucket")
	}
	bytesBefore := r.p.View().Bytes
	r.bucket.Clear()
	r.epoch = 2
	r.start(kafka.UUID{0x22})
	v, err := r.p.Load(t.Context())
	r.check(err)
	if v.Segments != 1 || v.Bytes != bytesBefore || len(r.keys(".vseg")) != 2 {
		t.Fatalf("%+v", v)
	}
	r.tick()
	if rep := r.exactAfterCleanUp(); rep.Segments != 2 {
		t.Fatalf("%+v", rep)
	}
}

// TestPinnedReader is T31: a reader whose manifest has aged past the grace reads the newer
// one, and learns that the offset is gone.
func TestPinnedReader(t *testing.T) {
	r := newRig(t)
	r.produce(3)
	r.tick()
	owner := r.p
	follower := newPartition(r.m, r)
	_, err := follower.Load(t.Context())
	r.check(err)
	start := r.p.Manifest().Segments[1].Base
	r.check(owner.Expire(t.Context(), start))
	r.tick()
	r.m.cache.DropPrefix("")
	if _, err := follower.Read(t.Context(), 0, 100, true); !errors.Is(err, kafka.OffsetOutOfRange) {
		t.Fatal(err)
	}
	if v := follower.View(); v.Start != start {
		t.Fatalf("%+v", v)
	}
}

func TestChoose(t *testing.T) {
	r := newRig(t)
	r.produce(3)
	r.tick()
	r.produce(3)
	h := r.p.Manifest()
	o := r.p.offer()
	for name, c := range map[string]struct {
		edit func(*offer)
		want int
	}{
		"all":                 {func(o *offer) {}, 3},
		"stable end":          {func(o *offer) { o.stableEnd = o.segments[4].Next }, 2},
		"inside a segment":    {func(o *offer) { o.stableEnd = o.segments[4].Next - 1 }, 1},
		"too young":           {func(o *offer) { o.lagMs, o.nowMs = 1000, startMs }, 0},
		"old enough":          {func(o *offer) { o.lagMs, o.nowMs = 1000, startMs+1_000_000 }, 3},
		"followed by enough":  {func(o *offer) { o.lagMs, o.lagBytes = -1, o.segments[5].SizeBytes+1 }, 2},
		"not by enough":       {func(o *offer) { o.lagMs, o.lagBytes = -1, 1<<30 }, 0},
		"never":               {func(o *offer) { o.lagMs, o.lagBytes = -1, -1 }, 0},
		"retention of max":    {func(o *offer) { o.lagMs, o.lagBytes = 1<<63-1, -1 }, 0},
		"shorter than remote": {func(o *offer) { o.logEnd = h.Next - 1 }, -1},
		"another epoch":       {func(o *offer) { o.epochAt = func(int64) int32 { return 7 } }, -1},
		"unknown epoch":       {func(o *offer) { o.epochAt = func(int64) int32 { return kafka.NoEpoch } }, 3},
	} {
		o := o
		o.lagMs, o.lagBytes = 0, -1
		c.edit(&o)
		pick, n, _, err := o.choose(h)
		switch {
		case c.want < 0 && !errors.Is(err, ErrDiverged), c.want == 0 && !errors.Is(err, errNothing):
			t.Errorf("%s: %v", name, err)
		case c.want > 0 && (err != nil || n != c.want || pick.Base != h.Next):
			t.Errorf("%s: picked %d of %d, %v", name, pick.Base, n, err)
		}
	}
}

func TestCopyState(t *testing.T) {
	r := newRig(t)
	r.check(r.p.SetCopyState(t.Context(), manifest.CopyPaused))
	r.produce(1)
	r.cfg.RemoteLogCopyDisable = true
	r.tick()
	if len(r.keys("")) != 0 {
		t.Fatal("copied although it is disabled")
	}
	r.cfg.RemoteLogCopyDisable = false
	r.tick()
	r.check(r.p.SetCopyState(t.Context(), manifest.CopyPaused))
	r.produce(1)
	r.tick()
	if r.exact().Segments != 1 {
		t.Fatal("copied although it is paused")
	}
	r.check(r.p.SetCopyState(t.Context(), manifest.CopyActive))
	r.tick()
	if r.exact().Segments != 2 {
		t.Fatal("not resumed")
	}
}

func TestTopicObjects(t *testing.T) {
	r := newRig(t)
	topic := TopicObject{TopicID: testTopic, Version: 1, Name: "orders", Partitions: 4, ReplicationFactor: 1, Configs: map[string]string{"retention.ms": "1"}}
	r.check(r.m.WriteTopic(t.Context(), topic))
	r.nowMs.Add(5)
	r.check(r.m.WriteTopic(t.Context(), topic))
	other := topic
	other.Partitions = 5
	if err := r.m.WriteTopic(t.Context(), other); !errors.Is(err, kafka.InvalidUpdateVersion) {
		t.Fatal(err)
	}
	other.Version = 2
	r.check(r.m.WriteTopic(t.Context(), other))
	got, err := Topic(t.Context(), r.store, testCluster.String(), testTopic)
	r.check(err)
	if got.Version != 2 || got.Partitions != 5 || got.Name != "orders" {
		t.Fatalf("%+v", got)
	}
	r.produce(3)
	r.tick()
	ids, err := Partitions(t.Context(), r.store, testCluster.String())
	r.check(err)
	if !slices.Equal(ids, []manifest.ID{testID}) {
		t.Fatal(ids)
	}
	r.check(r.p.Purge(t.Context()))
	if err := r.p.Claim(t.Context()); !errors.Is(err, kafka.NotLeaderOrFollower) {
		t.Fatal("a purged partition still works:", err)
	}
	r.bucket.Add(fault.Rule{Op: fault.Delete, Times: 1, Do: fault.Fail(objstore.ErrTransient)})
	_, err = r.store.Put(t.Context(), testID.Prefix()+"s/stray", objstore.Bytes([]byte("x")), objstore.PutOpts{})
	r.check(err)
	if err := r.m.PurgeTopic(t.Context(), testTopic); err == nil {
		t.Fatal("a failed delete went unnoticed")
	}
	r.check(r.m.PurgeTopic(t.Context(), testTopic))
	got, err = Topic(t.Context(), r.store, testCluster.String(), testTopic)
	r.check(err)
	if got.State != manifest.TopicPurged || len(r.keys("")) != len(r.keys("/topic/")) {
		t.Fatalf("%+v, %v", got, r.keys(""))
	}
	r.check(r.m.PurgeTopic(t.Context(), testTopic))
}

// unfenced is a store that ignores conditions.
type unfenced struct{ objstore.Bucket }

func (u unfenced) Put(ctx context.Context, key string, src objstore.Source, o objstore.PutOpts) (objstore.Attrs, error) {
	o.IfAbsent = false
	return u.Bucket.Put(ctx, key, src, o)
}

func TestCanary(t *testing.T) {
	r := newRig(t)
	r.check(r.m.Canary(t.Context()))
	if len(r.keys("")) != 0 {
		t.Fatal(r.keys(""))
	}
	o := r.options(kafka.UUID{0x33})
	o.Bucket = unfenced{r.store}
	m, err := New(o)
	r.check(err)
	defer m.Close()
	if err := m.Canary(t.Context()); !errors.Is(err, ErrNoFence) {
		t.Fatal(err)
	}
	r.bucket.Add(fault.Rule{Do: fault.Fail(objstore.ErrAccessDenied)})
	if err := r.m.Canary(t.Context()); !errors.Is(err, objstore.ErrAccessDenied) {
		t.Fatal(err)
	}
}

// TestRun: the loop copies by itself, is woken, and ends with its context.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { r.m.Run(ctx); close(done) }()
		r.produce(40)
		<-time.After(31 * time.Second)
		synctest.Wait()
		if v := r.p.View(); v.Segments != 40 {
			t.Fatalf("%+v", v)
		}
		r.produce(1)
		r.m.Wake(r.p)
		synctest.Wait()
		if v := r.p.View(); v.Segments != 41 {
			t.Fatalf("not woken: %+v", v)
		}
		r.m.Stop(testTopic, 3)
		r.produce(1)
		<-time.After(time.Minute)
		synctest.Wait()
		if v := r.p.View(); v.Segments != 41 {
			t.Fatalf("copied after Stop: %+v", v)
		}
		cancel()
		<-done
		r.check(r.m.Close())
	})
}

// TestMetrics: the numbers an operator watches are there and move.
func TestMetrics(t *testing.T) {
	r := newRig(t)
	r.produce(3)
	r.bucket.Add(fault.Rule{Op: fault.Put, Key: ".vseg", Times: 1, Do: fault.Fail(objstore.ErrThrottled)})
	_ = r.m.Tick(t.Context(), r.p)
	families, err := r.registry.Gather()
	r.check(err)
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			got[f.GetName()] += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	for name, want := range map[string]float64{"varve_tier_upload_lag_segments": 3, "varve_tier_failing_partitions": 1, "varve_tier_failures_total": 1, "varve_tier_claims_total": 1} {
		if got[name] != want {
			t.Errorf("%s = %v, want %v", name, got[name], want)
		}
	}
}

func TestPacer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, start := newPacer(10), time.Now()
		for range 11 {
			if err := p.wait(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(start); d != time.Second {
			t.Fatal(d)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.wait(ctx, 1); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	})
}

func ExampleReport() {
	r := Report{Orphans: []string{"left over"}}
	fmt.Println(r.OK(), r.Exact())
	// Output: true false
}

// TestPowerCut: whatever an un-synced crash leaves of the local files, the log that opens
// from it never ends below the manifest, so no committed offset is given away twice.
func TestPowerCut(t *testing.T) {
	for seed := range uint64(40) {
		r := newRig(t)
		r.produce(2)
		r.tick()
		r.produce(1)
		r.append()
		r.tick()
		next := r.p.View().Next
		r.fs = r.fs.CrashClone(seed)
		state := r.log.State()
		state.RecoveryPoint, state.End = 0, 0
		r.openLog(&state)
		if end := r.log.End(); end < next {
			t.Fatalf("seed %d: the log ends at %d, the manifest at %d", seed, end, next)
		}
		r.epoch = 2
		r.start(kafka.UUID{0x22})
		r.produce(1)
		r.tick()
		if rep := r.exact(); rep.Segments < 4 {
			t.Fatalf("seed %d: %+v", seed, rep)
		}
		r.check(r.m.Close())
	}
}

// TestPurgeWaitsForUpload: an upload that was under way when its topic was deleted leaves
// nothing behind.
func TestPurgeWaitsForUpload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.produce(1)
		gate := fault.NewGate()
		r.bucket.Add(fault.Rule{Op: fault.Put, Key: ".vseg", Times: 1, Do: fault.StallReply(gate)})
		go func() { _ = r.m.Tick(t.Context(), r.p) }()
		<-gate.Arrived()
		r.m.Stop(testTopic, 3)
		r.check(r.m.PurgeTopic(t.Context(), testTopic))
		gate.Release()
		synctest.Wait()
		if left := r.keys("/3/"); len(left) != 0 {
			t.Fatal(left)
		}
		r.check(r.m.Close())
	})
}

// TestIdleCostsNothing: a tiered partition on which nothing happens makes no request, for
// as long as it stays so.
func TestIdleCostsNothing(t *testing.T) {
	r := newRig(t)
	r.produce(3)
	r.tick()
	r.tick()
	calls := len(r.bucket.Calls())
	for range 5 {
		r.append()
		r.tick()
	}
	if n := len(r.bucket.Calls()) - calls; n != 0 {
		t.Fatalf("%d requests: %v", n, r.bucket.Calls()[calls:])
	}
}

// TestA9WhoPaysForReads: the reader who has bytes fetched pays for all that the store sends, chunks
// and footers; what is in the cache costs nothing.
func TestA9WhoPaysForReads(t *testing.T) {
	r := newRig(t)
	r.produce(3)
	r.tick()
	var paid atomic.Int64
	ctx := WithPayer(t.Context(), func(bytes int64) { paid.Add(bytes) })
	seg := r.p.Manifest().Segments[0]
	for _, what := range []string{"first", "second"} {
		out, err := r.p.Read(ctx, seg.Base, seg.SizeBytes, true)
		r.check(err)
		out.Release()
		if want := min(seg.SizeBytes, r.m.o.ChunkBytes) + seg.FooterBytes; paid.Load() != want {
			t.Errorf("after the %s read %d bytes are paid for, want %d", what, paid.Load(), want)
		}
	}
}

// TestFetchRate: reads from the store wait for FetchBytesPerSecond.
func TestFetchRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket, id, s := mem.Open(t.Name()), manifest.ID{}, manifest.Segment{SizeBytes: 1000}
		if _, err := bucket.Put(t.Context(), id.SegmentKey(s), objstore.Bytes(make([]byte, s.SizeBytes)), objstore.PutOpts{}); err != nil {
			t.Fatal(err)
		}
		m := &Manager{o: Options{Bucket: bucket, ChunkBytes: 1000}, fetches: newPacer(100), copies: newPacer(0)}
		begun := time.Now()
		for _, want := range []time.Duration{0, 10 * time.Second, 20 * time.Second} {
			if err := m.chunk(id, s, nil, 0, s.SizeBytes).Fill(t.Context(), make([]byte, s.SizeBytes)); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(begun); d != want {
				t.Errorf("after %v, want %v", d, want)
			}
		}
	})
}
