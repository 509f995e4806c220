package controller_test

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"github.com/varve-io/varve/broker/controller"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/errorfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

// promises are what a client was told: topics that exist and producer ids that are taken.
type promises struct {
	topics  map[string]int64 // the version that was acknowledged; 0 is deleted
	nextIDs int64
	epoch   int64
}

func (p promises) clone() promises {
	p.topics = maps.Clone(p.topics)
	return p
}

// crasher stops the world of a file system at one operation: it keeps what a power cut at
// that moment would leave, and what had been promised before it.
type crasher struct {
	disk *memfs.FS
	seed uint64

	mu struct {
		sync.Mutex
		left  int
		made  promises
		then  promises
		clone *memfs.FS
	}
}

func (c *crasher) inject(errorfs.Op, string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.left--; c.mu.left == 0 {
		c.mu.then = c.mu.made.clone()
		c.mu.clone = c.disk.CrashClone(c.seed)
	}
	return nil
}

func (c *crasher) promise(change func(p *promises)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.mu.made)
}

// result is the disk after the crash; the run may have ended before it came.
func (c *crasher) result() (*memfs.FS, promises) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.clone == nil {
		return c.disk.CrashClone(c.seed), c.mu.made.clone()
	}
	return c.mu.clone, c.mu.then
}

// Whatever was acknowledged is there after a power cut at any moment, crash upon crash; log
// files and snapshots are small, so that every kind of file is in the middle of something.
func TestAcknowledgedChangesSurviveCrashes(t *testing.T) {
	rounds := uint64(150)
	if testing.Short() {
		rounds = 30
	}
	for seed := range rounds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			disk := memfs.New()
			if err := vfs.MkdirAllSync(disk, dir, 0o755); err != nil {
				t.Fatal(err)
			}
			made := promises{topics: map[string]int64{}, epoch: -1}
			for range 6 {
				c := &crasher{disk: disk, seed: r.Uint64()}
				c.mu.left = 1 + r.IntN(160)
				c.mu.made = made.clone()
				live(t, c, r)
				disk, made = c.result()
			}
		})
	}
}

// live is one life of a node: it checks what it finds against the promises and makes new ones.
func live(t *testing.T, c *crasher, r *rand.Rand) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	store, err := controller.OpenStoreSized(errorfs.Wrap(c.disk, c.inject), dir, log, 4<<10)
	if err != nil {
		t.Fatal(err)
	}
	n := open(t, controller.Options{NodeID: 1, Store: store, SnapshotEntries: 7})
	check(t, n.Image(), c.mu.made)
	epoch := register(t, n, 1)
	if epoch <= c.mu.made.epoch {
		t.Fatalf("broker epoch %d after %d", epoch, c.mu.made.epoch)
	}
	c.promise(func(p *promises) { p.epoch = epoch })
	for range 4 + r.IntN(10) {
		act(t, n, c, fmt.Sprint("t", r.IntN(9)), r.IntN(4))
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
}

// act makes one change and the promise that comes with it. A change that is under way when
// the disk stops may or may not be there afterwards: its topic is promised nothing meanwhile.
func act(t *testing.T, n *controller.Controller, c *crasher, name string, kind int) {
	t.Helper()
	was := n.Image().Topic(name)
	promise := func(version int64) { c.promise(func(p *promises) { p.topics[name] = version }) }
	c.promise(func(p *promises) { delete(p.topics, name) })
	switch {
	case kind == 0:
		first, err := n.AllocateProducerIDs(t.Context(), 100)
		if err != nil || first < c.mu.made.nextIDs {
			t.Fatalf("producer ids from %d after %d, %v", first, c.mu.made.nextIDs, err)
		}
		c.promise(func(p *promises) { p.nextIDs = first + 100 })
	case was == nil:
		create(t, n, controller.NewTopic{Name: name, Partitions: 3, ReplicationFactor: 1, Config: map[string]string{"retention.ms": "1"}})
		promise(1)
	case kind == 1:
		if errs := n.DeleteTopics(t.Context(), []kafka.UUID{was.ID}); errs[0] != nil {
			t.Fatal(errs[0])
		}
		promise(0)
	default:
		if err := configure(t, n, was.Name, fmt.Sprint(was.Version+1)); err != nil {
			t.Fatal(err)
		}
		promise(was.Version + 1)
	}
}

func check(t *testing.T, img *metadata.Image, made promises) {
	t.Helper()
	for name, version := range made.topics {
		got := img.Topic(name)
		switch {
		case version == 0 && got != nil:
			t.Fatalf("topic %s is back after its deletion", name)
		case version > 0 && (got == nil || got.Version != version || len(got.Partitions) != 3):
			t.Fatalf("topic %s was acknowledged at version %d, it is %+v", name, version, got)
		}
	}
	if img.NextProducerID() < made.nextIDs {
		t.Fatalf("producer ids below %d were handed out, the image says %d", made.nextIDs, img.NextProducerID())
	}
}

// A flipped bit in the log or in a snapshot never becomes metadata: the node refuses to go
// on and names the file, or the bit was in a batch that then counts as never written.
func TestDamageIsNeverBelieved(t *testing.T) {
	disk := memfs.New()
	o := options(disk)
	o.SnapshotEntries = 8
	c := open(t, o)
	register(t, c, 1)
	for i := range 10 {
		create(t, c, topic(fmt.Sprint("t", i)))
	}
	good := map[string]bool{}
	for tp := range c.Image().Topics() {
		good[tp.Name] = true
	}
	closeOf(t, c)
	files, err := disk.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(5, 6))
	for _, file := range files {
		name := dir + "/" + file.Name()
		b, err := vfs.ReadFile(disk, name)
		if err != nil {
			t.Fatal(err)
		}
		for range min(40, len(b)) {
			damaged := disk.CrashClone(1)
			flip(t, damaged, name, r.IntN(len(b)), byte(1)<<r.IntN(8))
			c, err := controller.Open(options(damaged))
			if err != nil {
				continue
			}
			if err := c.WaitLeader(t.Context()); err == nil {
				for tp := range c.Image().Topics() {
					if !good[tp.Name] {
						t.Errorf("%s: a topic %q that nobody created", name, tp.Name)
					}
				}
			} else if !errors.Is(err, kafka.ErrCorrupt) && !errors.Is(err, metadata.ErrUnsupported) {
				t.Errorf("%s: %v", name, err)
			}
			closeOf(t, c)
		}
	}
}

func flip(t *testing.T, fsys vfs.FS, name string, at int, bit byte) {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, int64(at)); err != nil {
		t.Fatal(err)
	}
	b[0] ^= bit
	if _, err := f.WriteAt(b, int64(at)); err != nil {
		t.Fatal(err)
	}
}
