package wal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/errorfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

var testDir = kafka.UUID{7, 7, 7}

// rig is a WAL and what it told.
type rig struct {
	t  *testing.T
	w  *WAL
	mu sync.Mutex
	// failed and checkpoints count the calls of the options; full is what the latter answer.
	failed, checkpoints int
	full                error
}

func newDisk(t testing.TB) *memfs.FS {
	fsys := memfs.New()
	if err := vfs.MkdirAllSync(fsys, "/d", 0o755); err != nil {
		t.Fatal(err)
	}
	return fsys
}

func (r *rig) options(fsys vfs.FS) Options {
	return Options{
		FS: fsys, Dir: "/d", DirID: testDir, Bytes: MinBytes, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Checkpoint: func() error { r.mu.Lock(); defer r.mu.Unlock(); r.checkpoints++; return r.full },
		Failed:     func(error) { r.mu.Lock(); defer r.mu.Unlock(); r.failed++ },
	}
}

func start(t *testing.T, fsys vfs.FS, tune ...func(*Options)) *rig {
	t.Helper()
	r := &rig{t: t}
	o := r.options(fsys)
	for _, f := range tune {
		f(&o)
	}
	w, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	r.w = w
	return r
}

// owner is a log that remembers what it was told.
type owner struct {
	mu       sync.Mutex
	cond     *sync.Cond
	end      int64 // committed
	appended int64
	member   *Member
	syncs    int
	sync     error // what SyncForWAL answers
}

func join(w *WAL, k Key, end int64) *owner {
	o := &owner{end: end, appended: end}
	o.cond = sync.NewCond(&o.mu)
	o.member = w.Join(k, o, end)
	return o
}

func (o *owner) SyncForWAL() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.syncs++
	if o.sync == nil {
		o.member.Covered(o.appended)
	}
	return o.sync
}

// covered is what the log's own files were said to hold.
func (o *owner) covered() int64 {
	o.member.w.mu.Lock()
	defer o.member.w.mu.Unlock()
	return o.member.covered
}

func (o *owner) Committed(_ *Member, end, _ int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.end = max(o.end, end)
	o.cond.Broadcast()
}

// append stages one record and, if it is to wait, has it durable on return.
func (o *owner) append(t *testing.T, b []byte, wait bool) error {
	t.Helper()
	o.mu.Lock()
	base := o.appended
	o.appended++
	o.mu.Unlock()
	if err := o.member.Data(base, base+1, b); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for wait && o.end <= base {
		o.cond.Wait()
	}
	return nil
}

// count is the value of a counter.
func count(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func key(b byte, p int32) Key { return Key{kafka.UUID{b}, p} }

func content(o int64, n int) []byte { return bytes.Repeat([]byte(fmt.Sprintf("%06d.", o)), n/7+1)[:n] }

// recovered reads everything back and checks that it is what append wrote.
func recovered(t *testing.T, fsys vfs.FS, k Key) (base, end int64) {
	t.Helper()
	r, err := Recover(fsys, "/d", testDir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	base, end = -1, -1
	err = r.For(k).Each(func(off int64, b []byte) error {
		if base < 0 {
			base, end = off, off
		}
		if off != end || !bytes.Equal(b, content(off, len(b))) {
			return fmt.Errorf("record %d of %d bytes, want %d", off, len(b), end)
		}
		end = off + 1
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return base, end
}

// TestWhatIsCommittedIsReplayed also when the power goes at once, lap after lap.
func TestWhatIsCommittedIsReplayed(t *testing.T) {
	fsys := newDisk(t)
	var clones []*memfs.FS // as of the last syncs, before them
	r := start(t, errorfs.Wrap(fsys, func(op errorfs.Op, _ string) error {
		if op == errorfs.FileDatasync {
			clones = append(clones, fsys.CrashClone(uint64(len(clones))))
		}
		return nil
	}))
	a, b := join(r.w, key(1, 0), 100), join(r.w, key(1, 1), 0)
	for i := range 250 {
		n := 100 + i*37%9000
		acked := a.appended
		clones = clones[:0]
		if err := errors.Join(b.append(t, content(b.appended, 10), false), a.append(t, content(a.appended, n), true)); err != nil {
			t.Fatal(err)
		}
		covered := a.covered()
		for _, c := range append(clones, fsys.CrashClone(uint64(i))) {
			if base, end := recovered(t, c, key(1, 0)); i > 0 && (max(end, covered) < acked || base > max(covered, 100)) {
				t.Fatalf("after %d: [%d, %d), acknowledged up to %d, in its own files up to %d", i, base, end, acked, covered)
			}
		}
	}
	if a.syncs == 0 || r.checkpoints == 0 {
		t.Errorf("%d syncs and %d checkpoints in several laps", a.syncs, r.checkpoints)
	}
	if err := r.w.Close(true); err != nil {
		t.Fatal(err)
	}
	if _, end := recovered(t, fsys, key(1, 0)); end >= 0 {
		t.Errorf("something is replayed after a clean close")
	}
}

// TestOneSyncServesAll: what arrives during a sync shares the next one.
func TestOneSyncServesAll(t *testing.T) {
	fsys := newDisk(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	var syncs int
	var armed atomic.Bool
	slow := errorfs.Wrap(fsys, func(op errorfs.Op, _ string) error {
		if op == errorfs.FileDatasync && armed.Load() {
			if syncs++; syncs == 1 {
				close(entered)
				<-leave
			}
		}
		return nil
	})
	reg := prometheus.NewRegistry()
	m := NewMetrics(reg)
	r := start(t, slow, func(o *Options) { o.Metrics = m })
	armed.Store(true)
	o := join(r.w, key(1, 0), 0)
	if err := o.append(t, content(0, 50), false); err != nil {
		t.Fatal(err)
	}
	<-entered
	for range 100 {
		if err := o.append(t, content(o.appended, 50), false); err != nil {
			t.Fatal(err)
		}
	}
	o.mu.Lock()
	if o.end != 0 {
		t.Errorf("acknowledged up to %d before the sync", o.end)
	}
	o.mu.Unlock()
	close(leave)
	if err := o.append(t, content(o.appended, 50), true); err != nil {
		t.Fatal(err)
	}
	if err := r.w.Close(true); err != nil {
		t.Fatal(err)
	}
	if n, appends := count(t, reg, "varve_wal_syncs_total"), count(t, reg, "varve_wal_appends_total"); n > 3 || appends != 102 {
		t.Errorf("%v syncs for %v appends", n, appends)
	}
}

// TestFullFileWaits: with a log that can't be synced appends wait; nothing is overwritten,
// and they go on when it can.
func TestFullFileWaits(t *testing.T) {
	fsys := newDisk(t)
	reg := prometheus.NewRegistry()
	m := NewMetrics(reg)
	var freed atomic.Bool
	var mu sync.Mutex
	var clones []*memfs.FS // before the first syncs after there was room again
	r := start(t, errorfs.Wrap(fsys, func(op errorfs.Op, _ string) error {
		mu.Lock()
		defer mu.Unlock()
		if op == errorfs.FileDatasync && freed.Load() && len(clones) < 100 {
			for seed := range uint64(50) {
				clones = append(clones, fsys.CrashClone(seed))
			}
		}
		return nil
	}), func(o *Options) { o.Metrics = m })
	stuck, busy := join(r.w, key(1, 0), 0), join(r.w, key(2, 0), 0)
	stuck.sync = syscall.EMFILE
	if err := stuck.append(t, content(0, 100), true); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		for range 300 {
			if err := busy.append(t, content(busy.appended, 5000), true); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	full := func() bool { // for good, not only until the logs were synced
		stuck.mu.Lock()
		tries := stuck.syncs
		stuck.mu.Unlock()
		r.w.mu.Lock()
		defer r.w.mu.Unlock()
		return r.w.mu.waiting && tries >= 3
	}
	for !full() {
		select {
		case err := <-done:
			t.Fatalf("the file never got full: %v", err)
		default:
		}
	}
	if base, end := recovered(t, fsys.CrashClone(1), key(1, 0)); base != 0 || end != 1 {
		t.Fatalf("the record of the log that can't be synced is gone: [%d, %d)", base, end)
	}
	for seed := range uint64(10) { // whatever of the next header and frame gets to the disk
		recovered(t, fsys.CrashClone(seed), key(2, 0))
	}
	freed.Store(true)
	stuck.mu.Lock()
	stuck.sync = nil
	stuck.mu.Unlock()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for _, c := range clones {
		recovered(t, c, key(2, 0))
	}
	if count(t, reg, "varve_wal_full_total") == 0 {
		t.Error("no full stop was counted")
	}
}

// TestNoCheckpointNoRoom: while the log dir's checkpoint can't be written, its log starts are
// only in the file, and nothing of that is given up.
func TestNoCheckpointNoRoom(t *testing.T) {
	fsys := newDisk(t)
	r := start(t, fsys)
	r.full = syscall.ENOSPC
	o := join(r.w, key(1, 0), 0)
	if err := errors.Join(o.append(t, content(0, 10), true), o.member.Start(1)); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		for range 200 {
			if err := o.append(t, content(o.appended, 5000), true); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	tries := func() int { r.mu.Lock(); defer r.mu.Unlock(); return r.checkpoints }
	for tries() < 3 {
		runtime.Gosched()
	}
	replay, err := Recover(fsys.CrashClone(0), "/d", testDir)
	if err != nil || replay.For(key(1, 0)) == nil || replay.For(key(1, 0)).Start != 1 {
		t.Errorf("the log start is gone: %v", err)
	}
	r.mu.Lock()
	r.full = nil
	r.mu.Unlock()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestEndOfReplay: after Leave nothing before it comes back; the log start stays known.
func TestEndOfReplay(t *testing.T) {
	fsys := newDisk(t)
	r := start(t, fsys)
	o := join(r.w, key(1, 0), 0)
	for range 3 {
		if err := o.append(t, content(o.appended, 50), true); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(o.member.Start(2), o.member.Leave(1)); err != nil {
		t.Fatal(err)
	}
	replay, err := Recover(fsys.CrashClone(0), "/d", testDir)
	if err != nil {
		t.Fatal(err)
	}
	d := replay.For(key(1, 0))
	if err := d.Each(func(int64, []byte) error { return errors.New("replayed") }); err != nil || d.Start != 1 || replay.Unclaimed() != 0 {
		t.Errorf("%v, start %d, %d unclaimed", err, d.Start, replay.Unclaimed())
	}
	again := join(r.w, key(1, 0), 1)
	if err := again.append(t, content(1, 50), true); err != nil {
		t.Fatal(err)
	}
	if base, end := recovered(t, fsys.CrashClone(0), key(1, 0)); base != 1 || end != 2 {
		t.Errorf("[%d, %d) after another join", base, end)
	}
}

// TestDamage: a torn last frame ends the chain; damage in front of whole frames is reported.
func TestDamage(t *testing.T) {
	fsys := newDisk(t)
	r := start(t, fsys)
	o := join(r.w, key(1, 0), 0)
	for range 5 {
		if err := o.append(t, content(o.appended, 5000), true); err != nil {
			t.Fatal(err)
		}
	}
	const frame = 2 * blockBytes
	for name, c := range map[string]struct {
		at   int64
		want int64 // frames that come back, -1 = reported
	}{
		"last frame":         {ringStart + 4*frame + 4900, 4},
		"last frame's magic": {ringStart + 4*frame + 1, 4},
		"first frame":        {ringStart + 200, -1},
		"middle":             {ringStart + 2*frame + 4500, -1},
		"a length":           {ringStart + 2*frame + 27, -1},
		"one header":         {30, 5},
	} {
		clone := fsys.CrashClone(0)
		f, err := clone.OpenFile("/d/"+fileName, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		if _, err := f.ReadAt(b[:], c.at); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 0x10
		if _, err := f.WriteAt(b[:], c.at); err != nil {
			t.Fatal(err)
		}
		if c.want < 0 {
			if _, err := Recover(clone, "/d", testDir); !errors.Is(err, kafka.ErrCorrupt) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if _, end := recovered(t, clone, key(1, 0)); end != c.want {
			t.Errorf("%s: replayed up to %d, want %d", name, end, c.want)
		}
	}
	if _, err := Recover(fsys, "/d", kafka.UUID{8}); !errors.Is(err, kafka.ErrCorrupt) {
		t.Errorf("another directory's file: %v", err)
	}
}

// TestFailuresFence: after a failed write or sync nothing is acknowledged, whoever waits is
// told, and the owner of the directory hears of it once.
func TestFailuresFence(t *testing.T) {
	for _, op := range []errorfs.Op{errorfs.FileWriteAt, errorfs.FileDatasync} {
		for _, fate := range []error{syscall.EIO, errorfs.After(syscall.EIO), errorfs.Short(3, syscall.ENOSPC)} {
			fsys := newDisk(t)
			var armed atomic.Bool
			r := start(t, errorfs.Wrap(fsys, func(o errorfs.Op, _ string) error {
				if o == op && armed.Load() {
					return fate
				}
				return nil
			}))
			o := join(r.w, key(1, 0), 0)
			if err := o.append(t, content(0, 10), true); err != nil {
				t.Fatal(err)
			}
			armed.Store(true)
			var err error
			for err == nil { // until the failure is known
				err = o.append(t, content(o.appended, 10), false)
			}
			if !errors.Is(err, kafka.KafkaStorageError) {
				t.Errorf("%v %v: append: %v", op, fate, err)
			}
			if err := o.member.Leave(0); !errors.Is(err, kafka.KafkaStorageError) {
				t.Errorf("%v %v: leave: %v", op, fate, err)
			}
			armed.Store(false)
			if err := r.w.Close(true); err != nil {
				t.Fatal(err)
			}
			if o.end != 1 || r.failed != 1 {
				t.Errorf("%v %v: acknowledged up to %d, told %d times", op, fate, o.end, r.failed)
			}
			if _, end := recovered(t, fsys, key(1, 0)); end < 1 {
				t.Errorf("%v %v: replayed up to %d", op, fate, end)
			}
		}
	}
}

// TestOpenFailures: whatever fails while the file is made, the next try works and nothing
// half-made is taken for the file.
func TestOpenFailures(t *testing.T) {
	for n := int64(1); ; n++ {
		fsys := newDisk(t)
		steps, hit := int64(0), false
		r := &rig{t: t}
		o := r.options(errorfs.Wrap(fsys, func(op errorfs.Op, _ string) error {
			if steps++; steps == n && op != errorfs.FileClose {
				hit = true
				return syscall.EIO
			}
			return nil
		}))
		w, err := Open(o)
		if err == nil {
			if err := w.Close(false); err != nil && !hit {
				t.Fatal(err)
			}
			if steps < n {
				return
			}
			continue
		}
		if !errors.Is(err, kafka.KafkaStorageError) {
			t.Errorf("step %d: %v", n, err)
		}
		if w, err = Open(r.options(fsys)); err != nil {
			t.Fatalf("after a failure at step %d: %v", n, err)
		}
		if err := w.Close(false); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRealFiles: another size makes another file, and a WAL on a real file system works the same.
func TestRealFiles(t *testing.T) {
	dir := t.TempDir()
	r := &rig{t: t}
	o := r.options(vfs.OS())
	o.Dir = dir
	for _, size := range []int64{MinBytes, 2 * MinBytes, 2 * MinBytes} {
		o.Bytes = size
		w, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("direct I/O: %v", w.direct)
		m := join(w, key(3, 0), 0)
		for range 50 {
			if err := m.append(t, content(m.appended, 3000), true); err != nil {
				t.Fatal(err)
			}
		}
		info, err := os.Stat(dir + "/" + fileName)
		if err != nil || info.Size() != ringStart+size {
			t.Errorf("%v, %v", info.Size(), err)
		}
		if err := w.Close(false); err != nil {
			t.Fatal(err)
		}
		replay, err := Recover(vfs.OS(), dir, testDir)
		if err != nil || replay.Empty() {
			t.Fatalf("nothing to replay: %v", err)
		}
		n := 0
		if err := replay.For(key(3, 0)).Each(func(int64, []byte) error { n++; return nil }); err != nil || n != 50 {
			t.Errorf("%d records, %v", n, err)
		}
		if err := replay.Discard(); err != nil {
			t.Fatal(err)
		}
		if replay, err = Recover(vfs.OS(), dir, testDir); err != nil || !replay.Empty() {
			t.Errorf("after Discard: %v", err)
		}
		if err := replay.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
