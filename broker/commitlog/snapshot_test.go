package commitlog

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/errorfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

// TestSnapshotAtTheRecoveryPoint: a roll where everything is synced already leaves a segment
// that a recovery takes for synced whole, and the snapshot behind it may be all that knows
// the producers once that segment is evicted.
func TestSnapshotAtTheRecoveryPoint(t *testing.T) {
	for seed := range uint64(40) {
		mem := newFS(t)
		var moments []*memfs.FS
		on := false
		fsys := errorfs.Wrap(mem, func(errorfs.Op, string) error {
			if on {
				moments = append(moments, mem.CrashClone(seed))
			}
			return nil
		})
		o := testOptions(fsys)
		l := open(t, o)
		for i := range int32(3) {
			appendBatch(t, l, transactional(7, 0, 2*i, 2), 0)
			if i == 0 {
				if err := l.Roll(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
		st, want := l.State(), producersOf(t, l)
		on = true
		if err := l.Roll(); err != nil {
			t.Fatal(err)
		}
		on = false
		for i, m := range append(moments, mem.CrashClone(seed)) {
			_, statErr := m.Stat("/data/orders-3/00000000000000000006.log")
			if statErr == nil {
				b, err := vfs.ReadFile(m, "/data/orders-3/00000000000000000006.snapshot")
				if err == nil {
					_, err = ParseProducerSnapshot(b)
				}
				if err != nil {
					t.Fatalf("seed %d, call %d: a segment behind %v", seed, i, err)
				}
			}
			c := reopen(t, o, m, &st, false, true)
			if got := producersOf(t, c); !reflect.DeepEqual(got, want) {
				t.Fatalf("seed %d, call %d: producers %+v, want %+v", seed, i, got, want)
			}
			if statErr != nil {
				continue
			}
			if n, err := c.EvictBelow(6); n != 2 || err != nil {
				t.Fatalf("seed %d, call %d: evicted %d, %v", seed, i, n, err)
			}
			after := c.State()
			c = reopen(t, o, m.CrashClone(seed), &after, false, true)
			if got := producersOf(t, c); !reflect.DeepEqual(got, want) {
				t.Fatalf("seed %d, call %d: producers after the eviction %+v, want %+v", seed, i, got, want)
			}
		}
	}
}

// TestTornSnapshotIsBuiltAnew: from the batches, while they are here, and durably. When
// they are gone an older snapshot is not taken for the state at the log's start.
func TestTornSnapshotIsBuiltAnew(t *testing.T) {
	const torn = "/data/orders-3/00000000000000000004.snapshot"
	for _, missing := range []bool{false, true} {
		fsys := newFS(t)
		o := testOptions(fsys)
		l := open(t, o)
		for i := range int32(2) {
			appendBatch(t, l, transactional(7, 0, 2*i, 2), 0)
			if err := l.Roll(); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
		st, want := l.State(), producersOf(t, l)
		whole, err := vfs.ReadFile(fsys, torn)
		if err != nil {
			t.Fatal(err)
		}
		hurt := func(fsys *memfs.FS) {
			if err := fsys.Remove(torn); err != nil {
				t.Fatal(err)
			}
			if !missing {
				if err := writeFile(fsys, torn, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		hurt(fsys)
		c := reopen(t, o, fsys, &st, false, true)
		if got := producersOf(t, c); !reflect.DeepEqual(got, want) {
			t.Errorf("missing %v: producers %+v, want %+v", missing, got, want)
		}
		for seed := range uint64(8) {
			if b, err := vfs.ReadFile(fsys.CrashClone(seed), torn); err != nil || !bytes.Equal(b, whole) {
				t.Fatalf("missing %v, seed %d: %x, %v; want %x", missing, seed, b, err, whole)
			}
		}
		if n, err := c.EvictBelow(4); n != 2 || err != nil {
			t.Fatalf("evicted %d, %v", n, err)
		}
		st = c.State()
		hurt(fsys)
		if got := producersOf(t, reopen(t, o, fsys, &st, false, true)); len(got) > 0 {
			t.Errorf("missing %v: the state of evicted batches passes for that of the log's start: %+v", missing, got)
		}
	}
}

func producersOf(t *testing.T, l *Log) []ProducerSnapshotEntry {
	t.Helper()
	p, err := Producers(l)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
