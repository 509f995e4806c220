package commitlog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

// marker is the end of a transaction.
func txnMarker(kind batch.ControlKind, pid int64) []byte {
	return batch.ControlBatch(kind, 0, pid, 0, testNowMs)
}

// flipLog is a log of several segments with transactions, two epochs and ascending times,
// closed in order: its file system and its state.
func flipLog(t *testing.T) (Options, *memfs.FS, State) {
	t.Helper()
	fsys := newFS(t)
	o := testOptions(fsys)
	o.Config.SegmentBytes, o.Config.IndexIntervalBytes = 1500, 100
	l := open(t, o)
	seq := map[int64]int32{}
	send := func(pid int64, n int) {
		appendBatch(t, l, transactional(pid, 0, seq[pid], n), int32(l.End()/40))
		seq[pid] += int32(n)
	}
	for i := range 6 {
		send(1, 2)
		send(2, 1)
		appendBatch(t, l, records(2, 60, testNowMs+int64(1000*i)), int32(l.End()/40))
		appendBatch(t, l, txnMarker(batch.Abort, 1), int32(l.End()/40))
		send(2, 1)
		kind := batch.Commit
		if i%2 == 0 {
			kind = batch.Abort
		}
		appendBatch(t, l, txnMarker(kind, 2), int32(l.End()/40))
	}
	send(3, 2) // stays open
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	st := l.State()
	return o, fsys, st
}

// answers is all that a reader can be told by a log, as text.
func answers(l *Log) string {
	var out strings.Builder
	fmt.Fprintln(&out, l.LocalStart(), l.End(), l.Epochs(), l.LastStable(l.End()))
	for _, s := range l.Segments() {
		fmt.Fprintln(&out, s.Base, s.Next, s.SizeBytes, s.MaxTimestampMs)
	}
	for off := l.LocalStart(); off < l.End(); off++ {
		r, err := l.Read(off, 400, l.End()-1, true)
		if err != nil {
			fmt.Fprintln(&out, "error", err)
			continue
		}
		b, err := r.Range.ReadAll()
		r.Range.Release()
		fmt.Fprintf(&out, "%d %d %d %x", off, r.Base, r.UpperBound, b)
		for _, a := range r.Aborted { // what a client is told of them
			fmt.Fprint(&out, " ", a.ProducerID, "@", a.FirstOffset)
		}
		fmt.Fprintln(&out, err)
	}
	for ts := int64(testNowMs - 1); ts < testNowMs+6000; ts += 500 {
		off, found, epoch, ok, err := l.OffsetForTime(ts)
		fmt.Fprintln(&out, ts, off, found, epoch, ok, err)
	}
	producers, err := Producers(l)
	slices.SortFunc(producers, func(a, b ProducerSnapshotEntry) int { return int(a.ProducerID - b.ProducerID) })
	fmt.Fprintln(&out, producers, err)
	return out.String()
}

// TestFlippedBitsInEveryFile flips bits of each kind of file that lies beside the records.
// After a clean start and after a crash the log answers exactly what it did before.
func TestFlippedBitsInEveryFile(t *testing.T) {
	o, pristine, st := flipLog(t)
	want := answers(reopen(t, o, clone(t, pristine), &st, true, false))
	if strings.Contains(want, "error") {
		t.Fatal(want)
	}
	entries, err := pristine.ReadDir("/data/orders-3")
	if err != nil {
		t.Fatal(err)
	}
	flips := 0
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".log") {
			continue // TestFlippedBitsInRecords
		}
		b, err := vfs.ReadFile(pristine, "/data/orders-3/"+e.Name())
		if err != nil {
			t.Fatal(err)
		}
		for at := range b {
			for _, clean := range []bool{true, false} {
				flips++
				fsys := clone(t, pristine)
				flipBit(t, fsys, "/data/orders-3/"+e.Name(), at, at%8)
				was := st
				l := reopen(t, o, fsys, &was, clean, false)
				if got := answers(l); got != want && l.Err() == nil && !healed(t, l, want) {
					t.Fatalf("%s, byte %d of %d, clean %v: answers\n%s\nwant\n%s", e.Name(), at, len(b), clean, diff(got, want), "")
				}
			}
		}
	}
	t.Logf("%d flips in %d files", flips, len(entries))
}

// healed says whether the answers are right once the segments were checked, as the first
// read that fails has it done.
func healed(t *testing.T, l *Log, want string) bool {
	t.Helper()
	if got := answers(l); !strings.Contains(got, "error") {
		return false // wrong and not noticed
	}
	for _, s := range l.Segments() {
		if err := (Mender{l}).Check(s.Base); err != nil {
			t.Fatal(err)
		}
	}
	got := answers(l)
	if got != want {
		t.Log(diff(got, want))
	}
	return got == want
}

// diff is the first line that differs.
func diff(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return x[i] + "\nwant\n" + y[i]
		}
	}
	return fmt.Sprint(len(x), " lines, want ", len(y))
}

// TestFlippedBitsInRecords flips bits of segment files under a log that crashed before its
// first checkpoint: what the CRC covers, and base offsets, are found to be damaged, and no
// reader gets other records than were written.
func TestFlippedBitsInRecords(t *testing.T) {
	o, pristine, st := flipLog(t)
	whole := reopen(t, o, clone(t, pristine), &st, true, false)
	bytesAt := map[int64]string{}
	for off := int64(0); off < whole.End(); {
		r, err := whole.Read(off, 1, whole.End(), true)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := r.Range.ReadAll()
		r.Range.Release()
		bytesAt[r.Base] = string(b)
		off = r.UpperBound
	}
	st.RecoveryPoint, st.Damaged = st.End, false
	r := rand.New(rand.NewPCG(1, 2))
	segs := whole.Segments()
	damagedLogs := 0
	for range 600 {
		s := segs[r.IntN(len(segs))]
		at, bit := r.IntN(int(s.SizeBytes)), r.IntN(8)
		fsys := clone(t, pristine)
		path := fmt.Sprintf("/data/orders-3/%020d.log", s.Base)
		flipBit(t, fsys, path, at, bit)
		was := st
		was.RecoveryPoint = 0 // everything is scanned
		l := reopen(t, o, fsys, &was, false, false)
		if l.Err() != nil {
			t.Fatalf("%s byte %d bit %d: %v", path, at, bit, l.Err())
		}
		holes := (Mender{l}).Holes()
		lastCut := l.End() < whole.End() // the last batch can't be told from a torn write
		if len(holes) > 0 || lastCut {
			damagedLogs++
		}
		for off := int64(0); off < l.End(); {
			rd, err := l.Read(off, 1, l.End(), true)
			if err != nil {
				h, ok := (l.mu.holes).open(off)
				if !ok || h.From > off {
					t.Fatalf("%s byte %d bit %d: read at %d: %v, holes %v", path, at, bit, off, err, holes)
				}
				off = h.To
				continue
			}
			b, _ := rd.Range.ReadAll()
			rd.Range.Release()
			if want := bytesAt[rd.Base]; string(b) != want && !onlyEpoch(string(b), want) {
				t.Fatalf("%s byte %d bit %d: other records at %d", path, at, bit, off)
			}
			off = rd.UpperBound
		}
	}
	t.Logf("%d of 600 flips were found", damagedLogs)
	if damagedLogs < 500 {
		t.Errorf("%d of 600 flips were found", damagedLogs)
	}
}

// onlyEpoch says whether two batches differ in the leader epoch only, which no CRC covers.
func onlyEpoch(a, b string) bool {
	return len(a) == len(b) && a[:12] == b[:12] && a[16:] == b[16:]
}

func flipBit(t *testing.T, fsys vfs.FS, path string, at, bit int) {
	t.Helper()
	f, err := fsys.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], int64(at)); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << bit
	_, err = f.WriteAt(b[:], int64(at))
	if err = errors.Join(err, f.Sync()); err != nil {
		t.Fatal(err)
	}
}

// clone copies the partition's files.
func clone(t *testing.T, src *memfs.FS) *memfs.FS {
	t.Helper()
	dst := newFS(t)
	copyPartition(t, src, "/data/orders-3", dst, "/data/orders-3")
	return dst
}

func copyPartition(t *testing.T, src vfs.FS, from string, dst vfs.FS, to string) {
	t.Helper()
	if err := dst.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	entries, err := src.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := vfs.ReadFile(src, from+"/"+e.Name())
		if err == nil {
			err = writeFile(dst, to+"/"+e.Name(), b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
