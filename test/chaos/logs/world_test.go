// Package logs plays one random history on the whole log engine (log dirs, segments, the
// write-ahead file, compaction, moves) and on a flat list, and wants the same answers of
// both: through restarts with other settings, kills, power cuts at any call of the file
// system, and disks that fail, fill or dawdle. It does not know of brokers and requests:
// those histories are package chaos.
package logs

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/commitlog/cleaner"
	"github.com/varve-io/varve/broker/commitlog/logdir"
	"github.com/varve-io/varve/broker/commitlog/wal"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/errorfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

// keepProducers: producers expire by the clock, which is not what these histories are about.
const keepProducers = 1 << 60

// deleteRetentionMs is delete.retention.ms of the compacted logs, in virtual time.
const deleteRetentionMs = 5000

// world is one machine with the processes on it, one after the other. Time is virtual.
type world struct {
	t     *testing.T
	rng   *rand.Rand
	disk  *memfs.FS
	dirs  []string
	m     *logdir.Manager
	c     *cleaner.Cleaner
	parts []*part
	ids   byte
	boot  int // the machine's run
	// In a third of the histories a process may lack a log dir. The partitions that the metadata has
	// there, or may have, are absent until it is back.
	lacks  bool
	away   string
	absent []*part
	stats  stats
	story  []string     // what was done last
	said   bytes.Buffer // the logs of the processes; slog guards it

	// The process ends when fuse calls of the file system have passed, counted from arming: by
	// a power cut of this seed, or killed while the machine goes on.
	calls atomic.Int64
	fuse  atomic.Int64
	seed  uint64
	kill  bool
	flaw  *flaw

	mu struct {
		sync.Mutex
		clone *memfs.FS // what the end left, nil while the process lives
	}
}

// stats says what a run has seen.
type stats struct{ acts, lives, cuts, kills, flaws int }

func (s *stats) add(o stats) {
	s.acts, s.lives, s.cuts, s.kills, s.flaws = s.acts+o.acts, s.lives+o.lives, s.cuts+o.cuts, s.kills+o.kills, s.flaws+o.flaws
}

// flaw is what is wrong with one log dir's disk: some calls from the skip-th on.
type flaw struct {
	dir         string
	what        string
	err         error
	ops         []errorfs.Op // none = all
	slow        time.Duration
	skip, times atomic.Int64
	hit         atomic.Bool
	at          atomic.Value // the first call that it hit
}

func (f *flaw) strike(op errorfs.Op, name string) error {
	if f == nil || name != f.dir && !strings.HasPrefix(name, f.dir+"/") || f.ops != nil && !slices.Contains(f.ops, op) {
		return nil
	}
	if f.skip.Add(-1) >= 0 || f.times.Add(-1) < 0 {
		return nil
	}
	if !f.hit.Swap(true) {
		f.at.Store(fmt.Sprint(f.what, " at ", op, " ", name))
	}
	<-time.After(f.slow)
	return f.err
}

// flaws are the ways in which a disk fails; the names are for messages.
func (w *world) newFlaw() *flaw {
	writes := []errorfs.Op{errorfs.FileWriteAt, errorfs.MkdirAll, errorfs.Rename}
	syncs := []errorfs.Op{errorfs.FileSync, errorfs.FileDatasync, errorfs.SyncDir}
	f := []*flaw{
		{what: "EIO", err: syscall.EIO},
		{what: "EIO at a write", err: syscall.EIO, ops: writes},
		{what: "EIO at a sync", err: syscall.EIO, ops: syncs},
		{what: "EIO after the call", err: errorfs.After(syscall.EIO), ops: append(writes, syncs...)},
		{what: "short write", err: errorfs.Short(w.rng.IntN(100), syscall.EIO), ops: writes[:1]},
		{what: "full disk", err: syscall.ENOSPC, ops: writes},
		{what: "short write on a full disk", err: errorfs.Short(w.rng.IntN(100), syscall.ENOSPC), ops: writes[:1]},
		{what: "too many open files", err: syscall.EMFILE, ops: []errorfs.Op{errorfs.OpenFile}},
		{what: "slow syncs", slow: time.Duration(w.rng.IntN(3000)) * time.Millisecond, ops: syncs},
	}[w.rng.IntN(9)]
	f.dir = w.dirs[w.rng.IntN(len(w.dirs))]
	f.times.Store(1 + w.rng.Int64N(1<<w.rng.IntN(5)))
	f.skip.Store(w.rng.Int64N(1 << (3 + w.rng.IntN(5))))
	return f
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 31)), disk: memfs.New()}
	w.dirs = []string{"/a", "/b", "/c"}[:1+w.rng.IntN(3)]
	w.lacks = len(w.dirs) > 1 && rand.New(rand.NewPCG(seed, 49)).IntN(3) == 0 // what the others choose does not change by it
	return w
}

// tell keeps what is done, to be read when the history fails.
func (w *world) tell(format string, args ...any) {
	const kept = 60
	if w.story = append(w.story, fmt.Sprintf(format, args...)); len(w.story) > kept {
		w.story = w.story[1:]
	}
}

// report says of a history that failed what was done last.
func (w *world) report() {
	if !w.t.Failed() {
		return
	}
	w.t.Logf("what was done last:\n%s", strings.Join(w.story, "\n"))
	said := strings.Split(w.said.String(), "\n")
	w.t.Logf("and what the processes said:\n%s", strings.Join(said[max(0, len(said)-30):], "\n"))
}

// step burns the fuse, and is where a disk shows its flaw.
func (w *world) step(op errorfs.Op, name string) error {
	if op == errorfs.Stat || op == errorfs.FileStat || op == errorfs.Usage || op == errorfs.FileClose {
		return nil
	}
	w.calls.Add(1)
	if w.fuse.Load() > 0 && w.fuse.Add(-1) == 0 {
		w.end()
	}
	return w.flaw.strike(op, name)
}

// end is the end of the process: a power cut, or a kill. It goes on with the old disk, unheard.
func (w *world) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.mu.clone != nil:
	case w.kill:
		w.mu.clone = w.disk.KillClone()
	default:
		w.mu.clone = w.disk.CrashClone(w.seed)
	}
}

func (w *world) ended() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.clone != nil
}

// note changes what is known for sure of a partition, unless the process has ended already.
func (w *world) note(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.clone == nil {
		f()
	}
}

// begin starts a process with settings of its own.
func (w *world) begin(fuse int64) error {
	w.stats.lives++
	w.mu.clone = nil
	w.seed, w.kill = w.rng.Uint64(), w.rng.IntN(4) == 0
	w.fuse.Store(fuse)
	configs := map[kafka.UUID]commitlog.Config{}
	w.parts, w.absent = append(w.parts, w.absent...), nil
	for _, f := range w.parts {
		f.settings(w.rng)
		configs[f.id] = f.c
	}
	all := slices.Clone(w.parts)
	fsys := errorfs.Wrap(w.disk, w.step)
	logger := slog.New(slog.NewTextHandler(&w.said, nil))
	m, err := logdir.Open(logdir.Options{
		FS: fsys, Dirs: slices.DeleteFunc(slices.Clone(w.dirs), func(d string) bool { return d == w.away }), ClusterID: "Y2x1c3Rlci1jbHVzdGVyLQ", NodeID: 1, BootID: fmt.Sprint("boot", w.boot),
		Config: func(_ kafka.TopicPartition, id kafka.UUID) commitlog.Config {
			if c, ok := configs[id]; ok {
				return c
			}
			return commitlog.DefaultConfig()
		},
		Named: func(tp kafka.TopicPartition, id kafka.UUID) bool {
			return slices.ContainsFunc(all, func(f *part) bool { return f.tp == tp && f.id == id })
		},
		Now: time.Now, Logger: logger, ProducerIDExpirationMs: keepProducers,
		OpenFiles: 1 + w.rng.IntN(20), RecoveryThreads: 1 + w.rng.IntN(3), WALBytes: int64(wal.MinBytes) << w.rng.IntN(2),
	})
	if err != nil {
		return err
	}
	w.m = m
	w.c = w.newCleaner(fsys, logger)
	return nil
}

func (w *world) newCleaner(fsys vfs.FS, logger *slog.Logger) *cleaner.Cleaner {
	s := cleaner.Settings{Threads: 1, DedupeBytes: int64(24 * (20 + w.rng.IntN(500))), LoadFactor: 0.9, MaxBytesPerSecond: math.MaxFloat64}
	policy := cleaner.Policy{DeleteRetentionMs: deleteRetentionMs, MaxLagMs: math.MaxInt64, MaxGroupBytes: int64(1000 + w.rng.IntN(8000)), MaxIndexBytes: 1 << 20}
	return cleaner.New(cleaner.Options{
		FS: fsys, Now: time.Now, Logger: logger, Settings: func() cleaner.Settings { return s },
		Partitions: func() iter.Seq[cleaner.Partition] {
			return func(yield func(cleaner.Partition) bool) {
				for _, l := range w.m.Logs() {
					if !slices.ContainsFunc(w.parts, func(f *part) bool { return f.id == l.TopicID() }) {
						continue // the old copy of an absent one, at most
					}
					p := cleaner.Partition{Log: l, Policy: policy, StableEnd: func() int64 { return l.LastStable(l.Durable()) }}
					if !yield(p) {
						return
					}
				}
			}
		},
	})
}

// life is one process from what was begun to the next one's start.
func (w *world) life(acts int) {
	w.seed = w.rng.Uint64()
	if w.rng.IntN(3) > 0 {
		w.fuse.Store(1 + w.rng.Int64N(1<<(3+w.rng.IntN(9))))
	} else if w.rng.IntN(2) == 0 {
		w.flaw = w.newFlaw()
	}
	for range acts {
		if w.ended() {
			break
		}
		w.stats.acts++
		w.act(w.parts[w.rng.IntN(len(w.parts))])
	}
	if w.rng.IntN(2) == 0 {
		w.end() // or it ends in order
	}
	w.restart()
}

// restart ends the process and starts the next one, whose recovery may be cut short or meet
// a failing disk as well.
func (w *world) restart() {
	powerLost := false
	for {
		w.fuse.Store(0)
		ended, hurt := w.ended(), w.flaw != nil && w.flaw.hit.Load()
		if hurt {
			w.stats.flaws++
			w.tell("the disk had a flaw: %v", w.flaw.at.Load())
		}
		w.flaw = nil
		if err := w.close(); err != nil && !ended && !hurt {
			w.t.Fatalf("stop: %v", err)
		}
		if ended {
			w.disk = w.mu.clone
		} else if hurt {
			w.disk = w.disk.KillClone()
		}
		if ended && w.kill {
			w.stats.kills++
		} else if ended {
			powerLost = true
			for _, f := range slices.Concat(w.parts, w.absent) {
				f.dark = true
			}
			w.stats.cuts++
			w.boot++
		}
		w.tell("restart: ended %v by a kill %v, hurt %v", ended, w.kill, hurt)
		fuse := int64(0)
		if n := w.rng.IntN(6); n < 2 {
			fuse = 1 + w.rng.Int64N(1<<(2+w.rng.IntN(8)))
		} else if n == 2 && !powerLost {
			w.flaw = w.newFlaw()
		}
		if w.away = ""; w.lacks && w.rng.IntN(3) == 0 {
			w.away = w.dirs[w.rng.IntN(len(w.dirs))]
			w.tell("a start without %s", w.away)
		}
		err := w.begin(fuse)
		if err != nil && !w.ended() && (w.flaw == nil || !w.flaw.hit.Load()) {
			w.t.Fatalf("start: %v", err)
		}
		if err == nil && !w.ended() && (w.flaw == nil || !w.flaw.hit.Load()) {
			w.flaw = nil
			if w.fuse.Store(0); w.ended() {
				continue
			}
			if w.settle(); w.away == "" {
				return
			}
			w.visit()
		}
	}
}

// visit is a process without a log dir, from its start to its end.
func (w *world) visit() {
	w.seed, w.kill = w.rng.Uint64(), w.rng.IntN(3) == 0
	if w.rng.IntN(2) == 0 {
		w.fuse.Store(1 + w.rng.Int64N(300))
	}
	for range w.rng.IntN(30) {
		if w.ended() {
			return
		}
		w.act(w.parts[w.rng.IntN(len(w.parts))])
	}
	if w.rng.IntN(2) == 0 {
		w.end()
	}
}

// leave takes the partitions out of the play that need the log dir that is not there. Some are
// deleted meanwhile, and their names are free.
func (w *world) leave() {
	for _, f := range slices.Clone(w.parts) {
		if w.away == "" || !slices.Contains(f.dirs, w.away) {
			continue
		}
		w.parts = slices.DeleteFunc(w.parts, func(o *part) bool { return o == f })
		if w.rng.IntN(4) > 0 {
			w.absent = append(w.absent, f)
		} else {
			w.tell("%s: deleted without %s", f.tp, w.away)
		}
	}
}

// close stops the process that there is, if any.
func (w *world) close() error {
	m := w.m
	if w.m = nil; m == nil {
		return nil
	}
	return m.Close()
}

// settle compares what a start has found with what must be there.
func (w *world) settle() {
	w.t.Helper()
	w.leave()
	for _, d := range w.m.Dirs() {
		if d.Offline != nil {
			w.t.Fatalf("log dir %s: %v", d.Path, d.Offline)
		}
	}
	for _, l := range w.m.Logs() { // deleted, and still in the checkpoint
		if !slices.ContainsFunc(slices.Concat(w.parts, w.absent), func(f *part) bool { return f.id == l.TopicID() }) {
			w.check(w.m.Delete(l.TopicPartition(), l.TopicID()))
		}
	}
	for _, f := range slices.Clone(w.parts) {
		w.reconcile(f, f.dark)
		f.dark = false
	}
	for len(w.parts) == 0 {
		w.create()
	}
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// may says whether work on a log may fail: its disk, or the one it moves to, has a flaw, or
// nobody hears the answer. A log that has failed rests until the next start.
func (w *world) may(f *part, err error, dirs ...string) bool {
	w.t.Helper()
	f.resting = f.resting || f.log.Err() != nil
	if err == nil || w.ended() {
		return err != nil
	}
	if w.flaw != nil && w.flaw.hit.Load() && slices.Contains(append(dirs, f.log.Dir()), w.flaw.dir) {
		return true
	}
	w.t.Fatalf("%s in %s: %v", f.tp, f.log.Dir(), err)
	return false
}

// drop forgets a partition whose state is nothing to go on from.
func (w *world) drop(f *part) {
	w.parts = slices.DeleteFunc(w.parts, func(o *part) bool { return o == f })
	if l, ok := w.m.Log(f.tp, f.id); ok {
		w.check(errors.Join(w.m.Delete(l.TopicPartition(), l.TopicID())))
	}
}
