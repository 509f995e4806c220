package replica

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/commitlog/logdir"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/vfs/errorfs"
	"github.com/varve-io/varve/tiered"
)

// move asks for moves and waits for the answer.
func (k *kit) move(changes ...DirChange) []error {
	k.t.Helper()
	done := make(chan []error, 1)
	k.MoveLogs(changes, func(errs []error) { done <- errs })
	return <-done
}

// idle waits until no log moves and none is to be settled.
func (k *kit) idle() {
	k.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		k.moves.Lock()
		n := len(k.moves.byPartition)
		k.moves.Unlock()
		k.movers.mu.Lock()
		n += k.movers.mu.running
		k.movers.mu.Unlock()
		if n == 0 {
			return
		}
		if time.Now().After(deadline) {
			k.t.Fatal("a move does not end")
		}
		<-time.After(time.Millisecond)
	}
}

func other(dir string) string {
	if dir == "/a" {
		return "/b"
	}
	return "/a"
}

func TestLogMovesWhileItIsUsed(t *testing.T) {
	k := newKitIn(t, "/a", "/b")
	p := k.create(newTopic("t"))
	q := k.create(newTopic("q"))
	k.produce(q, 1)
	k.produce(p, 10)
	var stop, stopped = make(chan struct{}), sync.WaitGroup{}
	var last AppendResult
	stopped.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			res, err := p.Append(k.records(1), AppendOptions{Acks: 1, ZstdOK: true})
			if err != nil {
				t.Errorf("append while the log moves: %v", err)
				return
			}
			last = res
			if got := k.fetchOne(p, res.Base); got.Err != nil {
				t.Errorf("fetch while the log moves: %v", got.Err)
				return
			}
		}
	})
	for range 4 {
		to := other(p.Log().Dir())
		if errs := k.move(DirChange{"t", 0, to}); errs[0] != nil {
			t.Fatal(errs[0])
		}
		k.idle()
		if p.Log().Dir() != to {
			t.Fatalf("the log is in %s", p.Log().Dir())
		}
	}
	close(stop)
	stopped.Wait()
	if p.Log().End() != last.Base+1 || p.HighWatermark() != last.Base+1 {
		t.Errorf("end %d, high watermark %d, last record %d", p.Log().End(), p.HighWatermark(), last.Base)
	}
}

func TestMovesAreRefusedAsByKafka(t *testing.T) {
	k := newKitIn(t, "/a", "/b")
	p := k.create(newTopic("t"))
	k.produce(p, 1)
	to := other(p.Log().Dir())
	errs := k.move(DirChange{"t", 0, "/nowhere"}, DirChange{"none", 0, to}, DirChange{"t", 7, to}, DirChange{"t", 0, p.Log().Dir()})
	for i, want := range []error{kafka.LogDirNotFound, kafka.UnknownTopicOrPartition, kafka.UnknownTopicOrPartition, nil} {
		if !errors.Is(errs[i], want) {
			t.Errorf("%d: %v, want %v", i, errs[i], want)
		}
	}
}

// TestMoveIsSettledWithTheMetadata: the cluster knows of a move before the log is there. What is
// acknowledged until then is in the old place, also for a start that misses the new one; then
// the old copy goes.
func TestMoveIsSettledWithTheMetadata(t *testing.T) {
	k := newKitIn(t, "/a", "/b")
	topic := newTopic("t")
	p := k.create(topic)
	k.produce(p, 1)
	from := p.Log().Dir()
	topic.Partitions[0].Dirs = []kafka.UUID{k.dirs.DirOf(p.tp)}
	asked := make(chan kafka.UUID, 1)
	answer := make(chan error)
	k.assign = func(_ context.Context, _ kafka.UUID, _ int32, dir kafka.UUID) error {
		asked <- dir
		return <-answer
	}
	if err := k.move(DirChange{"t", 0, other(from)})[0]; err != nil {
		t.Fatal(err)
	}
	to, err := k.dirAt(other(from))
	if dir := <-asked; err != nil || dir != to.ID || p.Log().Dir() != from {
		t.Errorf("told of %s, the log is in %s; %v", dir, p.Log().Dir(), err)
	}
	k.produce(p, 2)
	disk := k.fs.KillClone()
	if err := disk.RemoveAll(other(from)); err != nil {
		t.Fatal(err)
	}
	dirs, err := logdir.Open(logdir.Options{
		FS: disk, Dirs: k.paths, KnownDirs: k.dirs.DirectoryIDs(), ClusterID: "c", NodeID: testNode, Now: k.now, BootID: "boot",
		Logger: slog.New(slog.DiscardHandler), Config: func(kafka.TopicPartition, kafka.UUID) commitlog.Config { return commitlog.DefaultConfig() },
	})
	if err != nil {
		t.Fatal(err)
	}
	if l, ok := dirs.Log(p.tp, p.topicID); !ok || l.End() != 3 {
		t.Errorf("a start without %s: log there %v; 3 records were acknowledged", other(from), ok)
	}
	answer <- nil
	dir := <-asked
	if dir != to.ID || p.Log().Dir() != other(from) {
		t.Errorf("told of %s", dir)
	}
	if _, err := k.fs.Stat(from + "/t-0"); err != nil {
		t.Errorf("the old copy is gone before the cluster knows: %v", err)
	}
	answer <- nil
	k.idle()
	if _, err := k.fs.Stat(from + "/t-0"); err == nil {
		t.Error("the old copy is still there")
	}
}

// TestAnnouncedMoveWithoutItsSource: a crash came between the word to the metadata and the
// switch, and the disk with the log is away. No empty log takes its place.
func TestAnnouncedMoveWithoutItsSource(t *testing.T) {
	k := newKitIn(t, "/a", "/b")
	topic := newTopic("t")
	p := k.create(topic)
	k.produce(p, 5)
	from := p.Log().Dir()
	asked := make(chan kafka.UUID, 1)
	k.assign = func(ctx context.Context, _ kafka.UUID, _ int32, dir kafka.UUID) error {
		asked <- dir
		<-ctx.Done()
		return ctx.Err()
	}
	if err := k.move(DirChange{"t", 0, other(from)})[0]; err != nil {
		t.Fatal(err)
	}
	topic.Partitions[0].Dirs = []kafka.UUID{<-asked}
	k.known = k.dirs.DirectoryIDs()
	away := func() {
		if err := errors.Join(k.fs.Rename(from, "/away"), k.fs.MkdirAll(from, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	back := func() {
		if err := errors.Join(k.fs.RemoveAll(from), k.fs.Rename("/away", from)); err != nil {
			t.Fatal(err)
		}
	}
	topic.Partitions[0].LeaderEpoch++
	k.Manager.Close()
	if err := k.dirs.Close(); err != nil {
		t.Fatal(err)
	}
	away()
	k.openDirs()
	k.start()
	if err := k.Apply(new(metadata.Image), &metadata.Delta{Created: []*metadata.Topic{topic}}); err == nil {
		t.Error("a log is there without its disk")
	}
	if p = k.restart(back, topic)[0]; p.Log() == nil || p.Log().End() != 5 {
		t.Errorf("log %v", p.Log())
	}
	k.idle()
}

// TestOldCopyOfALostLog: a log moved to a disk, went on there and was tiered from there, and the
// operator has accepted the loss of that disk before the old copy was removed. The copy gives
// no offset to another record that the object store holds.
func TestOldCopyOfALostLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKitIn(t, "/a", "/b")
		store := &fakeTier{fs: k.fs, view: tiered.View{Next: 8, Segments: 1}}
		k.withTier(store)
		topic := newTopic("t", "remote.storage.enable", "true")
		p := k.create(topic)
		k.produce(p, 5)
		to, err := k.dirAt(other(p.Log().Dir()))
		if err != nil {
			t.Fatal(err)
		}
		topic.Partitions[0].Dirs = []kafka.UUID{to.ID} // an empty one with that id by now
		p = k.restart(nil, topic)[0]
		if p.Log() == nil || p.Log().End() != 5 {
			t.Fatal("the old copy is not there")
		}
		_, _ = p.Append(k.records(1), AppendOptions{Acks: 1})
		synctest.Wait()
		if res := k.produce(p, 1); res.Base != 8 {
			t.Errorf("appended at %d, want 8", res.Base)
		}
		k.Manager.Close()
	})
}

// TestAnnouncedMoveThatFails: the metadata hears where the log has stayed, of a start too.
func TestAnnouncedMoveThatFails(t *testing.T) {
	for _, restart := range []bool{false, true} {
		k := newKitIn(t, "/a", "/b")
		topic := newTopic("t")
		p := k.create(topic)
		k.produce(p, 1)
		from, names := p.Log().Dir(), k.dirs.DirOf(p.tp)
		here := names
		var mu sync.Mutex
		assign := func(_ context.Context, _ kafka.UUID, _ int32, dir kafka.UUID) error {
			mu.Lock()
			defer mu.Unlock()
			names = dir
			return nil
		}
		if restart {
			to, err := k.dirAt(other(from))
			if err != nil {
				t.Fatal(err)
			}
			topic.Partitions[0].Dirs, names = []kafka.UUID{to.ID}, to.ID
			topic.Partitions[0].LeaderEpoch++
			k.Manager.Close()
			if err := k.dirs.Close(); err != nil {
				t.Fatal(err)
			}
			k.openDirs()
			k.start()
			k.assign = assign
			k.create(topic)
		} else {
			k.assign = assign
			k.fate = func(op errorfs.Op, name string) error {
				if op == errorfs.Rename && filepath.Dir(name) == other(from) {
					return syscall.EIO
				}
				return nil
			}
			if err := k.move(DirChange{"t", 0, other(from)})[0]; err != nil {
				t.Fatal(err)
			}
		}
		k.idle()
		mu.Lock()
		if names != here {
			t.Errorf("restart %v: the metadata names %s, the log is in %s", restart, names, here)
		}
		mu.Unlock()
	}
}

// TestMoveGoesOnAfterARestart: one that was on its way, and one whose end nobody had heard of.
func TestMoveGoesOnAfterARestart(t *testing.T) {
	k := newKitIn(t, "/a", "/b")
	topic := newTopic("t")
	p := k.create(topic)
	k.produce(p, 1)
	from := p.Log().Dir()
	k.moves.pace.mu.next = time.Now().Add(time.Hour)
	if err := errors.Join(k.move(DirChange{"t", 0, other(from)})...); err != nil {
		t.Fatal(err)
	}
	k.describeUntil(func(l LogInfo) bool { return l.Future })
	p = k.restart(nil, topic)[0]
	k.describeUntil(func(l LogInfo) bool { return !l.Future && p.Log().Dir() == other(from) })
	k.idle()
	if p.Log().End() != 1 {
		t.Errorf("end %d", p.Log().End())
	}
	topic.Partitions[0].Dirs = []kafka.UUID{k.dirs.DirOf(p.tp)}
	var asked atomic.Int32
	k.assign = func(context.Context, kafka.UUID, int32, kafka.UUID) error {
		if asked.Add(1) > 1 {
			return kafka.NotController
		}
		return nil
	}
	if err := errors.Join(k.move(DirChange{"t", 0, from})...); err != nil {
		t.Fatal(err)
	}
	k.idle()
	// The metadata, an old copy of it, names the former directory, which is offline now.
	lost := func() {
		if err := errors.Join(k.fs.RemoveAll(other(from)), k.fs.MkdirAll(other(from), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	k.known = k.dirs.DirectoryIDs()
	p = k.restart(lost, topic)[0]
	if p.Log() == nil || p.Log().Dir() != from || p.Log().End() != 1 {
		t.Errorf("log %v", p.Log())
	}
}

// describeUntil looks at the log directories until one log is as wanted.
func (k *kit) describeUntil(want func(LogInfo) bool) {
	k.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		done := make(chan []LogDir, 1)
		k.LogDirs(func(kafka.TopicPartition) bool { return true }, func(d []LogDir) { done <- d })
		for _, d := range <-done {
			if slices.ContainsFunc(d.Logs, want) {
				return
			}
		}
		if time.Now().After(deadline) {
			k.t.Fatal("no log is as wanted")
		}
		<-time.After(time.Millisecond)
	}
}

func TestCancelAndRedirectAMove(t *testing.T) {
	k := newKitIn(t, "/a", "/b", "/c")
	p := k.create(newTopic("t"))
	k.produce(p, 1)
	k.produce(p, 100)
	k.moves.pace.mu.next = time.Now().Add(time.Hour)
	from := p.Log().Dir()
	others := slices.DeleteFunc([]string{"/a", "/b", "/c"}, func(d string) bool { return d == from })
	for _, to := range []string{others[0], others[0], others[1], from} {
		if err := k.move(DirChange{"t", 0, to})[0]; err != nil {
			t.Fatal(err)
		}
		futures := k.dirs.Futures()
		moving := k.dirs.Moving()
		if to == from && len(moving)+len(futures) != 0 || to != from && (len(moving) != 1 || moving[0].Dir != to || moving[0].Lag != 101 || len(futures) != 0) {
			t.Errorf("to %s: moving %+v, futures %+v", to, moving, futures)
		}
	}
	// A topic that is deleted takes its move along.
	if err := k.move(DirChange{"t", 0, others[0]})[0]; err != nil {
		t.Fatal(err)
	}
	k.apply(&metadata.Delta{Deleted: []*metadata.Topic{{Name: "t", ID: p.topicID}}})
	if n := len(k.dirs.Moving()) + len(k.dirs.Futures()); n != 0 {
		t.Errorf("%d moves of a deleted topic", n)
	}
	for _, dir := range k.paths {
		entries, err := k.fs.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.IsDir() {
				t.Errorf("%s/%s is left", dir, e.Name())
			}
		}
	}
}
