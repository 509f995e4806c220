package tiered

import (
	"testing"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/tiered/manifest"
)

// TestLeftOversOfAnIdlePartition: a crash cut an upload short, and nobody writes to the
// partition any more. The next leader removes what is left, and claims only for that.
func TestLeftOversOfAnIdlePartition(t *testing.T) {
	for _, withManifest := range []bool{true, false} {
		r := newRig(t)
		if withManifest {
			r.produce(2)
			r.tick()
		} else {
			r.append()
		}
		orphan := testID.SegmentKey(manifest.Segment{Base: 1 << 20, Epoch: r.epoch, Try: 7})
		_, err := r.store.Put(t.Context(), orphan, objstore.Bytes([]byte("half a segment")), objstore.PutOpts{})
		r.check(err)
		r.epoch++
		r.start(kafka.UUID{0x22})
		for range 3 { // an orphan is seen twice before it goes
			r.tick()
		}
		if !r.p.View().Owned {
			t.Error("removed something without a claim")
		}
		r.exact()
	}
}

// TestIdlePartitionIsNotClaimed: where nothing was left, one look is all a start costs.
func TestIdlePartitionIsNotClaimed(t *testing.T) {
	r := newRig(t)
	r.produce(2)
	r.tick()
	r.epoch++
	r.start(kafka.UUID{0x22})
	r.tick()
	version, calls := r.p.View().Version, len(r.bucket.Calls())
	for range 3 {
		r.tick()
	}
	if v := r.p.View(); v.Owned || v.Version != version {
		t.Errorf("an idle partition was claimed: %+v", v)
	}
	if got := len(r.bucket.Calls()); got != calls {
		t.Errorf("%d requests for an idle partition", got-calls)
	}
}
