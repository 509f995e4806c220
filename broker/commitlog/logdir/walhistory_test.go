package logdir

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/commitlog/wal"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs/errorfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

// TestGroupHistories plays random histories over logs in both durability modes, cuts the
// power at a random step of the disk, during recoveries too, and wants what comes back to
// be what was appended, with every record that was durable before the cut and none that was
// cut or deleted. VARVE_WAL_HISTORIES and VARVE_WAL_SEED ask for more.
func TestGroupHistories(t *testing.T) {
	n, first := 60, 1
	for name, v := range map[string]*int{"VARVE_WAL_HISTORIES": &n, "VARVE_WAL_SEED": &first} {
		if s := os.Getenv(name); s != "" {
			var err error
			if *v, err = strconv.Atoi(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range n {
		seed := uint64(first + i)
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { playWAL(t, seed) })
	}
}

// walWorld is one disk with the processes on it, one after the other.
type walWorld struct {
	t     *testing.T
	rng   *rand.Rand
	disk  *memfs.FS
	m     *Manager
	parts []*model
	ids   byte

	fuse atomic.Int64 // steps until the power is cut, 0 = not armed
	seed uint64       // of the cut

	mu struct {
		sync.Mutex
		cond  *sync.Cond
		clone *memfs.FS // what the cut left, nil while there is power
		lives int       // processes so far
	}
}

// model is what a partition must hold.
type model struct {
	tp      kafka.TopicPartition
	id      kafka.UUID
	log     *commitlog.Log
	c       commitlog.Config
	batches []modelBatch
	epoch   int32
	names   int

	// Guarded by walWorld.mu, and as they were at the cut.
	floor   int64 // nothing below it may be missing
	start   int64 // the log start may not be lower
	deleted bool  // under way: it may be gone
	moved   int64 // a log start that becomes certain with the next durable append
	group   bool  // the log is in group mode
}

type modelBatch struct {
	base, next int64
	name       string
}

func (f *model) end() int64 {
	if len(f.batches) == 0 {
		return 0
	}
	return f.batches[len(f.batches)-1].next
}

func playWAL(t *testing.T, seed uint64) {
	w := &walWorld{t: t, rng: rand.New(rand.NewPCG(seed, 9)), disk: memfs.New()}
	w.mu.cond = sync.NewCond(&w.mu.Mutex)
	w.begin(0)
	for range 1 + w.rng.IntN(4) {
		w.create()
	}
	for range 3 + w.rng.IntN(4) {
		if w.rng.IntN(5) > 0 {
			w.seed = w.rng.Uint64()
			w.fuse.Store(1 + w.rng.Int64N(1<<(3+w.rng.IntN(8))))
		}
		for range 20 + w.rng.IntN(120) {
			if w.isDark() {
				break
			}
			w.act(w.parts[w.rng.IntN(len(w.parts))])
		}
		if w.rng.IntN(4) > 0 {
			w.seed = w.rng.Uint64()
			w.cut() // or it ends in order
		}
		w.restart()
	}
	if err := w.m.Close(); err != nil {
		t.Fatal(err)
	}
}

// step burns the fuse.
func (w *walWorld) step(op errorfs.Op, _ string) error {
	if op != errorfs.Stat && op != errorfs.FileStat && op != errorfs.Usage && w.fuse.Load() > 0 && w.fuse.Add(-1) == 0 {
		w.cut()
	}
	return nil
}

// cut is the power cut. The process goes on with the old disk, unheard.
func (w *walWorld) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.clone == nil {
		w.mu.clone = w.disk.CrashClone(w.seed)
	}
}

func (w *walWorld) isDark() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.clone != nil
}

// note changes what is known for sure of a partition, unless the power is off already.
func (w *walWorld) note(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.clone == nil {
		f()
	}
}

// begin starts a process.
func (w *walWorld) begin(fuse int64) {
	w.t.Helper()
	w.mu.Lock()
	w.mu.lives++
	w.mu.clone = nil
	lives := w.mu.lives
	w.mu.Unlock()
	w.seed = w.rng.Uint64()
	w.fuse.Store(fuse)
	o := options(errorfs.Wrap(w.disk, w.step), "/a")
	o.BootID, o.WALBytes = fmt.Sprint("boot", lives), int64(wal.MinBytes)
	configs := map[kafka.UUID]commitlog.Config{}
	for _, f := range w.parts {
		configs[f.id] = f.c
	}
	o.Config = func(_ kafka.TopicPartition, id kafka.UUID) commitlog.Config {
		if c, ok := configs[id]; ok {
			return c
		}
		return testConfig()
	}
	m, err := Open(o)
	if err != nil {
		w.t.Fatalf("start: %v", err)
	}
	w.m = m
}

// restart ends the process and starts the next one, whose recovery may be cut short as well.
func (w *walWorld) restart() {
	for {
		w.fuse.Store(0)
		dark := w.isDark()
		if err := w.m.Close(); err != nil && !dark {
			w.t.Fatalf("stop: %v", err)
		}
		if dark {
			w.disk = w.mu.clone
		}
		fuse := int64(0)
		if w.rng.IntN(3) == 0 {
			fuse = 1 + w.rng.Int64N(1<<(2+w.rng.IntN(7)))
		}
		w.begin(fuse)
		if w.isDark() {
			continue
		}
		w.fuse.Store(0)
		if !w.isDark() {
			break
		}
	}
	for _, l := range w.m.Logs() { // deleted, and still in the checkpoint
		if !slices.ContainsFunc(w.parts, func(f *model) bool { return f.id == l.TopicID() }) {
			w.check(w.m.Delete(l.TopicPartition(), l.TopicID()))
		}
	}
	for _, f := range slices.Clone(w.parts) {
		w.compare(f)
	}
	for len(w.parts) == 0 {
		w.create()
	}
}

// create adds a partition, at times of the name of one that was deleted.
func (w *walWorld) create() {
	w.ids++
	f := &model{tp: tp("t", int32(len(w.parts))), id: id(w.ids), c: testConfig()}
	for slices.ContainsFunc(w.parts, func(o *model) bool { return o.tp == f.tp }) {
		f.tp.Partition++
	}
	f.c.Group = w.rng.IntN(3) > 0
	f.c.Compact = f.c.Group && w.rng.IntN(3) == 0
	w.open(f)
	w.parts = append(w.parts, f)
}

func (w *walWorld) open(f *model) {
	log, err := w.m.Create(f.tp, f.id, f.c, Placement{Fresh: true})
	w.check(err)
	w.mu.Lock() // the log that was there before may be heard yet
	f.log, f.group = log, f.c.Group
	w.mu.Unlock()
	w.watch(f)
}

// watch notes what becomes durable. A process that the power left goes on with its old disk,
// and what it tells may come late, when the next one is at work: it is not heard any more.
func (w *walWorld) watch(f *model) {
	log, life := f.log, w.mu.lives
	commitlog.OnDurable(log, func() {
		w.note(func() {
			if w.mu.lives == life && f.log == log && f.group {
				f.floor = max(f.floor, log.Durable())
			}
		})
		w.mu.cond.Broadcast()
	})
}

// act does one thing to a partition.
func (w *walWorld) act(f *model) {
	switch n := w.rng.IntN(40); {
	case n < 26:
		w.append(f, w.rng.IntN(3) > 0)
	case n < 29:
		w.check(f.log.Roll())
	case n < 30:
		w.check(f.log.Flush())
		w.note(func() { f.floor = max(f.floor, f.end()) })
	case n < 32:
		w.check(w.m.Checkpoint())
	case n < 34:
		w.truncate(f)
	case n < 35:
		w.remove(f)
	case n < 37:
		if f.c.Compact { // in the page cache a gap that a crash left passes for one of compaction
			return
		}
		f.c.Group = !f.c.Group
		w.note(func() { f.group = false })
		w.check(f.log.SetConfig(f.c))
		w.note(func() { f.group = f.c.Group })
	case n < 38:
		w.reset(f)
	default:
		w.raise(f)
	}
}

func (w *walWorld) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// append appends a batch and, if it is to wait, has it durable on return in group mode.
func (w *walWorld) append(f *model, wait bool) {
	f.names++
	name := fmt.Sprintf("%s/%x/%d", f.tp, f.id[:2], f.names)
	var b batch.Builder
	n := 1 + w.rng.IntN(3)
	value := append([]byte(name+" "), make([]byte, w.rng.IntN(1<<w.rng.IntN(15)))...)
	for range n {
		b.Append(nil, value, nil, 1_700_000_000_000)
	}
	raw := b.Bytes()
	h, err := batch.ParseHeader(raw)
	w.check(err)
	if w.rng.IntN(20) == 0 {
		f.epoch++
	}
	c := f.c
	c.SegmentBytes = max(c.SegmentBytes, int64(len(raw)))
	w.check(f.log.SetConfig(c))
	base := f.end()
	f.batches = append(f.batches, modelBatch{base, base + int64(n), name})
	a, err := f.log.Append(raw, h, f.epoch)
	w.check(err)
	if a.BaseOffset != base {
		w.t.Fatalf("%s: batch at %d, want %d", name, a.BaseOffset, base)
	}
	if !f.c.Group {
		return
	}
	moved := f.moved
	w.mu.Lock()
	for wait && f.log.Durable() < f.end() {
		w.mu.cond.Wait()
	}
	w.mu.Unlock()
	durable := f.log.Durable()
	w.note(func() {
		f.floor = max(f.floor, durable)
		if wait {
			f.start = max(f.start, moved)
		}
	})
}

// truncate cuts the log somewhere.
func (w *walWorld) truncate(f *model) {
	start, end := f.log.LocalStart(), f.end()
	if segs := f.log.Segments(); len(segs) == 0 || start == end {
		return
	} else {
		start = segs[0].Base
	}
	to := start + w.rng.Int64N(end-start)
	i := slices.IndexFunc(f.batches, func(b modelBatch) bool { return b.next > to })
	if i < 0 || f.batches[i].base < start {
		return
	}
	w.note(func() {
		f.group = false // what becomes durable now may be cut in the next moment
		f.floor = min(f.floor, f.batches[i].base)
		f.start, f.moved = min(f.start, f.batches[i].base), min(f.moved, f.batches[i].base)
	})
	w.check(f.log.TruncateTo(to))
	if got := f.log.End(); got != f.batches[i].base {
		w.t.Fatalf("truncated to %d: ends at %d, want %d", to, got, f.batches[i].base)
	}
	w.note(func() { f.batches, f.group = f.batches[:i:i], f.c.Group })
}

// reset starts the log anew behind its end.
func (w *walWorld) reset(f *model) {
	if w.rng.IntN(3) > 0 || f.end() == 0 {
		return
	}
	to := f.end() + w.rng.Int64N(10)
	w.note(func() { f.deleted, f.group = true, false })
	w.check(f.log.ResetTo(to))
	w.note(func() {
		f.deleted, f.group = false, f.c.Group
		f.batches = []modelBatch{{to, to, "reset"}}
		f.floor, f.start = to, to
	})
}

// remove deletes the partition; it comes back under another topic id, or the same one.
func (w *walWorld) remove(f *model) {
	w.note(func() { f.deleted = true })
	w.check(w.m.Delete(f.tp, f.id))
	dark := w.isDark()
	if dark {
		return
	}
	if w.rng.IntN(2) == 0 {
		w.parts = slices.DeleteFunc(w.parts, func(o *model) bool { return o == f })
		w.create()
		return
	}
	f.c.Group = f.c.Compact || w.rng.IntN(3) > 0
	w.open(f)
	w.check(w.m.CheckpointDir("/a")) // else a crash finds what was promised of the log that went
	w.note(func() { f.deleted, f.batches, f.epoch, f.floor, f.start, f.moved = false, nil, 0, 0, 0, 0 })
}

// raise moves the log start up, as retention does, and evicts what it can.
func (w *walWorld) raise(f *model) {
	from, end := f.log.LogStart(), f.end()
	if end <= from || !f.c.Group && w.rng.IntN(2) == 0 {
		return
	}
	to := from + w.rng.Int64N(end-from)
	if f.c.Group && to > f.log.Durable() {
		return // the high watermark bounds it
	}
	w.check(f.log.SetStart(to))
	w.note(func() { f.moved = max(f.moved, to) })
	if w.rng.IntN(2) == 0 {
		_, err := f.log.EvictBelow(to)
		w.check(err)
	}
	if w.rng.IntN(2) == 0 {
		w.check(w.m.CheckpointDir("/a"))
		w.note(func() { f.start = max(f.start, to) })
	}
}

// compare reads a log back after a start.
func (w *walWorld) compare(f *model) {
	w.t.Helper()
	log, ok := w.m.Log(f.tp, f.id)
	if !ok {
		if !f.deleted && f.floor > 0 {
			w.t.Fatalf("%s: the log is gone; it was durable up to %d", f.tp, f.floor)
		}
		w.parts = slices.DeleteFunc(w.parts, func(o *model) bool { return o == f })
		return
	}
	f.log = log
	if f.deleted { // or being reset: half-way is no state to go on from
		w.check(w.m.Delete(f.tp, f.id))
		w.parts = slices.DeleteFunc(w.parts, func(o *model) bool { return o == f })
		return
	}
	if err := errors.Join(log.Err(), log.Damage()); err != nil {
		w.t.Fatalf("%s, durable up to %d: %v", f.tp, f.floor, err)
	}
	end, start := log.End(), log.LogStart()
	if end < f.floor || end > f.end() || start < min(f.start, end) {
		w.t.Fatalf("%s: [%d, %d); durable up to %d, appended up to %d, the log start was %d", f.tp, start, end, f.floor, f.end(), f.start)
	}
	byBase := map[int64]modelBatch{}
	for _, b := range f.batches {
		byBase[b.base] = b
	}
	next, sure := int64(-1), end
	if f.c.Compact { // behind what was durable a gap of a power cut passes for one of compaction
		sure = f.floor
	}
	for off := log.LocalStart(); off < sure; {
		r, err := log.Read(off, 1, end, true)
		w.check(err)
		raw, err := r.Range.ReadAll()
		r.Range.Release()
		w.check(err)
		h, err := batch.ParseHeader(raw)
		w.check(errors.Join(err, batch.CheckCRC(raw)))
		want, ok := byBase[h.BaseOffset]
		if !ok || want.next != h.LastOffset()+1 || next >= 0 && h.BaseOffset != next || !strings.Contains(string(raw), want.name+" ") {
			w.t.Fatalf("%s: a batch at %d that is not %+v", f.tp, h.BaseOffset, want)
		}
		off, next = h.LastOffset()+1, h.LastOffset()+1
	}
	if sure < end {
		w.check(w.m.Delete(f.tp, f.id))
		w.parts = slices.DeleteFunc(w.parts, func(o *model) bool { return o == f })
		return
	}
	f.batches = slices.DeleteFunc(f.batches, func(b modelBatch) bool { return b.next > end })
	f.floor, f.start, f.moved = min(f.floor, end), start, 0
	if f.c.Group {
		f.floor = end // what is shown after a start is durable
	}
	f.group = f.c.Group
	w.watch(f)
}
