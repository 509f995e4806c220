package replica

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/lifecycle"
)

// tick runs retention once.
func (k *kit) tick() error {
	k.t.Helper()
	return lifecycle.NewEngine(k.Retained, nil, slog.New(slog.DiscardHandler)).Tick(k.t.Context(), k.nowMs)
}

func TestF14RetentionMovesTheLogStartToASegmentEdge(t *testing.T) {
	k := newKit(t)
	p := k.create(newTopic("t", "retention.ms", "1000"))
	k.produce(p, 3)
	k.produce(p, 2)
	if err := p.Log().Roll(); err != nil {
		t.Fatal(err)
	}
	k.produce(p, 4)
	k.nowMs += 1000
	if err := k.tick(); err != nil {
		t.Fatal(err)
	}
	if start := offsetAt(t, p, Earliest); start != 0 {
		t.Fatalf("the log starts at %d before its time", start)
	}
	k.nowMs++
	if err := k.tick(); err != nil {
		t.Fatal(err)
	}
	if start := offsetAt(t, p, Earliest); start != 5 {
		t.Fatalf("the log starts at %d, want 5: the active segment was only rolled", start)
	}
	if err := k.tick(); err != nil {
		t.Fatal(err)
	}
	if start, end := offsetAt(t, p, Earliest), offsetAt(t, p, Latest); start != 9 || end != 9 {
		t.Fatalf("the log is [%d, %d), want it empty at 9", start, end)
	}
	if res := k.produce(p, 1); res.Base != 9 || res.LogStart != 9 {
		t.Errorf("appended at %d with log start %d, want 9 and 9", res.Base, res.LogStart)
	}
}

// tieredLog is a tiered partition with offsets 0 to 9 in two closed segments, local and in
// the store, and 10 to 14 in its active one.
func tieredLog(t *testing.T, settings ...string) (*kit, *Partition, *fakeTier) {
	t.Helper()
	k := newKit(t)
	f := &fakeTier{fs: k.fs}
	k.withTier(f)
	p := k.create(newTopic("t", append([]string{"remote.storage.enable", "true"}, settings...)...))
	for range 2 {
		k.produce(p, 5)
		if err := p.Log().Roll(); err != nil {
			t.Fatal(err)
		}
	}
	k.nowMs += 10_000
	k.produce(p, 5)
	f.upload(t, p)
	return k, p, f
}

func TestRetentionEvictsWhatTheStoreHolds(t *testing.T) {
	k, p, store := tieredLog(t, "local.retention.ms", "1000", "retention.ms", "-1")
	if err := k.tick(); err != nil {
		t.Fatal(err)
	}
	if local, start := offsetAt(t, p, EarliestLocal), offsetAt(t, p, Earliest); local != 10 || start != 0 {
		t.Errorf("local start %d, log start %d; want 10 and 0", local, start)
	}
	if !store.view.Owned {
		t.Error("evicted without the claim")
	}
}

func TestRetentionExpiresInTheStoreFirst(t *testing.T) {
	k, p, store := tieredLog(t, "retention.ms", "1000")
	store.view.Owned = true
	store.err = errors.New("bucket is down")
	if err := k.tick(); !errors.Is(err, store.err) {
		t.Fatalf("tick: %v", err)
	}
	if local, start := p.Log().LocalStart(), offsetAt(t, p, Earliest); local != 0 || start != 0 {
		t.Fatalf("local start %d, log start %d; want both at 0 while the store is away", local, start)
	}
	store.err = nil
	if err := k.tick(); err != nil {
		t.Fatal(err)
	}
	if local, start := p.Log().LocalStart(), offsetAt(t, p, Earliest); local != 10 || start != 10 {
		t.Errorf("local start %d, log start %d; want both at 10", local, start)
	}
}

func TestT1AFreshLeaderDeletesNothingBeforeItsClaim(t *testing.T) {
	k, p, store := tieredLog(t, "retention.bytes", "1", "local.retention.bytes", "1")
	store.known, store.err = false, errors.New("bucket is down")
	if err := k.tick(); !errors.Is(err, store.err) {
		t.Fatalf("tick: %v", err)
	}
	if segs := p.Log().Segments(); len(segs) != 3 || p.Log().LogStart() != 0 {
		t.Errorf("%d segments, log start %d; want 3 and 0", len(segs), p.Log().LogStart())
	}
}

func TestRetentionLeavesFollowersAlone(t *testing.T) {
	k := newKit(t)
	topic := newTopic("t", "retention.ms", "0")
	p := k.create(topic)
	k.produce(p, 1)
	k.apply(changed(topic, func(part *metadata.Partition) { part.Leader, part.LeaderEpoch = 8, 1 }))
	k.nowMs += 1000
	if err := k.tick(); err != nil {
		t.Fatal(err)
	}
	if segs := p.Log().Segments(); len(segs) != 1 {
		t.Errorf("%d segments: a follower rolled its log", len(segs))
	}
}

func TestAnIdleTieredLogIsRolledForTheStore(t *testing.T) {
	k, p, _ := tieredLog(t, "segment.ms", "60000")
	k.nowMs += 60_001
	if err := k.tick(); err != nil {
		t.Fatal(err)
	}
	if segs := p.Log().Segments(); segs[len(segs)-1].SizeBytes != 0 {
		t.Error("the active segment was not rolled")
	}
}
