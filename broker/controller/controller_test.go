package controller_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/varve-io/varve/broker/controller"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/errorfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

const dir = "/data/metadata"

func options(fsys vfs.FS) controller.Options {
	return controller.Options{FS: fsys, Dir: dir, NodeID: 1}
}

// open starts a controller and waits until it leads.
func open(t testing.TB, o controller.Options) *controller.Controller {
	t.Helper()
	c, err := controller.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.WaitLeader(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func closeOf(t testing.TB, c *controller.Controller) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

func register(t testing.TB, c *controller.Controller, id int32, dirs ...kafka.UUID) int64 {
	t.Helper()
	epoch, err := c.RegisterBroker(t.Context(), controller.Registration{
		ID: id, Incarnation: kafka.NewUUID(), LogDirs: dirs,
		Endpoints: []metadata.Endpoint{{Name: "PLAINTEXT", Host: "localhost", Port: 9092, Protocol: "PLAINTEXT"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return epoch
}

func topic(name string) controller.NewTopic {
	return controller.NewTopic{Name: name, Partitions: -1, ReplicationFactor: -1}
}

func create(t testing.TB, c *controller.Controller, topics ...controller.NewTopic) []*metadata.Topic {
	t.Helper()
	var made []*metadata.Topic
	for _, r := range c.CreateTopics(t.Context(), topics, false) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		made = append(made, r.Topic)
	}
	return made
}

func encoded(t testing.TB, img *metadata.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := img.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestFirstStart(t *testing.T) {
	c := open(t, options(memfs.New()))
	img := c.Image()
	if _, err := kafka.ParseUUID(img.ClusterID()); err != nil || img.Feature(metadata.FormatFeature) != metadata.FormatLevel {
		t.Errorf("cluster %q, format level %d, %v", img.ClusterID(), img.Feature(metadata.FormatFeature), err)
	}
	if c.LeaderID() != 1 {
		t.Errorf("leader %d", c.LeaderID())
	}
	named := open(t, controller.Options{NodeID: 3, ClusterID: "MkU3OEVBNTcwNTJENDM2Qg", Store: controller.NewMemStore()})
	if got := named.Image().ClusterID(); got != "MkU3OEVBNTcwNTJENDM2Qg" {
		t.Errorf("cluster id %s", got)
	}
}

// What was acknowledged is there after a restart, with the same bytes; each start of a broker
// raises the epochs of what it leads.
func TestRestart(t *testing.T) {
	fsys := memfs.New()
	c := open(t, options(fsys))
	epoch := register(t, c, 1)
	made := create(t, c, controller.NewTopic{Name: "orders", Partitions: 3, ReplicationFactor: 1, Config: map[string]string{"retention.ms": "5"}})[0]
	first, err := c.AllocateProducerIDs(t.Context(), 1000)
	if err != nil || first != 0 {
		t.Fatalf("producer ids from %d, %v", first, err)
	}
	before := encoded(t, c.Image())
	closeOf(t, c)

	c = open(t, options(fsys))
	if !bytes.Equal(encoded(t, c.Image()), before) {
		t.Fatal("the image differs after a restart")
	}
	if again := register(t, c, 1); again <= epoch {
		t.Errorf("broker epoch %d after %d", again, epoch)
	}
	for i, p := range c.Image().TopicByID(made.ID).Partitions {
		if p.LeaderEpoch != 1 || p.PartitionEpoch != 1 || p.Leader != 1 {
			t.Errorf("partition %d: %+v", i, p)
		}
	}
	if next, err := c.AllocateProducerIDs(t.Context(), 1); err != nil || next != 1000 {
		t.Errorf("producer ids from %d, %v", next, err)
	}
}

func TestDirectoryOfAnotherIsRefused(t *testing.T) {
	fsys := memfs.New()
	c := open(t, options(fsys))
	cluster := c.Image().ClusterID()
	if _, err := controller.Open(options(fsys)); !errors.Is(err, vfs.ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("a directory in use: %v", err)
	}
	closeOf(t, c)
	before := tree(t, fsys)
	foreign := options(fsys)
	foreign.ClusterID = "MkU3OEVBNTcwNTJENDM2Qg"
	if _, err := controller.Open(foreign); !errors.Is(err, kafka.InconsistentClusterID) || !strings.Contains(err.Error(), cluster) {
		t.Errorf("another cluster: %v", err)
	}
	other := options(fsys)
	other.NodeID = 2
	if _, err := controller.Open(other); err == nil || !strings.Contains(err.Error(), "node 1") {
		t.Errorf("another node: %v", err)
	}
	if got := tree(t, fsys); got != before {
		t.Errorf("a refused start changed the directory:\n%s\nwas\n%s", got, before)
	}
	open(t, options(fsys))
}

// tree is the names and contents below the metadata directory.
func tree(t *testing.T, fsys vfs.FS) string {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var s strings.Builder
	for _, e := range entries {
		b, err := vfs.ReadFile(fsys, dir+"/"+e.Name())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&s, "%s %x\n", e.Name(), b)
	}
	return s.String()
}

func TestCreateTopics(t *testing.T) {
	o := options(memfs.New())
	o.Defaults = func() (int32, int16) { return 4, 2 }
	o.ValidateConfig = func(m map[string]string) error {
		if _, bad := m["no.such.setting"]; bad {
			return errors.New("no.such.setting is not known")
		}
		return nil
	}
	c := open(t, o)
	for id := range int32(3) {
		register(t, c, id+1)
	}
	create(t, c, topic("there"), topic("a.b"))
	assigned := func(name string, a map[int32][]int32) controller.NewTopic {
		nt := topic(name)
		nt.Assignments = a
		return nt
	}
	tests := []struct {
		name string
		nt   controller.NewTopic
		want kafka.Error
	}{
		{"defaults", topic("new"), kafka.NoError},
		{"counts", controller.NewTopic{Name: "counts", Partitions: 7, ReplicationFactor: 3}, kafka.NoError},
		{"assignment", assigned("assigned", map[int32][]int32{0: {2, 1}, 1: {3, 2}}), kafka.NoError},
		{"exists", topic("there"), kafka.TopicAlreadyExists},
		{"name", topic("a b"), kafka.InvalidTopic},
		{"collision", topic("a_b"), kafka.InvalidTopic},
		{"no partitions", controller.NewTopic{Name: "x", Partitions: 0, ReplicationFactor: 1}, kafka.InvalidPartitions},
		{"negative partitions", controller.NewTopic{Name: "x", Partitions: -2, ReplicationFactor: 1}, kafka.InvalidPartitions},
		{"too many partitions", controller.NewTopic{Name: "x", Partitions: 10_000, ReplicationFactor: 1}, kafka.PolicyViolation},
		{"no replicas", controller.NewTopic{Name: "x", Partitions: 1, ReplicationFactor: 0}, kafka.InvalidReplicationFactor},
		{"too many replicas", controller.NewTopic{Name: "x", Partitions: 1, ReplicationFactor: 4}, kafka.InvalidReplicationFactor},
		{"config", controller.NewTopic{Name: "x", Partitions: 1, ReplicationFactor: 1, Config: map[string]string{"no.such.setting": "1"}}, kafka.InvalidConfig},
		{"assignment and partitions", controller.NewTopic{Name: "x", Partitions: 1, ReplicationFactor: -1, Assignments: map[int32][]int32{0: {1}}}, kafka.InvalidRequest},
		{"assignment and factor", controller.NewTopic{Name: "x", Partitions: -1, ReplicationFactor: 1, Assignments: map[int32][]int32{0: {1}}}, kafka.InvalidRequest},
		{"assignment with a gap", assigned("x", map[int32][]int32{0: {1}, 2: {1}}), kafka.InvalidReplicaAssignment},
		{"assignment without replicas", assigned("x", map[int32][]int32{0: {}}), kafka.InvalidReplicaAssignment},
		{"assignment to nobody", assigned("x", map[int32][]int32{0: {9}}), kafka.InvalidReplicaAssignment},
		{"assignment twice", assigned("x", map[int32][]int32{0: {1, 1}}), kafka.InvalidReplicaAssignment},
		{"assignment uneven", assigned("x", map[int32][]int32{0: {1}, 1: {1, 2}}), kafka.InvalidReplicaAssignment},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := c.Image()
			dry := c.CreateTopics(t.Context(), []controller.NewTopic{tt.nt}, true)[0]
			if kafka.Code(dry.Err) != tt.want || (dry.Topic == nil) != (dry.Err != nil) {
				t.Errorf("validate only: %+v, %v, want %s", dry.Topic, dry.Err, tt.want.Name())
			}
			if c.Image() != before {
				t.Error("validate only changed the image")
			}
			r := c.CreateTopics(t.Context(), []controller.NewTopic{tt.nt}, false)[0]
			if kafka.Code(r.Err) != tt.want {
				t.Fatalf("%v, want %s", r.Err, tt.want.Name())
			}
			if got := c.Image().Topic(tt.nt.Name); tt.want == kafka.NoError && (got == nil || got != r.Topic) {
				t.Errorf("the image has %+v, the answer %+v", got, r.Topic)
			}
		})
	}
	parts := c.Image().Topic("new").Partitions
	leaders := map[int32]bool{}
	for _, p := range parts {
		leaders[p.Leader] = true
		if len(p.Replicas) != 2 || p.Replicas[0] == p.Replicas[1] || p.Leader != p.Replicas[0] || !slices.Equal(p.ISR, p.Replicas) {
			t.Errorf("partition %+v", p)
		}
	}
	if len(parts) != 4 || len(leaders) != 3 {
		t.Errorf("%d partitions led by %v: want 4, spread over 3 brokers", len(parts), leaders)
	}
	if got := c.Image().Topic("assigned").Partitions; !slices.Equal(got[1].Replicas, []int32{3, 2}) || got[1].Leader != 3 {
		t.Errorf("assigned: %+v", got)
	}
}

// A1: one bad topic does not keep the others of its request from being created.
func TestCreateTopicsTogether(t *testing.T) {
	c := open(t, options(memfs.New()))
	register(t, c, 1)
	from := c.Image().Version()
	results := c.CreateTopics(t.Context(), []controller.NewTopic{topic("a"), topic("twice"), topic("x.y"), topic("x_y"), topic("twice"), topic("b")}, false)
	want := []kafka.Error{kafka.NoError, kafka.InvalidRequest, kafka.NoError, kafka.InvalidTopic, kafka.InvalidRequest, kafka.NoError}
	for i, r := range results {
		if kafka.Code(r.Err) != want[i] {
			t.Errorf("topic %d: %v, want %s", i, r.Err, want[i].Name())
		}
	}
	if c.Image().TopicCount() != 3 || c.Image().Version() != from+1 {
		t.Errorf("%d topics in %d entries", c.Image().TopicCount(), c.Image().Version()-from)
	}
}

func TestDirectoriesAreFilledEvenly(t *testing.T) {
	c := open(t, options(memfs.New()))
	dirs := []kafka.UUID{kafka.NewUUID(), kafka.NewUUID(), kafka.NewUUID()}
	register(t, c, 1, dirs...)
	create(t, c, controller.NewTopic{Name: "a", Partitions: 4, ReplicationFactor: 1})
	create(t, c, controller.NewTopic{Name: "b", Partitions: 5, ReplicationFactor: 1})
	count := map[kafka.UUID]int{}
	for tp := range c.Image().Topics() {
		for _, p := range tp.Partitions {
			count[p.Dirs[0]]++
		}
	}
	for _, d := range dirs {
		if count[d] != 3 {
			t.Errorf("partitions by directory: %v", count)
		}
	}
}

// configure sets the retention of a topic, and nothing else.
func configure(t testing.TB, c *controller.Controller, topic, retentionMs string) error {
	t.Helper()
	return c.AlterConfigs(t.Context(), []controller.ConfigChange{{
		Resource: metadata.ConfigResource{Type: metadata.TopicResource, Name: topic}, Replace: true,
		Edits: []controller.ConfigEdit{{Name: "retention.ms", Value: retentionMs}},
	}}, false)[0]
}

func TestDeleteAndConfigure(t *testing.T) {
	c := open(t, options(memfs.New()))
	register(t, c, 1)
	made := create(t, c, topic("a"), topic("b"))
	if err := configure(t, c, "a", "7"); err != nil {
		t.Fatal(err)
	}
	got := c.Image().Topic("a")
	if got.Version != 2 || got.Config["retention.ms"] != "7" {
		t.Errorf("topic %+v", got)
	}
	version := c.Image().Version()
	if err := configure(t, c, "a", "7"); err != nil || c.Image().Version() != version {
		t.Errorf("equal settings were written: %v", err)
	}
	if err := configure(t, c, "nowhere", "7"); !errors.Is(err, kafka.UnknownTopicOrPartition) {
		t.Errorf("settings of an unknown topic: %v", err)
	}
	errs := c.DeleteTopics(t.Context(), []kafka.UUID{made[0].ID, kafka.NewUUID(), made[0].ID})
	if errs[0] != nil || !errors.Is(errs[1], kafka.UnknownTopicID) || !errors.Is(errs[2], kafka.UnknownTopicID) {
		t.Errorf("deletions: %v", errs)
	}
	if c.Image().Topic("a") != nil || c.Image().Topic("b") == nil {
		t.Error("the wrong topic is gone")
	}
	if again := create(t, c, topic("a"))[0]; again.ID == made[0].ID {
		t.Error("a topic created anew has the id of the deleted one")
	}
}

// Deleting a tiered topic leaves word of the objects to purge, until they are gone.
func TestDeletedTieredTopicIsPurged(t *testing.T) {
	fsys := memfs.New()
	c := open(t, options(fsys))
	register(t, c, 1)
	made := create(t, c, controller.NewTopic{Name: "tiered", Partitions: 1, ReplicationFactor: 1, Config: map[string]string{"remote.storage.enable": " True"}}, topic("local"))
	for _, err := range c.DeleteTopics(t.Context(), []kafka.UUID{made[0].ID, made[1].ID}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	closeOf(t, c)
	c = open(t, options(fsys))
	if got := slices.Collect(c.Image().Purging()); len(got) != 1 || got[0].ID != made[0].ID || got[0].Name != "tiered" {
		t.Fatalf("to be purged: %v", got)
	}
	if err := c.TopicPurged(t.Context(), made[0].ID); err != nil {
		t.Fatal(err)
	}
	if got := slices.Collect(c.Image().Purging()); len(got) != 0 {
		t.Errorf("still to be purged: %v", got)
	}
	if err := c.TopicPurged(t.Context(), made[0].ID); !errors.Is(err, kafka.UnknownTopicID) {
		t.Errorf("a purge that is not under way: %v", err)
	}
}

// Watchers see what is there, then every change, once, before the change returns.
func TestWatch(t *testing.T) {
	c := open(t, options(memfs.New()))
	register(t, c, 1)
	create(t, c, topic("early"))
	var mu sync.Mutex
	var seen []string
	c.Watch(func(img *metadata.Image, d *metadata.Delta) {
		mu.Lock()
		defer mu.Unlock()
		if c.Image() != img {
			t.Error("the watcher is shown another image than is in place")
		}
		for _, x := range d.Created {
			seen = append(seen, "+"+x.Name)
		}
		for _, x := range d.Changed {
			seen = append(seen, "~"+x.Name)
		}
		for _, x := range d.Deleted {
			seen = append(seen, "-"+x.Name)
		}
	})
	expect := func(want ...string) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(seen, want) {
			t.Errorf("seen %v, want %v", seen, want)
		}
		seen = nil
	}
	expect("+early")
	late := create(t, c, topic("late"))[0]
	expect("+late")
	register(t, c, 1)
	expect("~early", "~late")
	if errs := c.DeleteTopics(t.Context(), []kafka.UUID{late.ID}); errs[0] != nil {
		t.Fatal(errs[0])
	}
	expect("-late")
}

// Concurrent changes never contradict each other.
func TestConcurrentChanges(t *testing.T) {
	c := open(t, options(memfs.New()))
	register(t, c, 1)
	var wg sync.WaitGroup
	var mu sync.Mutex
	blocks := map[int64]bool{}
	for i := range 8 {
		wg.Go(func() {
			for k := range 5 {
				if r := c.CreateTopics(t.Context(), []controller.NewTopic{topic(fmt.Sprintf("t%d-%d", i, k)), topic("same")}, false); r[0].Err != nil {
					t.Error(r[0].Err)
				}
				first, err := c.AllocateProducerIDs(t.Context(), 10)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				if blocks[first] {
					t.Errorf("producer ids from %d were handed out twice", first)
				}
				blocks[first] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if got := c.Image().TopicCount(); got != 41 {
		t.Errorf("%d topics, want 41", got)
	}
}

// Snapshots come by count of entries; the log before them goes, and nothing else changes.
func TestSnapshotsByCount(t *testing.T) {
	fsys := memfs.New()
	o := options(fsys)
	o.SnapshotEntries = 10
	o.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	c := open(t, o)
	for i := range 4 {
		register(t, c, 1)
		for k := range 12 {
			create(t, c, topic(fmt.Sprintf("t%d-%d", i, k)))
		}
		before := encoded(t, c.Image())
		closeOf(t, c)
		c = open(t, o)
		if !bytes.Equal(encoded(t, c.Image()), before) {
			t.Fatalf("round %d: the image differs after a restart", i)
		}
	}
	closeOf(t, c)
	snapshots := 0
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".snapshot") {
			snapshots++
		}
	}
	if snapshots != 2 {
		t.Errorf("%d snapshots are kept, want 2", snapshots)
	}
}

// A log from the future stops the node by name, and is left as it is.
func TestUnknownRecordsStopTheNode(t *testing.T) {
	store := controller.NewMemStore()
	c := open(t, controller.Options{NodeID: 1, Store: store})
	register(t, c, 1)
	closeOf(t, c)
	last, err := store.Logs().LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	entry, err := metadata.EncodeEntry([]metadata.Record{metadata.ProducerIDsRecord{Next: 5}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	entry[4] = 9 // the entry's format
	var l raft.Log
	if err := store.Logs().GetLog(last, &l); err != nil {
		t.Fatal(err)
	}
	if err := store.Logs().StoreLog(&raft.Log{Index: last + 1, Term: l.Term, Type: raft.LogCommand, Data: entry}); err != nil {
		t.Fatal(err)
	}
	c, err = controller.Open(controller.Options{NodeID: 1, Store: store})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, err := range []error{c.WaitLeader(t.Context()), c.Err()} {
		if !errors.Is(err, metadata.ErrUnsupported) || !strings.Contains(err.Error(), "format 9") || !strings.Contains(err.Error(), fmt.Sprint("entry ", last+1)) {
			t.Errorf("%v, want it to name the entry and the format", err)
		}
	}
	<-c.Failed()
	if _, err := c.RegisterBroker(t.Context(), controller.Registration{ID: 1}); !errors.Is(err, metadata.ErrUnsupported) {
		t.Errorf("a change on a stopped node: %v", err)
	}
}

// A log that cannot be written stops the node; what it had acknowledged is there afterwards.
func TestFailedWriteStopsTheNode(t *testing.T) {
	disk := memfs.New()
	var mu sync.Mutex
	broken := false
	fsys := errorfs.Wrap(disk, func(op errorfs.Op, name string) error {
		mu.Lock()
		defer mu.Unlock()
		if broken && strings.HasSuffix(name, ".wal") {
			return errors.New("input/output error")
		}
		return nil
	})
	c := open(t, options(fsys))
	register(t, c, 1)
	create(t, c, topic("before"))
	mu.Lock()
	broken = true
	mu.Unlock()
	r := c.CreateTopics(t.Context(), []controller.NewTopic{topic("during")}, false)[0]
	if !errors.Is(r.Err, kafka.KafkaStorageError) || !strings.Contains(r.Err.Error(), "input/output error") {
		t.Errorf("a failed write: %v", r.Err)
	}
	<-c.Failed()
	if c.Image().Topic("during") != nil {
		t.Error("a topic that was not written is in the image")
	}
	_ = c.Close() // may report the same error
	c = open(t, options(disk))
	if c.Image().Topic("before") == nil {
		t.Error("an acknowledged topic is gone")
	}
}

func TestClosedController(t *testing.T) {
	c := open(t, options(memfs.New()))
	closeOf(t, c)
	closeOf(t, c)
	if err := c.WaitLeader(context.Background()); !errors.Is(err, kafka.NotController) {
		t.Errorf("waiting after Close: %v", err)
	}
	if _, err := c.AllocateProducerIDs(context.Background(), 1); !errors.Is(err, kafka.NotController) {
		t.Errorf("a change after Close: %v", err)
	}
}

// Close lets go of changes that are under way: they succeed or fail, and none waits for ever.
func TestCloseDuringChanges(t *testing.T) {
	for range 30 {
		c := open(t, controller.Options{NodeID: 1, Store: controller.NewMemStore()})
		var wg sync.WaitGroup
		started := make(chan struct{}, 4)
		for range 4 {
			wg.Go(func() {
				for first := true; ; first = false {
					_, err := c.AllocateProducerIDs(t.Context(), 1)
					if first {
						started <- struct{}{}
					}
					if err != nil {
						if !errors.Is(err, kafka.NotController) && !errors.Is(err, kafka.RequestTimedOut) {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		<-started
		closeOf(t, c)
		wg.Wait()
	}
}

// BenchmarkStart is from Open to leadership, on a disk: the first start, and a later one.
func BenchmarkStart(b *testing.B) {
	start := func(b *testing.B, dir string) {
		c, err := controller.Open(controller.Options{FS: vfs.OS(), Dir: dir, NodeID: 1})
		if err != nil {
			b.Fatal(err)
		}
		if err := c.WaitLeader(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		closeOf(b, c)
		b.StartTimer()
	}
	b.Run("first", func(b *testing.B) {
		root := b.TempDir()
		n := 0
		for b.Loop() {
			n++
			start(b, fmt.Sprintf("%s/%d", root, n))
		}
	})
	b.Run("again", func(b *testing.B) {
		dir := b.TempDir()
		for b.Loop() {
			start(b, dir)
		}
	})
}

// BenchmarkChange is one small change, on a disk.
func BenchmarkChange(b *testing.B) {
	c := open(b, controller.Options{FS: vfs.OS(), Dir: b.TempDir(), NodeID: 1})
	for b.Loop() {
		if _, err := c.AllocateProducerIDs(b.Context(), 1); err != nil {
			b.Fatal(err)
		}
	}
}
