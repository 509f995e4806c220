package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/fault"
	"github.com/varve-io/varve/objstore/mem"
	"github.com/varve-io/varve/tiered"
)

// scene is a history with one topic and some records in the tier, for tests of one story each.
func scene(t *testing.T) (*history, *flat) {
	t.Helper()
	h := &history{t: t, rng: rand.New(rand.NewPCG(seed(t), 3)), store: mem.New(), disk: memfs.New(), pids: map[int64]bool{}}
	h.faulty = fault.Wrap(h.store)
	h.begin(0)
	h.cluster = h.l.node.ClusterID()
	h.createWith("story", "-1", "1")
	f := h.parts[0]
	h.fill(f)
	return h, f
}

// fill produces some batches and gives the tier the time to take them.
func (h *history) fill(f *flat) {
	for range 40 {
		h.produce(f, nil)
	}
	<-time.After(30 * time.Second)
	f.inBucket(h.t, h.store, h.cluster)
	if f.heldNext == 0 {
		h.t.Fatal("nothing was tiered")
	}
}

// appendOnce sends one batch once and answers what the broker said.
func (h *history) appendOnce(f *flat, size int) kafka.Error {
	h.t.Helper()
	f.names++
	a := &attempt{name: fmt.Sprintf("%s-%d", f.topic, f.names), count: 1}
	var b batch.Builder
	b.Append(nil, payload(a.record(0), size), nil, time.Now().UnixMilli())
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 60_000
	req.Topics = []kmsg.ProduceRequestTopic{{Topic: f.topic, Partitions: []kmsg.ProduceRequestTopicPartition{{Records: b.Bytes()}}}}
	got := ask[*kmsg.ProduceResponse](h.l.cl, 9, req).Topics[0].Partitions[0]
	if got.ErrorCode == 0 {
		if got.BaseOffset != f.end {
			h.t.Fatalf("appended at %d, want %d", got.BaseOffset, f.end)
		}
		f.at[f.end] = a.record(0)
		f.end++
	}
	return kafka.Error(got.ErrorCode)
}

// TestLostPartitionFiles: the files of a partition are gone and the store is out of reach.
// Appends are refused, retriably, until the store is back; then they go on behind it.
func TestLostPartitionFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, f := scene(t)
		h.disk = h.l.end()
		if err := h.disk.RemoveAll("/node/logs/story-0"); err != nil {
			t.Fatal(err)
		}
		h.faulty.Add(fault.Rule{Do: fault.Fail(objstore.ErrTransient)})
		h.begin(0)
		for range 20 {
			if code := h.appendOnce(f, 10); !retriable(int16(code)) {
				t.Fatalf("append without files and store: %v", code)
			}
			<-time.After(time.Second)
		}
		h.faulty.Clear()
		f.reconcile(h.l, true) // what was not in the store is lost with the files
		if f.end != f.heldNext {
			t.Errorf("the log goes on at %d, the manifest ends at %d", f.end, f.heldNext)
		}
		h.fill(f)
		f.exact(t, h.store, h.cluster)
		h.l.end()
	})
}

// TestLostDisk: an empty directory in place of a known one is refused and left alone, with
// the next step; varve.log.dirs.lost gives it the lost one's place, and what the store holds is back.
func TestLostDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, f := scene(t)
		h.disk = h.l.end()
		identity, err := vfs.ReadFile(h.disk, "/node/logs/meta.properties")
		if err == nil {
			err = h.disk.RemoveAll("/node/logs")
		}
		if err == nil {
			err = h.disk.MkdirAll("/node/logs", 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		h.l = newLife(t, h.disk)
		err = h.l.start(h.faulty)
		var id string
		for line := range strings.Lines(string(identity)) {
			if v, ok := strings.CutPrefix(strings.TrimSpace(line), "directory.id="); ok {
				id = v
			}
		}
		for _, want := range []string{"/node/logs", id, "mount the disk", "varve.log.dirs.lost=" + id} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("start on an empty disk: %v; it does not name %q", err, want)
			}
		}
		if left, err := h.disk.ReadDir("/node/logs"); err != nil || len(left) > 0 {
			t.Fatalf("the refused directory holds %v, %v", left, err)
		}
		h.set = []string{"varve.log.dirs.lost=" + id}
		h.begin(0)
		f.reconcile(h.l, true)
		if f.end != f.heldNext {
			t.Errorf("the log goes on at %d, the manifest ends at %d", f.end, f.heldNext)
		}
		h.fill(f)
		h.l.end()
	})
}

// TestStoreOutOfReach: the store is away at the start and for an hour. What is local is
// served, records are taken, nothing is evicted; when it is back the tier catches up.
func TestStoreOutOfReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, f := scene(t)
		h.disk = h.l.end()
		h.faulty.Add(fault.Rule{Do: fault.Fail(objstore.ErrTransient)})
		h.begin(0)
		held, end := f.heldNext, f.end
		for range 60 {
			h.produce(f, nil)
			<-time.After(time.Minute)
			h.l.cl = h.l.net.dial(t)
		}
		raw := f.fetch(h.l, end, 1<<20)
		if err := unpack(raw, func(int64, string) error { return nil }); err != nil || len(raw) == 0 {
			t.Errorf("%d bytes of local data, %v", len(raw), err)
		}
		if f.inBucket(t, h.store, h.cluster); f.heldNext != held {
			t.Fatal("the store took something while it was away")
		}
		h.faulty.Clear()
		<-time.After(15 * time.Minute)
		h.l.cl = h.l.net.dial(t)
		if f.inBucket(t, h.store, h.cluster); f.heldNext == held {
			t.Error("the tier does not catch up")
		}
		f.reconcile(h.l, false)
		f.exact(t, h.store, h.cluster)
		h.l.end()
	})
}

// TestDiskFullWithDeadStore: the store is dead and the disk fills. Appends are refused with a
// retriable error, reads go on, and when the store is back, room is made without a restart.
func TestDiskFullWithDeadStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, f := scene(t)
		h.faulty.Add(fault.Rule{Do: fault.Fail(objstore.ErrTransient)})
		h.disk.SetLimit(used(t, h.disk) + 32<<20)
		code := kafka.Error(0)
		for range 500 {
			if code = h.appendOnce(f, 200<<10); code != 0 {
				break
			}
		}
		if code != kafka.KafkaStorageError {
			t.Fatalf("append to a full disk: %v", code)
		}
		for range 20 {
			if code := h.appendOnce(f, 200<<10); code != kafka.KafkaStorageError {
				t.Fatalf("append to a full disk: %v", code)
			}
			<-time.After(time.Second)
		}
		if got := f.fetch(h.l, f.end-1, 1<<20); len(got) == 0 {
			t.Error("a full disk is not read any more")
		}
		h.faulty.Clear()
		<-time.After(15 * time.Minute)
		h.l.cl = h.l.net.dial(t)
		if code := h.appendOnce(f, 200<<10); code != 0 {
			t.Fatalf("the store is back, the disk has room, and appends are refused: %v", code)
		}
		f.reconcile(h.l, false)
		h.l.end()
	})
}

func used(t *testing.T, disk *memfs.FS) int64 {
	t.Helper()
	u, err := disk.Usage("/node")
	if err != nil {
		t.Fatal(err)
	}
	return u.Total - u.Free
}

// TestFlippedBit: a bit in the middle of a closed local segment has changed. After a crash the
// log says which file and where, and the file is set aside as it was. The partition goes on:
// what is damaged is read from the store, what the store never had is where it was.
func TestFlippedBit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, f := scene(t)
		h.createWith("local", "-1", "-2") // everything stays on disk
		g := h.parts[1]
		h.fill(g)
		h.disk = h.l.end()
		if err := h.disk.Remove("/node/logs/varve-clean-shutdown"); err != nil {
			t.Fatal(err)
		}
		if err := h.disk.Remove("/node/logs/varve-log-dir-checkpoint"); err != nil {
			t.Fatal(err) // every log is read
		}
		const name = "/node/logs/local-0/00000000000000000000.log"
		hurt := flip(t, h.disk, name)
		h.begin(0)
		f.reconcile(h.l, false)
		g.reconcile(h.l, false)
		if said := h.l.logs.String(); !strings.Contains(said, name) || !strings.Contains(said, "damaged at byte ") || !strings.Contains(said, "offset ") {
			t.Errorf("the log does not say where the damage is: %s", said)
		}
		aside := ""
		entries, err := h.disk.ReadDir("/node/logs/local-0")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.Contains(e.Name(), ".log.quarantine-") {
				b, err := vfs.ReadFile(h.disk, "/node/logs/local-0/"+e.Name())
				if err != nil {
					t.Fatal(err)
				}
				aside = string(b)
			}
		}
		if aside != hurt {
			t.Error("the damaged file is not kept as it was")
		}
		h.disk = h.l.end()
		h.begin(0)
		g.reconcile(h.l, false)
		f.reconcile(h.l, false)
		h.l.end()
	})
}

// flip inverts a bit in the middle of a file and answers its bytes.
func flip(t *testing.T, disk *memfs.FS, name string) string {
	t.Helper()
	b, err := vfs.ReadFile(disk, name)
	if err != nil {
		t.Fatal(err)
	}
	file, err := disk.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	b[len(b)/2] ^= 1
	if _, err := file.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if err := file.Sync(); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// careless is a store that forgets the condition of create-only writes.
type careless struct{ objstore.Bucket }

func (c careless) Put(ctx context.Context, key string, src objstore.Source, o objstore.PutOpts) (objstore.Attrs, error) {
	o.IfAbsent = false
	return c.Bucket.Put(ctx, key, src, o)
}

// TestCarelessStore: a store that overwrites what it was told to create is refused, and
// nothing of the test is left in it.
func TestCarelessStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.New()
		l := newLife(t, memfs.New())
		err := l.start(careless{store})
		if !errors.Is(err, tiered.ErrNoFence) || !strings.Contains(err.Error(), "varve.tier.url") {
			t.Fatalf("a store without create-only writes: %v", err)
		}
		for a, err := range objstore.All(t.Context(), store, "", "") {
			t.Errorf("left in the store: %s, %v", a.Key, err)
		}
	})
}

// TestClustersShareABucket: two clusters use one bucket and prefix; neither touches what is the other's.
func TestClustersShareABucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, f := scene(t)
		two := &history{t: t, rng: one.rng, store: one.store, faulty: one.faulty, disk: memfs.New(), pids: map[int64]bool{}}
		two.begin(0)
		two.cluster = two.l.node.ClusterID()
		two.createWith("story", "30000", "1") // it expires and deletes, too
		g := two.parts[0]
		for range 3 {
			one.fill(f)
			two.fill(g)
			two.restart()
		}
		<-time.After(10 * time.Minute)
		one.l.cl, two.l.cl = one.l.net.dial(t), two.l.net.dial(t)
		for _, h := range []*history{one, two} {
			h.parts[0].reconcile(h.l, false)
			h.parts[0].inBucket(t, h.store, h.cluster)
			h.parts[0].exact(t, h.store, h.cluster)
			h.l.end()
		}
		if g.start == 0 {
			t.Error("the second cluster expired nothing: the test shows nothing")
		}
		for a, err := range objstore.All(t.Context(), one.store, "", "") {
			if err != nil || !strings.HasPrefix(a.Key, "v1/") {
				t.Errorf("%s, %v", a.Key, err)
			}
		}
	})
}
