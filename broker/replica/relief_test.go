package replica

import (
	"testing"

	"github.com/varve-io/varve/broker/commitlog"
)

// TestRelieve: on a disk that fills, a tiered partition gives up what the store holds, and
// its files are gone at once; where that is not enough, the active segment is closed and the
// uploads are woken.
func TestRelieve(t *testing.T) {
	k := newKit(t)
	tier := &fakeTier{}
	k.withTier(tier)
	p := k.create(newTopic("t", "remote.storage.enable", "true", "segment.bytes", "1048576"))
	local := k.create(newTopic("local", "segment.bytes", "1048576"))
	fill := func(p *Partition, segments int) {
		for len(p.Log().Segments()) < segments {
			k.produce(p, 10_000)
		}
	}
	tier.view.Owned = true
	fill(p, 4)
	fill(local, 3)
	tier.upload(t, p)
	if pressed, err := k.Relieve(t.Context()); pressed || err != nil {
		t.Fatalf("on a calm disk: %v, %v", pressed, err)
	}
	if n := len(p.Log().Segments()); n != 4 {
		t.Fatalf("%d segments on a calm disk", n)
	}

	u, err := k.fs.Usage("/data")
	if err != nil {
		t.Fatal(err)
	}
	used := u.Total - u.Free
	k.fs.SetLimit(used * 100 / 86) // evict.percent is 85: a segment or so is too much
	end := p.Log().End()
	pressed, err := k.Relieve(t.Context())
	if !pressed || err != nil {
		t.Fatalf("on a full disk: %v, %v", pressed, err)
	}
	if n := len(p.Log().Segments()); n >= 4 || n < 2 || p.Log().End() != end {
		t.Errorf("%d segments, end %d", n, p.Log().End())
	}
	if n := len(local.Log().Segments()); n != 3 {
		t.Errorf("a topic that is not tiered lost segments: %d are left", n)
	}
	if u, err := k.fs.Usage("/data"); err != nil || u.Total-u.Free >= used-700_000 {
		t.Errorf("nothing was freed: %d bytes were used, now %d, %v", used, u.Total-u.Free, err)
	}
	if pressed, err := k.Relieve(t.Context()); pressed || err != nil {
		t.Errorf("and still under pressure: %v, %v", pressed, err)
	}

	wakes, active := tier.wakes, p.Log().Segments()[len(p.Log().Segments())-1].Base
	for p.Log().Segments()[len(p.Log().Segments())-1].SizeBytes < 600_000 {
		k.produce(p, 5_000)
	}
	for range 6 { // full again and again, until the store holds no more
		u, err := k.fs.Usage("/data")
		if err != nil {
			t.Fatal(err)
		}
		k.fs.SetLimit((u.Total - u.Free) * 100 / 99)
		if _, err := k.Relieve(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if tier.wakes == wakes {
		t.Error("the uploads were not woken")
	}
	if first := p.Log().Segments()[0].Base; first > tier.View().Next || active < first {
		t.Errorf("the local log starts at %d, the store holds up to %d", first, tier.View().Next)
	}
	if got := k.dirs.Room("/data").Pressure(); got == commitlog.Calm {
		t.Error("calm on a full disk")
	}
}
