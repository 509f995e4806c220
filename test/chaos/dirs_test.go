package chaos

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varve-io/varve/test/kit"
)

// twoDirs are the settings of a broker with log directories a and b below dir.
func twoDirs(dir string) (a, b string, args []string) {
	a, b = filepath.Join(dir, "a"), filepath.Join(dir, "b")
	return a, b, []string{"--set", "log.dirs=" + a + "," + b, "--set", "log.flush.offset.checkpoint.interval.ms=100"}
}

func adminClient(t *testing.T, addr string, opts ...kgo.Opt) *kadm.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(addr), kgo.MetadataMinAge(20*time.Millisecond), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return kadm.NewClient(cl)
}

// TestALogMovesWhileTheBrokerIsKilled moves a tiered partition from directory to directory and
// kills the broker on the way, while an idempotent producer writes: every acknowledged record
// is there once, in order, and one directory holds the log.
func TestALogMovesWhileTheBrokerIsKilled(t *testing.T) {
	for _, durability := range []string{"pagecache", "group"} {
		t.Run(durability, func(t *testing.T) { moveAndKill(t, durability) })
	}
}

func moveAndKill(t *testing.T, durability string) {
	kit.Binary(t)
	rng := rand.New(rand.NewPCG(seed(t), 2))
	dir := t.TempDir()
	paths, args := make([]string, 2), []string(nil)
	paths[0], paths[1], args = twoDirs(dir)
	b := setup(t, "varve.durability="+durability, args...)
	p := startProducer(t, b.Addr)
	adm := adminClient(t, b.Addr)
	moved := 0
	for i := range number(t, "CHAOS_KILLS", 10) {
		to := paths[i%2]
		kit.Eventually(t, 30*time.Second, "a move begins", func() error {
			resp, err := adm.AlterBrokerReplicaLogDirs(t.Context(), 1, kadm.AlterReplicaLogDirsReq{to: {topic: {0: {}}}})
			if err != nil {
				return err
			}
			return resp[topic][0].Err
		})
		pause := time.NewTimer(time.Duration(rng.IntN(200)) * time.Millisecond)
		<-pause.C
		if rng.IntN(3) > 0 {
			b.Kill()
			b.Start()
		}
		kit.Eventually(t, 30*time.Second, "the move ends", func() error { return liesIn(t, adm, to) })
		moved++
	}
	n := p.finish(t)
	checkAll(t, b.Addr, n)
	owners := 0
	kit.Eventually(t, 30*time.Second, "the old copies go", func() error {
		owners = 0
		for _, path := range paths {
			names, err := filepath.Glob(filepath.Join(path, topic+"-0*"))
			if err != nil {
				return err
			}
			owners += len(names)
		}
		if owners != 1 {
			return fmt.Errorf("%d directories and files of the partition", owners)
		}
		return nil
	})
	t.Logf("%d moves, %d records, each there once and in order", moved, n)
}

// liesIn says whether the partition's log is in a directory, and on no way.
func liesIn(t *testing.T, adm *kadm.Client, path string) error {
	dirs, err := adm.DescribeAllLogDirs(t.Context(), nil)
	if err != nil {
		return err
	}
	there := false
	for _, d := range dirs.Sorted() {
		for _, l := range d.Topics.Sorted() {
			if l.Topic == topic && l.IsFuture {
				return fmt.Errorf("still on its way to %s, %d behind", d.Dir, l.OffsetLag)
			}
			there = there || l.Topic == topic && d.Dir == path
		}
	}
	if !there {
		return fmt.Errorf("not in %s", path)
	}
	return nil
}

// TestALogDirectoryIsLost takes one of two disks away: its partitions are offline, the others
// go on, and the broker ends when the last one goes.
func TestALogDirectoryIsLost(t *testing.T) {
	kit.Binary(t)
	dir := t.TempDir()
	first, second, args := twoDirs(dir)
	b := kit.New(t, filepath.Join(dir, "node"), args...)
	b.Start()
	const partitions = 6
	b.Varve("topic", "create", topic, "--partitions", "6")
	adm := adminClient(t, b.Addr, kgo.RecordDeliveryTimeout(time.Second), kgo.RetryTimeout(time.Second))
	produce := func(i int32) error {
		_, err := clientOf(t, b.Addr).ProduceSync(t.Context(), &kgo.Record{Topic: topic, Partition: i, Value: []byte("x")}).First()
		return err
	}
	for i := range int32(partitions) {
		if err := produce(i); err != nil {
			t.Fatal(err)
		}
	}
	lose(t, second)
	var good, bad []int32
	kit.Eventually(t, 30*time.Second, "the lost directory's partitions are offline", func() error {
		topics, err := adm.ListTopics(t.Context(), topic)
		if err != nil {
			return err
		}
		good, bad = nil, nil
		for _, p := range topics[topic].Partitions.Sorted() {
			if offline := len(p.OfflineReplicas) == 1; offline != (p.Leader == -1) || offline != errors.Is(p.Err, kerr.LeaderNotAvailable) {
				return fmt.Errorf("%+v", p)
			} else if offline {
				bad = append(bad, p.Partition)
			} else {
				good = append(good, p.Partition)
			}
		}
		if len(good) != partitions/2 || len(bad) != partitions/2 {
			return fmt.Errorf("%d online, %d offline", len(good), len(bad))
		}
		return nil
	})
	for _, i := range good {
		if err := produce(i); err != nil {
			t.Errorf("partition %d of the directory that is left: %v", i, err)
		}
	}
	dirs, err := adm.DescribeAllLogDirs(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs.Sorted() {
		if offline := errors.Is(d.Err, kerr.KafkaStorageError); offline != (d.Dir == second) {
			t.Errorf("%s: %v", d.Dir, d.Err)
		}
	}
	lose(t, first)
	select {
	case <-b.Exited():
	case <-time.After(30 * time.Second):
		t.Error("the broker goes on without any log directory")
	}
}

// lose removes a directory that a broker is at work in: it may put a file back meanwhile.
func lose(t *testing.T, dir string) {
	t.Helper()
	kit.Eventually(t, 10*time.Second, "the directory is gone", func() error { return os.RemoveAll(dir) })
}

// clientOf is a client that gives up soon.
func clientOf(t *testing.T, addr string) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RecordDeliveryTimeout(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}
